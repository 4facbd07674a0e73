import { assert, describe, it } from "@effect/vitest"
import { assertNone, assertSome } from "@effect/vitest/utils"
import * as Race from "@holdfast/core/Race"
import * as Explore from "@holdfast/testing/Explore"
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import { Deferred, Effect, Exit, Fiber, FiberRef, Option, Ref, TestClock } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import type { Socket } from "node:net"
import { connect, createServer } from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { sized } from "../../../scripts/sized.js"

const packages = fileURLToPath(new URL("../..", import.meta.url))

/** Interrupts a race after each number of operations at which the scheduler lets others go on. */
const hangs = (race: Effect.Effect<unknown>) =>
  Effect.filter(
    Array.from({ length: 40 }, (_, i) => 10 + i),
    (operations) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkDaemon(Effect.withMaxOpsBeforeYield(race, operations))
        yield* Effect.yieldNow()
        yield* Fiber.interruptFork(fiber)
        for (let turn = 0; turn < 200; turn++) {
          yield* Effect.yieldNow()
          if (Option.isSome(yield* Fiber.poll(fiber))) return false
        }
        return true
      })
  )

/** Both ends of a connection. */
const connected = Effect.acquireRelease(
  Effect.async<readonly [Socket, Socket]>((resume) => {
    const server = createServer((peer) => {
      server.close()
      resume(Effect.succeed([client, peer]))
    })
    let client: Socket
    server.listen(0, "127.0.0.1", () => {
      client = connect((server.address() as { readonly port: number }).port, "127.0.0.1")
    })
  }),
  (ends) =>
    Effect.sync(() => {
      for (const end of ends) end.destroy()
    })
)

describe("Race", () => {
  it.effect("ends when it is interrupted before its fibers have begun", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* hangs(Race.first(Effect.never, Effect.never)), [])
      assert.deepStrictEqual(yield* hangs(Race.timeoutOption(Effect.never, "1 hour")), [])
    }))

  it.scopedLive("takes what has come in time, also when the thread stood still until the time was over", () =>
    Effect.gen(function*() {
      const [client, peer] = yield* connected
      const answer = Effect.async<string>((resume) => {
        client.once("data", (data) => resume(Effect.succeed(String(data))))
        // the timers come next, and then the sockets
        setImmediate(() => {
          peer.write("an answer")
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)
        })
      })
      assert.strictEqual(Option.getOrNull(yield* Race.timeoutOption(answer, "200 millis")), "an answer")
      assert.isNull(Option.getOrNull(yield* Race.timeoutOption(Effect.never, "20 millis")))
    }))

  it.effect("is needed: races of effect hang then", () =>
    Effect.gen(function*() {
      const found = yield* LeakCheck.background(hangs(Effect.raceFirst(Effect.never, Effect.never)))
      assert.isAbove(found.length, 0, "effect has mended its races: Race can go")
    }))

  it("is what the library uses, and nothing else", () => {
    const files = readdirSync(packages).flatMap((name) =>
      readdirSync(join(packages, name, "src"), { recursive: true, encoding: "utf8" })
        .filter((file) => file.endsWith(".ts"))
        .map((file) => join(packages, name, "src", file))
    )
    const uses = files.filter((file) =>
      /^(?!\s*(?:\*|\/\/)).*(?:Effect|Stream)\.(?:race|timeout)/m.test(readFileSync(file, "utf8"))
    )
    assert.isAbove(files.length, 80)
    assert.deepStrictEqual(uses, [])
  })

  it.effect("ends whenever it is interrupted, and leaves nothing", () =>
    Explore.check(
      Effect.gen(function*() {
        const released = yield* Ref.make(0)
        const side = Effect.acquireUseRelease(
          Ref.update(released, (n) => n - 1),
          () => Effect.yieldNow({ priority: 1 }).pipe(Effect.zipRight(Effect.never)),
          () => Ref.update(released, (n) => n + 1)
        )
        const fiber = yield* Effect.fork(Race.first(side, side))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(fiber)
        if ((yield* Ref.get(released)) !== 0) return yield* Effect.dieMessage("a side was not released")
      }),
      { seeds: sized(2_000, 100_000, 400) }
    ), 600_000)

  it.effect("lets the first win, with success or failure, and interrupts the other", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const loser = Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      assert.strictEqual(yield* Race.first(Effect.succeed("won"), loser), "won")
      yield* Deferred.await(interrupted)
      assert.deepStrictEqual(yield* Effect.exit(Race.first(Effect.never, Effect.fail("no"))), Exit.fail("no"))
      assert.deepStrictEqual(yield* Effect.exit(Race.first(Effect.die("bug"), Effect.never)), Exit.die("bug"))
    }))

  it.effect("keeps what the winner did to fiber refs", () =>
    Effect.gen(function*() {
      const ref = FiberRef.unsafeMake("before")
      yield* Effect.never.pipe(Race.first(FiberRef.set(ref, "after")))
      assert.strictEqual(yield* FiberRef.get(ref), "after")
    }))

  it.effect("gives up at the time-out, not sooner", () =>
    Effect.gen(function*() {
      const late = yield* Effect.fork(Effect.never.pipe(Race.timeoutOption("5 seconds")))
      const failing = yield* Effect.fork(Effect.never.pipe(
        Race.timeoutFail({ duration: "5 seconds", onTimeout: () => "late" })
      ))
      yield* TestClock.adjust("4999 millis")
      assert.isTrue(Option.isNone(yield* Fiber.poll(late)))
      yield* TestClock.adjust("1 millis")
      assertNone(yield* late)
      assert.deepStrictEqual(yield* Fiber.await(failing), Exit.fail("late"))
      assertSome(yield* Race.timeoutOption(Effect.succeed(1), "5 seconds"), 1)
    }))

  it.effect("is not interruptible where its caller is not", () =>
    Effect.gen(function*() {
      const latch = yield* Deferred.make<void>()
      const done = yield* Ref.make(false)
      const work = Effect.zipRight(Deferred.await(latch), Ref.set(done, true))
      const fiber = yield* Effect.fork(
        Effect.uninterruptible(Race.first(work, Effect.never.pipe(Effect.interruptible)))
      )
      yield* Effect.yieldNow()
      yield* Fiber.interruptFork(fiber)
      yield* Deferred.succeed(latch, undefined)
      yield* Fiber.await(fiber)
      assert.isTrue(yield* Ref.get(done))
    }))
})
