import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Supervision from "@holdfast/core/Supervision"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Exit, Fiber, Random, Schedule, Scope } from "effect"
import { ensure, seeds, soon, timeout } from "./support/explore.js"

/** Children that count themselves: never two incarnations of one at a time. */
const makeChildren = () => {
  const alive = new Map<string, number>()
  const starts = new Map<string, number>()
  const bump = (map: Map<string, number>, name: string, by: number) => map.set(name, (map.get(name) ?? 0) + by)
  let overlap = ""
  const spec = (
    name: string,
    life: Effect.Effect<unknown, unknown>,
    rest: Partial<Supervision.ChildSpec> = {}
  ): Supervision.ChildSpec => ({
    name,
    ...rest,
    start: Effect.acquireUseRelease(
      Effect.sync(() => {
        bump(starts, name, 1)
        bump(alive, name, 1)
        if (alive.get(name)! > 1) overlap = name
      }),
      () => life,
      () => Effect.sync(() => bump(alive, name, -1))
    )
  })
  return {
    spec,
    alive: (name: string) => alive.get(name) ?? 0,
    starts: (name: string) => starts.get(name) ?? 0,
    overlap: () => overlap
  }
}

const crash = (after: Effect.Effect<unknown>) => Effect.zipRight(after, Effect.fail("crash"))

describe("supervision under every interleaving", () => {
  it.effect("commands, crashes and the end of the scope", () =>
    Explore.check(
      Effect.gen(function*() {
        const { alive, overlap, spec } = makeChildren()
        const scope = yield* Scope.make()
        const supervisor = yield* Scope.extend(
          Supervision.make({
            name: "top",
            strategy: (["one_for_one", "one_for_all", "rest_for_one"] as const)[yield* Random.nextIntBetween(0, 3)]!,
            intensity: 3,
            ...((yield* Random.nextBoolean) ? { backoff: Schedule.spaced("5 seconds") } : {}),
            children: [
              spec("steady", Effect.never),
              spec("crashing", crash(Effect.sleep("1 second"))),
              spec("worker", Effect.sleep("1500 millis"), { restart: "transient" })
            ]
          }),
          scope
        )
        const noisy = Effect.ignore
        yield* Effect.all([
          noisy(supervisor.stopChild("steady")),
          noisy(supervisor.restartChild("steady")),
          noisy(supervisor.startChild(spec("late", Effect.yieldNow(), { restart: "temporary" }))),
          noisy(Effect.zipRight(supervisor.stopChild("worker"), supervisor.deleteChild("worker"))),
          Effect.sleep(yield* Random.nextIntBetween(0, 3_000))
        ], { concurrency: "unbounded" })
        yield* supervisor.children
        // in the middle of other commands: each of them gets an answer
        const command = (run: Effect.Effect<void, unknown>) => Effect.fork(Effect.exit(Effect.zipRight(soon(10), run)))
        const commands = [
          yield* command(supervisor.startChild(spec("twin", Effect.never))),
          yield* command(supervisor.startChild(spec("twin", Effect.never))),
          yield* command(supervisor.restartChild("steady")),
          yield* command(supervisor.stopChild("crashing"))
        ]
        yield* soon(30)
        yield* Scope.close(scope, Exit.void)
        yield* Effect.forEach(commands, Fiber.join)
        yield* ensure(overlap() === "", () => `two incarnations of ${overlap()} at a time`)
        for (const name of ["steady", "crashing", "worker", "late", "twin"]) {
          yield* ensure(alive(name) === 0, () => `${name} outlived its supervisor`)
        }
        const registry = yield* FiberRegistry.FiberRegistry
        const left = yield* registry.census
        yield* ensure(left.length === 0, () => `the census still has ${left.map(({ name }) => name).join()}`)
      }),
      { seeds }
    ), timeout)

  it.effect("a child that was told to stop is not started again", () =>
    Explore.check(
      Effect.gen(function*() {
        const { alive, spec, starts } = makeChildren()
        const supervisor = yield* Supervision.make({
          name: "top",
          intensity: 100,
          children: [spec("crashing", crash(Effect.yieldNow()))],
          backoff: Schedule.spaced("10 millis")
        })
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 35))
        const stopped = yield* Effect.exit(supervisor.stopChild("crashing"))
        if (Exit.isFailure(stopped)) return
        const before = starts("crashing")
        yield* ensure(alive("crashing") === 0, () => "it lives after stopChild has returned")
        yield* Effect.sleep("1 minute")
        yield* ensure(starts("crashing") === before, () => "it was started again after it was stopped")
      }),
      { seeds }
    ), timeout)

  it.effect("gives up once, with all its children stopped", () =>
    Explore.check(
      Effect.gen(function*() {
        const { alive, spec } = makeChildren()
        const supervisor = yield* Supervision.make({
          name: "top",
          intensity: 2,
          children: [
            spec("steady", Effect.never),
            spec("one", crash(Effect.sleep("1 second"))),
            spec("two", crash(Effect.sleep("1 second")))
          ]
        })
        const [first, second] = yield* Effect.all(
          [Effect.exit(supervisor.awaitEscalation), Effect.exit(supervisor.awaitEscalation)],
          { concurrency: 2 }
        )
        yield* ensure(Exit.isFailure(first) && Exit.isFailure(second), () => "it did not give up for all who wait")
        for (const name of ["steady", "one", "two"]) {
          yield* ensure(alive(name) === 0, () => `${name} outlived the escalation`)
        }
        const after = yield* Effect.exit(supervisor.startChild(spec("late", Effect.never)))
        yield* ensure(Exit.isFailure(after), () => "a child was started after the end")
      }),
      { seeds }
    ), timeout)

  it.effect("is deterministic", () =>
    Effect.gen(function*() {
      const { spec } = makeChildren()
      const report = yield* Explore.checkDeterminism(Effect.gen(function*() {
        yield* Supervision.make({ name: "top", children: [spec("a", crash(Effect.sleep("1 second")))] })
        yield* Effect.sleep("5 seconds")
      }))
      assert.deepStrictEqual(report.escapes, [])
    }))
})
