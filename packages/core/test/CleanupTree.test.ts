import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import {
  Context,
  Deferred,
  Duration,
  Effect,
  ExecutionStrategy,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Scope
} from "effect"
import * as fc from "fast-check"

const budget = 10_000

/** Lets every fiber run until it waits: they resume in microtasks, or in a timer of no delay. */
const settled = Effect.promise(async () => {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve))
})

/** Time that passes only when everybody waits for it, and then at once. */
class VirtualTime implements Cleanup.Timer {
  now = 0
  private readonly due: Array<{ readonly at: number; readonly task: () => void }> = []
  readonly unsafeNow = () => this.now
  readonly unsafeSchedule = (task: () => void, delay: Duration.Duration) => {
    const entry = { at: this.now + Duration.toMillis(delay), task }
    this.due.push(entry)
    return () => {
      const index = this.due.indexOf(entry)
      if (index >= 0) this.due.splice(index, 1)
    }
  }
  sleep(millis: number) {
    return Effect.async<void>((resume) => {
      this.unsafeSchedule(() => resume(Effect.void), Duration.millis(millis))
    })
  }
  /** To the next moment for which something is scheduled; false when there is none. */
  advance(): boolean {
    const next = this.due.toSorted((a, b) => a.at - b.at)[0]
    if (next === undefined || next.at === Number.POSITIVE_INFINITY) return false
    this.due.splice(this.due.indexOf(next), 1)
    this.now = Math.max(this.now, next.at)
    next.task()
    return true
  }
}

type Kind = "quick" | "slow" | "hangs" | "fails"

interface Leaf {
  readonly _tag: "Leaf"
  readonly bounded: boolean
  readonly kind: Kind
}

type Tree =
  | Leaf
  | { readonly _tag: "Fresh" | "Forked" | "Released" | "Scoped"; readonly tree: Tree }
  | { readonly _tag: "Provide" | "ProvideMerge"; readonly tree: Tree; readonly on: Tree }
  | { readonly _tag: "MergeAll"; readonly trees: ReadonlyArray<Tree> }

const leaf = (kinds: ReadonlyArray<Kind>): fc.Arbitrary<Tree> =>
  fc.record({ _tag: fc.constant("Leaf" as const), bounded: fc.boolean(), kind: fc.constantFrom(...kinds) })

/** `provideMerge` builds a fresh layer twice: in a chain of them the number of finalizers would double at each step. */
const isFresh = (tree: Tree): boolean =>
  tree._tag === "Fresh" || (tree._tag === "MergeAll"
    ? tree.trees.some(isFresh)
    : tree._tag !== "Leaf" && (isFresh(tree.tree) || ("on" in tree && isFresh(tree.on))))

/** One more layer around a tree: depth is what shrinks time, so it is drawn for itself. */
const around = (kinds: ReadonlyArray<Kind>): fc.Arbitrary<(tree: Tree) => Tree> =>
  fc.oneof(
    fc.constantFrom("Fresh" as const, "Forked" as const, "Released" as const, "Scoped" as const)
      .map((_tag) => (tree: Tree): Tree => ({ _tag, tree })),
    fc.tuple(fc.constantFrom("Provide" as const, "ProvideMerge" as const), leaf(kinds), fc.boolean())
      .map(([_tag, other, above]) => (tree: Tree): Tree =>
        above && !isFresh(tree) ? { _tag, tree: other, on: tree } : { _tag, tree, on: other }
      ),
    fc.array(leaf(kinds), { minLength: 1, maxLength: 3 })
      .map((others) => (tree: Tree): Tree => ({ _tag: "MergeAll", trees: [...others, tree] }))
  )

const trees = (core: ReadonlyArray<Kind>, others: ReadonlyArray<Kind>): fc.Arbitrary<Tree> =>
  fc.tuple(leaf(core), fc.array(around(others), { maxLength: 20 }))
    .map(([inner, wraps]) => wraps.reduce((tree, wrap) => wrap(tree), inner))

interface Ran {
  started: number
  finished: number
  total: number
}

const layerOf = (tree: Tree, time: VirtualTime, ran: Ran, gate: Deferred.Deferred<void>): Layer.Layer<never> => {
  const below = (inner: Tree) => layerOf(inner, time, ran, gate)
  switch (tree._tag) {
    case "Leaf": {
      ran.total++
      const work = tree.kind === "hangs"
        ? Deferred.await(gate)
        : tree.kind === "slow"
        ? time.sleep(budget * 0.75)
        : tree.kind === "fails"
        ? Effect.die("flush failed")
        : Effect.void
      const run = Effect.suspend(() => {
        ran.started++
        return Effect.map(work, () => {
          ran.finished++
        })
      })
      return Layer.scopedDiscard(
        tree.bounded
          ? Cleanup.addFinalizer({ label: "leaf", budget: "1 hour" }, () => run)
          : Effect.addFinalizer(() => run)
      )
    }
    case "Fresh":
      return Layer.fresh(below(tree.tree))
    case "Provide":
      return Layer.provide(below(tree.tree), below(tree.on))
    case "ProvideMerge":
      return Layer.provideMerge(below(tree.tree), below(tree.on))
    case "MergeAll":
      return Layer.mergeAll(below(tree.trees[0]), ...tree.trees.slice(1).map(below))
    case "Forked":
      return Layer.scopedDiscard(
        Effect.flatMap(
          Effect.flatMap(Effect.scope, (scope) => Scope.fork(scope, ExecutionStrategy.sequential)),
          (inner) => Layer.buildWithScope(below(tree.tree), inner)
        )
      )
    case "Released":
      return Layer.scopedDiscard(
        Effect.flatMap(
          Effect.acquireRelease(Scope.make(), (scope, exit) => Scope.close(scope, exit)),
          (scope) => Layer.buildWithScope(below(tree.tree), scope)
        )
      )
    case "Scoped":
      // A scope that is opened by the finalizer itself.
      return Layer.scopedDiscard(
        Effect.addFinalizer(() => Effect.scoped(Layer.build(below(tree.tree))))
      )
  }
}

/** Closes the tree under the budget, and says how long it took in virtual time. */
const close = (tree: Tree) =>
  Effect.gen(function*() {
    const time = new VirtualTime()
    const ran: Ran = { started: 0, finished: 0, total: 0 }
    const gate = yield* Deferred.make<void>()
    const scope = yield* Scope.make()
    const layer = layerOf(tree, time, ran, gate)
    const observers = Context.make(Cleanup.BudgetClock, time).pipe(
      Context.add(Cleanup.CleanupMonitor, Cleanup.unsafeMakeMonitor())
    )
    return yield* Effect.gen(function*() {
      yield* Layer.buildWithScope(layer, scope)
      const closing = yield* Effect.forkDaemon(Cleanup.closeScope(scope, Exit.void, { label: "app", budget }))
      yield* settled
      while (Option.isNone(yield* Fiber.poll(closing)) && time.advance()) yield* settled
      const outcome = yield* Fiber.join(closing)
      const elapsed = time.now
      const { finished, started, total } = ran
      // What was abandoned ends now.
      yield* Deferred.succeed(gate, undefined)
      yield* settled
      while (time.advance()) yield* settled
      return { elapsed, finished, outcome, started, total }
    }).pipe(Effect.provide(observers), Effect.provide(Logger.remove(Logger.defaultLogger)))
  })

const check = <A>(values: fc.Arbitrary<A>, numRuns: number, property: (value: A) => Effect.Effect<void>) =>
  // edge: a property of fast-check runs its own effects
  Effect.promise(() => fc.assert(fc.asyncProperty(values, (value) => Effect.runPromise(property(value))), { numRuns }))

const size = (tree: Tree): number =>
  tree._tag === "Leaf"
    ? 1
    : tree._tag === "MergeAll"
    ? tree.trees.reduce((sum, one) => sum + size(one), 0)
    : "on" in tree
    ? size(tree.tree) + size(tree.on)
    : size(tree.tree)

describe("a tree of layers and scopes that is closed under one budget", () => {
  it.effect(
    "starts every finalizer and never passes the budget, whatever hangs at whatever depth",
    () =>
      check(
        trees(["quick", "hangs", "slow", "fails"], ["quick", "hangs", "slow", "fails"]),
        60,
        (tree) =>
          Effect.gen(function*() {
            const { elapsed, outcome, started } = yield* close(tree)
            assert.strictEqual(started, size(tree))
            assert.isAtMost(elapsed, budget)
            assert.isAtMost(outcome.elapsedMillis, budget)
          })
      ),
    120_000
  )

  it.effect(
    "gives three quarters of it to a lone slow finalizer, at any depth",
    () =>
      check(trees(["slow"], ["quick"]), 60, (tree) =>
        Effect.gen(function*() {
          const { elapsed, finished, outcome } = yield* close(tree)
          assert.strictEqual(finished, size(tree))
          assert.strictEqual(outcome._tag, "Completed")
          assert.isAtMost(elapsed, budget * 0.75)
        })),
    120_000
  )

  it.effect(
    "tells of each that failed, however deep, and goes on",
    () =>
      check(trees(["fails"], ["quick", "fails"]), 60, (tree) =>
        Effect.gen(function*() {
          const { outcome, started } = yield* close(tree)
          assert.strictEqual(started, size(tree))
          assert.strictEqual(outcome._tag, "Failed")
          const failing = (one: Tree): number =>
            one._tag === "Leaf"
              ? one.kind === "fails" ? 1 : 0
              : one._tag === "MergeAll"
              ? one.trees.reduce((sum, inner) => sum + failing(inner), 0)
              : failing(one.tree) + ("on" in one ? failing(one.on) : 0)
          assert.strictEqual(outcome.attempts.filter(({ result }) => result === "failed").length, failing(tree))
        })),
    120_000
  )
})
