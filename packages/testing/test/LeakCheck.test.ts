import { assert, describe, it } from "@effect/vitest"
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { readFileSync } from "node:fs"
import { createServer } from "node:net"

const source = readFileSync(new URL(import.meta.url), "utf8").split("\n")

/** The place of the line that carries a marker. */
const at = (marker: string) => `LeakCheck.test.ts:${source.findIndex((line) => line.includes(`// ${marker}`)) + 1}`

const leaksOf = (program: Effect.Effect<unknown>) =>
  LeakCheck.check(program, { grace: "100 millis" }).pipe(
    Effect.flip,
    Effect.map((leaked) => leaked.leaks.map(LeakCheck.render)),
    Effect.orElseSucceed((): Array<string> => [])
  )

describe("LeakCheck.check", () => {
  it.effect("passes what cleans up", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        yield* Effect.forkScoped(Effect.never)
        yield* Effect.addFinalizer(() => Effect.void)
        const fiber = yield* Effect.fork(Effect.yieldNow())
        yield* Fiber.join(fiber)
      })
      assert.deepStrictEqual(yield* leaksOf(Effect.scoped(program)), [])
    }))

  it.effect("names the place where a daemon was forked", () =>
    Effect.gen(function*() {
      const leaks = yield* leaksOf(Effect.gen(function*() {
        yield* Effect.forkDaemon(Effect.never) // daemon
      }))
      assert.strictEqual(leaks.filter((leak) => leak.startsWith("fiber")).length, 1)
      assert.isTrue(leaks[0]!.startsWith("fiber"))
      assert.include(leaks[0]!, `forked at packages/testing/test/${at("daemon")}`)
    }))

  it.effect("does not take the process's own standard input for a socket that leaked", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* leaksOf(Effect.sync(() => process.stdin.resume())), [])
    }))

  it.effect("finds fibers that are started from plain JavaScript", () =>
    Effect.gen(function*() {
      const leaks = yield* leaksOf(
        Effect.sync(() => {
          // edge: a fiber that escapes is the subject
          setTimeout(() => Effect.runFork(Effect.never), 1) // run fork
        }).pipe(Effect.zipRight(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))))
      )
      assert.include(leaks[0]!, at("run fork"))
    }))

  it.effect("finds an open scope", () =>
    Effect.gen(function*() {
      const leaks = yield* leaksOf(Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.addFinalizer(scope, Effect.void) // scope
        const closed = yield* Scope.make()
        yield* Scope.addFinalizer(closed, Effect.void)
        yield* Scope.close(closed, Exit.void)
      }))
      assert.strictEqual(leaks.length, 1)
      assert.include(leaks[0]!, "scope with 1 finalizer that did not run")
      assert.include(leaks[0]!, at("scope"))
    }))

  it.effect("finds a timer, a listener, a server and a global", () =>
    Effect.gen(function*() {
      const listener = () => {}
      const leaks = yield* leaksOf(Effect.promise(() =>
        new Promise<void>((resolve) => {
          setInterval(() => {}, 60_000) // interval
          setTimeout(() => {}, 60_000).unref()
          process.on("SIGUSR2", listener)
          process.env.HOLDFAST_LEAKED = "1"
          createServer().listen(0, "127.0.0.1", resolve)
        })
      ))
      delete process.env.HOLDFAST_LEAKED
      assert.deepStrictEqual(leaks.map((leak) => leak.split(" ")[0]).sort(), ["listener", "server", "timer"])
      assert.isTrue(leaks.some((leak) => leak.startsWith("timer every 60000 ms") && leak.includes(at("interval"))))
      assert.notInclude(process.listeners("SIGUSR2"), listener)
    }))

  it.effect("lets declared background work be", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      const leaks = yield* leaksOf(LeakCheck.background(Effect.forkDaemon(Deferred.await(latch))))
      assert.deepStrictEqual(leaks, [])
      yield* Deferred.succeed(latch, undefined)
    }))

  it.effect("attributes to the right one of several that run at once", () =>
    Effect.gen(function*() {
      const clean = Effect.gen(function*() {
        const fiber = yield* Effect.fork(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 30))))
        yield* Fiber.join(fiber)
      })
      const dirty = Effect.zipRight(Effect.forkDaemon(Effect.never), clean)
      const counts = yield* Effect.forEach(
        [clean, dirty, clean, dirty, clean],
        (program) => Effect.map(leaksOf(program), (leaks) => leaks.filter((leak) => leak.startsWith("fiber")).length),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(counts, [0, 1, 0, 1, 0])
    }))
})
