/**
 * What every adapter of `Leadership` has to do, as a vitest suite.
 *
 * ```ts no-run
 * import * as Leadership from "@holdfast/core/Leadership"
 * import * as LeadershipConformance from "@holdfast/testing/LeadershipConformance"
 * import { Effect } from "effect"
 *
 * LeadershipConformance.suite({
 *   name: "memory",
 *   cluster: Effect.sync(() => {
 *     const seats = new Leadership.Seats()
 *     return {
 *       join: (node) => Effect.succeed(Leadership.makeMemory({ node, seats })),
 *       revoke: (name) => seats.revoke(name)
 *     }
 *   })
 * })
 * ```
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import type * as Leadership from "@holdfast/core/Leadership"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Scope from "effect/Scope"
import { until } from "./internal/eventBusFixture.js"

/**
 * Several nodes that know one another.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cluster {
  readonly join: (node: string) => Effect.Effect<Leadership.Service, unknown, Scope.Scope>
  /** Takes the ownership from whoever has it, as a lease that ran out does. */
  readonly revoke: (name: string) => Effect.Effect<void>
}

/**
 * The port to test.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly name: string
  /** A fresh one. */
  readonly cluster: Effect.Effect<Cluster, unknown, Scope.Scope>
}

interface Reign {
  readonly node: string
  readonly term: number
}

/** Writes down who reigns, and fails the test when two do at once. */
class Chronicle {
  readonly reigns: Array<Reign> = []
  current: Reign | undefined = undefined
  overlaps = 0

  readonly reign = (node: string) => (term: number): Effect.Effect<never> =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        if (this.current !== undefined) this.overlaps++
        this.current = { node, term }
        this.reigns.push(this.current)
      }),
      () => Effect.never,
      () =>
        // takes its time: nobody may begin meanwhile
        Effect.zipRight(
          Effect.repeatN(Effect.yieldNow(), 5),
          Effect.sync(() => {
            this.current = undefined
          })
        )
    )
}

/**
 * Registers the suite, under `describe`.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = (options: Options): void => {
  const test = (name: string, body: (cluster: Cluster) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
    it.scopedLive(name, () => Effect.flatMap(options.cluster, body).pipe(Logger.withMinimumLogLevel(LogLevel.None)))

  const isAscending = (reigns: ReadonlyArray<Reign>) =>
    reigns.every(({ term }, index) => index === 0 || term > reigns[index - 1].term)

  describe(`Leadership conformance: ${options.name}`, () => {
    test("a node alone is the owner, and says so", ({ join }) =>
      Effect.gen(function*() {
        const a = yield* join("a")
        assert.isTrue((yield* a.owner("world"))._tag === "None")
        const chronicle = new Chronicle()
        yield* a.whileOwner({ name: "world" }, chronicle.reign("a"))
        yield* until(Effect.sync(() => chronicle.current !== undefined))
        const owner = yield* a.owner("world")
        assert.deepStrictEqual(
          owner._tag === "Some" ? { ...owner.value } : undefined,
          { node: "a", term: chronicle.current!.term, mine: true }
        )
      }))

    test("one at a time; when it ends the next begins, with a greater term", ({ join }) =>
      Effect.gen(function*() {
        const chronicle = new Chronicle()
        const scopes = new Map<string, Scope.CloseableScope>()
        for (const node of ["a", "b", "c"]) {
          const scope = yield* Scope.make()
          yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
          scopes.set(node, scope)
          const service = yield* join(node)
          yield* Scope.extend(service.whileOwner({ name: "world" }, chronicle.reign(node)), scope)
        }
        for (let reigns = 1; reigns <= 3; reigns++) {
          yield* until(Effect.sync(() => chronicle.reigns.length === reigns && chronicle.current !== undefined))
          yield* Scope.close(scopes.get(chronicle.current!.node)!, Exit.void)
        }
        assert.deepStrictEqual(chronicle.reigns.map(({ node }) => node).sort(), ["a", "b", "c"])
        assert.isTrue(isAscending(chronicle.reigns))
        assert.strictEqual(chronicle.overlaps, 0)
        assert.isUndefined(chronicle.current)
      }))

    test("different names have different owners", ({ join }) =>
      Effect.gen(function*() {
        const [a, b] = [yield* join("a"), yield* join("b")]
        const [world, sky] = [new Chronicle(), new Chronicle()]
        yield* a.whileOwner({ name: "world" }, world.reign("a"))
        yield* b.whileOwner({ name: "sky" }, sky.reign("b"))
        yield* until(Effect.sync(() => world.current !== undefined && sky.current !== undefined))
        assert.deepStrictEqual([world.current!.node, sky.current!.node], ["a", "b"])
      }))

    test("an owner that loses its lease is interrupted before another begins", ({ join, revoke }) =>
      Effect.gen(function*() {
        const chronicle = new Chronicle()
        for (const node of ["a", "b"]) {
          const service = yield* join(node)
          yield* service.whileOwner({ name: "world" }, chronicle.reign(node))
        }
        for (let reigns = 1; reigns <= 5; reigns++) {
          yield* until(Effect.sync(() => chronicle.reigns.length === reigns && chronicle.current !== undefined))
          yield* revoke("world")
        }
        yield* until(Effect.sync(() => chronicle.reigns.length === 6))
        assert.isTrue(isAscending(chronicle.reigns))
        assert.strictEqual(chronicle.overlaps, 0)
      }))

    test("an owner that does not end is given up after its budget", ({ join, revoke }) =>
      Effect.gen(function*() {
        const a = yield* join("a")
        const b = yield* join("b")
        const begun: Array<string> = []
        const releases: Array<() => void> = []
        // only its first term: what is given up runs on, and must end with the test
        const stubborn = Effect.async<void>((resume) => {
          if (releases.push(() => resume(Effect.void)) > 1) resume(Effect.void)
        })
        yield* a.whileOwner({ name: "world", budget: "20 millis" }, () =>
          Effect.zipRight(
            Effect.sync(() => begun.push("a")),
            Effect.zipRight(Effect.uninterruptible(stubborn), Effect.never)
          ))
        yield* until(Effect.sync(() => begun.length === 1))
        yield* b.whileOwner({ name: "world" }, () => Effect.zipRight(Effect.sync(() => begun.push("b")), Effect.never))
        // whoever had it may get it again
        yield* until(Effect.zipRight(revoke("world"), Effect.sync(() => begun.includes("b"))))
        releases[0]()
      }))

    test("after a failure it is tried again, with a greater term", ({ join }) =>
      Effect.gen(function*() {
        const a = yield* join("a")
        const terms: Array<number> = []
        yield* a.whileOwner({ name: "world", pause: "1 millis" }, (term) =>
          Effect.suspend(() => {
            terms.push(term)
            return terms.length < 3 ? Effect.fail("no") : Effect.never
          }))
        yield* until(Effect.sync(() => terms.length === 3))
        assert.isTrue(terms[0] < terms[1] && terms[1] < terms[2])
      }))

    test("what is owned has a scope that ends with the term", ({ join, revoke }) =>
      Effect.gen(function*() {
        const a = yield* join("a")
        const log: Array<string> = []
        yield* a.whileOwner({ name: "world" }, (term) =>
          Effect.zipRight(
            Effect.acquireRelease(
              Effect.sync(() => log.push(`+${term}`)),
              () => Effect.sync(() => log.push(`-${term}`))
            ),
            Effect.never
          ))
        yield* until(Effect.sync(() => log.length === 1))
        yield* revoke("world")
        yield* until(Effect.sync(() => log.length === 3))
        assert.deepStrictEqual(log.map((line) => line[0]), ["+", "-", "+"])
      }))

    test("refuses durations that make no sense", ({ join }) =>
      Effect.gen(function*() {
        const a = yield* join("a")
        for (const value of [Number.NaN, -1]) {
          const budget = yield* Effect.flip(a.whileOwner({ name: "world", budget: value }, () => Effect.never))
          assert.deepStrictEqual([budget._tag, budget.option], ["InvalidOption", "Leadership.budget"])
          const pause = yield* Effect.flip(a.whileOwner({ name: "world", pause: value }, () => Effect.never))
          assert.strictEqual(pause.option, "Leadership.pause")
        }
      }))
  })
}
