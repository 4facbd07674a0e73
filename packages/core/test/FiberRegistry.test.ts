import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Cause, Effect, Exit, Fiber, Logger, Scope, Stream } from "effect"

const registry = FiberRegistry.FiberRegistry
const fresh = Effect.provide(FiberRegistry.layer)

describe("FiberRegistry", () => {
  it.effect("a tracked fiber is in the census from the fork to its end", () =>
    Effect.gen(function*() {
      const { census, counts, ended } = yield* registry
      const scope = yield* Scope.make()
      const fiber = yield* FiberRegistry.forkIn(Effect.never, scope, { name: "reader", kind: "session" }).pipe(
        FiberRegistry.withOwner("chat")
      )
      const [entry] = yield* census
      assert.strictEqual(entry!.name, "reader")
      assert.strictEqual(entry!.kind, "session")
      assert.deepStrictEqual(entry!.owner, ["chat", "reader"])
      assert.strictEqual(entry!.fiber, fiber)
      assert.strictEqual(entry!.ownership, "scope")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* census, [])
      assert.deepInclude(yield* counts, { live: 0, started: 1, ended: 1, crashed: 0 })
      assert.deepInclude((yield* ended)[0]!, { name: "reader", outcome: "interrupted" })
    }).pipe(fresh))

  it.scoped("a crash is logged at Error level with its cause and owner, and published", () =>
    Effect.gen(function*() {
      const { crashes } = yield* registry
      const lines: Array<string> = []
      const logger = Logger.make(({ annotations, cause, logLevel }) => {
        if (logLevel._tag === "Error") lines.push(`${Array.from(annotations).join(" ")} ${Cause.pretty(cause)}`)
      })
      const reports = yield* Effect.forkScoped(Stream.runCollect(Stream.take(crashes, 1)))
      yield* Effect.yieldNow()
      yield* Effect.yieldNow()
      yield* FiberRegistry.forkScoped(Effect.die(new Error("boom")), { name: "worker" }).pipe(
        FiberRegistry.withOwner("app"),
        Effect.provide(Logger.add(logger))
      )
      const [report] = yield* Fiber.join(reports)
      assert.deepStrictEqual(report!.owner, ["app", "worker"])
      assert.strictEqual(lines.length, 1)
      assert.include(lines[0], "app/worker")
      assert.include(lines[0], "boom")
    }).pipe(fresh))
})
