/** Combinators that take an effect or a layer: first, or last in a pipe, in types and at run time. */
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import type { Scope } from "effect"
import { Context, Data, Effect, Fiber, Layer } from "effect"
import { expectTypeOf } from "vitest"

class Failed extends Data.TaggedError("Failed")<{}> {}
class Needed extends Context.Tag("test/Needed")<Needed, number>() {}

/** An effect with all three of its types. */
const self = Effect.flatMap(Needed, (n) => n > 0 ? Effect.succeed(n) : Effect.fail(new Failed()))
describe("data-first and data-last", () => {
  it.scoped("FiberRegistry.forkScoped, forkFinally, forkIn, forkDaemon", () =>
    Effect.gen(function*() {
      const options = { name: "one", kind: "test" }
      const scope = yield* Effect.scope
      type Forked = Effect.Effect<Fiber.RuntimeFiber<number, Failed>, never, Needed>
      type ForkedScoped = Effect.Effect<Fiber.RuntimeFiber<number, Failed>, never, Needed | Scope.Scope>
      const end = () => Effect.void
      const scoped = [
        FiberRegistry.forkScoped(self, options),
        self.pipe(FiberRegistry.forkScoped(options)),
        FiberRegistry.forkFinally(self, options, end),
        self.pipe(FiberRegistry.forkFinally(options, end))
      ] as const
      const plain = [
        FiberRegistry.forkIn(self, scope, options),
        self.pipe(FiberRegistry.forkIn(scope, options)),
        FiberRegistry.forkDaemon(self, options),
        self.pipe(FiberRegistry.forkDaemon(options)),
        FiberRegistry.forkDaemon(self, options, ["owner"]),
        self.pipe(FiberRegistry.forkDaemon(options, ["owner"]))
      ] as const
      expectTypeOf(scoped).toEqualTypeOf<readonly [ForkedScoped, ForkedScoped, ForkedScoped, ForkedScoped]>()
      expectTypeOf(plain).toEqualTypeOf<readonly [Forked, Forked, Forked, Forked, Forked, Forked]>()
      for (const fork of [...scoped, ...plain]) {
        assert.strictEqual(yield* Effect.flatMap(Effect.provideService(fork, Needed, 7), Fiber.join), 7)
      }
    }))

  it.effect("FiberRegistry.withOwner", () =>
    Effect.gen(function*() {
      expectTypeOf(FiberRegistry.withOwner(self, "a")).toEqualTypeOf(self)
      expectTypeOf(self.pipe(FiberRegistry.withOwner("a"))).toEqualTypeOf(self)
      const path = Effect.flatMap(Effect.void, () => FiberRegistry.currentOwner)
      assert.deepStrictEqual(yield* FiberRegistry.withOwner(path, "a"), yield* path.pipe(FiberRegistry.withOwner("a")))
      assert.strictEqual((yield* FiberRegistry.withOwner(path, "a")).at(-1), "a")
    }))

  it.effect("Cleanup.acquireRelease, Cleanup.scoped", () =>
    Effect.gen(function*() {
      const released: Array<number> = []
      const release = (n: number) => Effect.sync(() => void released.push(n))
      const options = { label: "release" }
      const first = Cleanup.acquireRelease(self, options, release)
      const last = self.pipe(Cleanup.acquireRelease(options, release))
      expectTypeOf(last).toEqualTypeOf(first)
      expectTypeOf(first).toEqualTypeOf<Effect.Effect<number, Failed, Needed | Scope.Scope>>()
      const ended = [Cleanup.scoped(first, { label: "all" }), last.pipe(Cleanup.scoped({ label: "all" }))] as const
      expectTypeOf(ended[1]).toEqualTypeOf(ended[0])
      for (const [index, effect] of ended.entries()) {
        assert.strictEqual(yield* Effect.provideService(effect, Needed, index + 1), index + 1)
      }
      assert.deepStrictEqual(released, [1, 2])
    }))

  it.effect("Lifecycle.manage", () =>
    Effect.gen(function*() {
      const layer = Layer.succeed(Needed, 3)
      const options = { name: "managed", log: false }
      const managed = [
        Lifecycle.manage(layer),
        layer.pipe(Lifecycle.manage()),
        Lifecycle.manage(layer, options),
        layer.pipe(Lifecycle.manage(options))
      ] as const
      type Managed = Layer.Layer<Needed | Lifecycle.Lifecycle>
      expectTypeOf(managed).toEqualTypeOf<readonly [Managed, Managed, Managed, Managed]>()
      for (const layer of managed.slice(2)) assert.strictEqual(yield* Effect.provide(Needed, layer), 3)
    }))

  it.effect("LeakCheck.check", () =>
    Effect.gen(function*() {
      const checked = [
        LeakCheck.check(self),
        self.pipe(LeakCheck.check()),
        LeakCheck.check(self, { name: "it" }),
        self.pipe(LeakCheck.check({ name: "it" }))
      ] as const
      type Checked = Effect.Effect<number, Failed | LeakCheck.Leaked, Needed>
      expectTypeOf(checked).toEqualTypeOf<readonly [Checked, Checked, Checked, Checked]>()
      for (const check of checked) assert.strictEqual(yield* Effect.provideService(check, Needed, 5), 5)
    }))
})
