import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import * as Explore from "@holdfast/testing/Explore"
import * as Faults from "@holdfast/testing/Faults"
import { Clock, Context, Deferred, Effect, Exit, Fiber, FiberRef, Option, Random, Ref } from "effect"
import { readFileSync } from "node:fs"
import { readFile } from "node:fs/promises"

class Visits extends Context.Reference<Visits>()("app/Visits", { defaultValue: () => ({ count: 0 }) }) {}

const source = readFileSync(new URL(import.meta.url), "utf8").split("\n")

/** The place of the line that carries a marker. */
const at = (marker: string) =>
  `packages/testing/test/Explore.test.ts:${source.findIndex((line) => line.includes(`// ${marker}`)) + 1}`

const lostUpdate = Effect.gen(function*() {
  const counter = yield* Ref.make(0)
  const add = Effect.gen(function*() {
    const n = yield* Ref.get(counter) // read
    yield* Ref.set(counter, n + 1) // write
  }).pipe(Effect.withSpan("add"))
  yield* Effect.all([add, add], { concurrency: 2 })
  if ((yield* Ref.get(counter)) !== 2) return yield* Effect.die(new Error("lost update")) // check
})

const withEnvironment = <A, E>(variables: { readonly [name: string]: string }, self: Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const before = { ...process.env }
      Object.assign(process.env, variables)
      return before
    }),
    () => self,
    (before) =>
      Effect.sync(() => {
        for (const name of Object.keys(variables)) {
          if (before[name] === undefined) delete process.env[name]
          else process.env[name] = before[name]
        }
      })
  )

describe("Explore", () => {
  it.effect("finds a lost update and replays it", () =>
    Effect.gen(function*() {
      const found = Option.getOrThrow(yield* Explore.find(lostUpdate, { seeds: 100 }))
      assert.isAtMost(found.tried, 50)
      assert.strictEqual(found.run.verdict, "failed")
      assert.include(found.message, "lost update")
      const first = yield* Explore.replay(lostUpdate, found.run.seed)
      for (let i = 0; i < 50; i++) {
        const again = yield* Explore.replay(lostUpdate, found.run.seed)
        assert.deepStrictEqual(again.events, first.events)
        assert.strictEqual(again.fingerprint, first.fingerprint)
      }
    }))

  it.effect("tells a lost update line by line", () =>
    Effect.gen(function*() {
      const found = Option.getOrThrow(yield* Explore.find(lostUpdate, { seeds: 100 }))
      const { message, stack } = found
      assert.match(
        message,
        new RegExp(`^the program failed at ${at("check")}: Error: lost update\nseed ${found.run.seed} `)
      )
      const moves = message.split("\n").filter((line) => line.includes(" add "))
      const order = moves.filter((line) => /read|write/.test(line)).map((line) => [
        /#\d+/.exec(line)![0],
        line.includes(at("read")) ? "reads" : line.includes(at("write")) ? "writes" : line
      ])
      // both read, both write, one is cut in between, and the source of each line is shown
      const writes = order.filter(([, what]) => what === "writes").map(([who]) => who)
      assert.deepStrictEqual(order.map(([, what]) => what).sort(), ["reads", "reads", "writes", "writes"])
      assert.strictEqual(new Set(writes).size, 2)
      assert.match(message, />> paused .* the line above.*; #\d goes on/)
      assert.isTrue(moves.some((line) => line.includes("const n = yield* Ref.get(counter)")))
      // reporters print the code there, and what the program failed with
      assert.include(stack, `/${at("check")}:1`)
      assert.strictEqual((found.cause as Error).message, "lost update")
    }))

  it.effect("refuses options that make no sense", () =>
    Effect.gen(function*() {
      const refusal = (options: Explore.Options) =>
        Effect.map(Effect.flip(Explore.check(Effect.void, options)), (error) => [error._tag, error.message])
      for (
        const [options, message] of [
          [{ seeds: 0 }, "Explore.seeds is 0: expected a whole number of at least 1"],
          [{ seeds: Number.NaN }, "Explore.seeds is NaN: expected a whole number of at least 1"],
          [{ seed: 1.5 }, "Explore.seed is 1.5: expected a whole number"],
          [{ maxOperations: 0 }, "Explore.maxOperations is 0: expected a whole number of at least 1"],
          [
            { strategy: { _tag: "random", preemption: 7 } },
            "Explore.strategy.preemption is 7: expected a probability from 0 to 1"
          ],
          [
            { strategy: { _tag: "pct", depth: 0 } },
            "Explore.strategy.depth is 0: expected a whole number of at least 1"
          ],
          [
            { settle: "a while" as never },
            "Explore.settle is \"a while\": expected a finite duration of zero or more, such as \"30 seconds\""
          ]
        ] satisfies ReadonlyArray<readonly [Explore.Options, string]>
      ) {
        assert.deepStrictEqual(yield* refusal(options), ["InvalidOption", message])
      }
      const byHand = yield* Effect.flip(Explore.replay(Effect.void, 0.5))
      assert.include(byHand.message, "expected a whole number")
    }))

  it.effect("takes the first seed and their number from the environment, and refuses what is none", () =>
    Effect.gen(function*() {
      const counting = (seeds: Array<number>) =>
        Effect.map(FiberRef.get(Explore.currentSeed), (seed) => seeds.push(Option.getOrElse(seed, () => -1)))
      const tried = (variables: { readonly [name: string]: string }) =>
        Effect.gen(function*() {
          const seeds: Array<number> = []
          yield* withEnvironment(variables, Explore.check(counting(seeds), { seeds: 3 }))
          // without the one that measures the program
          return seeds.slice(1)
        })
      assert.deepStrictEqual(yield* tried({}), [1, 2, 3])
      assert.deepStrictEqual(yield* tried({ HOLDFAST_SEEDS: "2" }), [1, 2])
      assert.deepStrictEqual(yield* tried({ HOLDFAST_SEED: "26" }), [26])
      assert.deepStrictEqual(yield* tried({ HOLDFAST_SEED: "26", HOLDFAST_SEEDS: "2" }), [26, 27])
      const refusal = (variables: { readonly [name: string]: string }) =>
        Effect.map(Effect.flip(withEnvironment(variables, Explore.check(lostUpdate))), ({ message }) => message)
      assert.strictEqual(
        yield* refusal({ HOLDFAST_SEED: "first" }),
        "HOLDFAST_SEED is \"first\": expected a whole number"
      )
      assert.strictEqual(
        yield* refusal({ HOLDFAST_SEEDS: "0" }),
        "HOLDFAST_SEEDS is \"0\": expected a whole number of at least 1"
      )
    }))

  it.effect("shows which faults fired, and counts those that never did", () =>
    Effect.gen(function*() {
      const program = (points: { readonly [point: string]: number }) =>
        Effect.void.pipe(
          Faults.fail("store.write", () => "disk full"),
          Effect.provide(Faults.layer({ only: true, points }))
        )
      const found = Option.getOrThrow(yield* Explore.find(program({ "store.write": 0.2 }), { seeds: 100 }))
      assert.include(found.message, "fault store.write fires")
      assert.deepStrictEqual(found.run.faults.get("store.write"), { evaluated: 1, fired: 1 })
      const report = yield* Explore.check(program({ "store.wirte": 1, "store.read": 0 }), { seeds: 10 })
      assert.deepStrictEqual(Object.fromEntries(report.faults), {
        "store.wirte": { evaluated: 0, fired: 0 },
        "store.write": { evaluated: 10, fired: 0 }
      })
    }))

  it.effect("lets hours pass in no time", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const before = yield* Clock.currentTimeMillis
        yield* Effect.all([Effect.sleep("3 hours"), Effect.sleep("1 hour")], { concurrency: 2 })
        const raw = Date.now()
        yield* Random.next
        return [(yield* Clock.currentTimeMillis) - before, raw - before]
      })
      const run = yield* Explore.replay(program, 7)
      assert.strictEqual(run.verdict, "ok")
      const exit = Option.getOrThrow(run.exit)
      assert.deepStrictEqual(yield* exit, [10_800_000, 10_800_000])
    }))

  it.effect("reports a deadlock with the fibers", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const latch = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(Deferred.await(latch))
        yield* Fiber.join(fiber)
      })
      const found = Option.getOrThrow(yield* Explore.find(program))
      assert.strictEqual(found.run.verdict, "blocked")
      assert.match(
        found.message,
        /^everything is blocked.*\n {2}#0 waits.* at packages\/testing\/test\/Explore\.test\.ts:\d+\n/
      )
    }))

  it.effect("reports a livelock", () =>
    Effect.gen(function*() {
      const found = Option.getOrThrow(yield* Explore.find(Effect.forever(Effect.void), { maxOperations: 5000 }))
      assert.strictEqual(found.run.verdict, "livelock")
      const forever = Effect.forever(Effect.sleep("1 second"))
      const byTime = Option.getOrThrow(yield* Explore.find(forever, { maxTime: "1 hour" }))
      assert.strictEqual(byTime.run.verdict, "livelock")
    }))

  it.effect("reports a leaked fiber", () =>
    Effect.gen(function*() {
      const found = Option.getOrThrow(yield* Explore.find(Effect.forkDaemon(Effect.never)))
      assert.strictEqual(found.run.verdict, "leaked")
    }))

  it.effect("takes fibers of the default runtime in, and says so", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const done = yield* Deferred.make<number>()
        // edge: a fiber that escapes is the subject
        Effect.runFork(Effect.zipRight(Effect.sleep("1 hour"), Deferred.succeed(done, Date.now())))
        return yield* Deferred.await(done)
      })
      const run = yield* Explore.replay(program, 3)
      assert.strictEqual(run.verdict, "ok")
      assert.strictEqual(run.millis, 3_600_000)
      assert.match(run.escapes[0]!, /default runtime at packages\/testing\/test\/Explore\.test\.ts:\d+/)
      const error = yield* Effect.flip(Explore.checkDeterminism(program))
      assert.include(error.message, "default runtime")
    }))

  it.effect("lets promises and JavaScript timers take part", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const start = Date.now()
        yield* Effect.promise(async () => {
          await new Promise((resolve) => setTimeout(resolve, 60_000))
          await Promise.resolve()
        })
        return Math.random() + Date.now() - start
      })
      const report = yield* Explore.checkDeterminism(program)
      assert.deepStrictEqual(report.escapes, [])
    }))

  it.effect("finds a program that keeps state between runs", () =>
    Effect.gen(function*() {
      let runs = 0
      const program = Effect.suspend(() => ++runs % 2 === 0 ? Effect.yieldNow() : Effect.void)
      const error = yield* Effect.flip(Explore.checkDeterminism(program, { seeds: 3 }))
      assert.strictEqual(error._tag, "NotDeterministic")
    }))

  it.effect("gives each run default values of references of its own", () =>
    Effect.gen(function*() {
      const program = Effect.map(Visits, (visits) => ++visits.count)
      const run = Explore.replay(program, 1)
      const exits = yield* Effect.replicateEffect(Effect.map(run, ({ exit }) => exit), 3)
      deepStrictEqual(exits, [1, 1, 1].map((count) => Option.some(Exit.succeed(count))))
    }))

  it.effect("finds a program that waits for the world outside", () =>
    Effect.gen(function*() {
      const program = Effect.promise(() => readFile(new URL(import.meta.url)))
      const blocked = yield* Explore.replay(program, 1)
      assert.strictEqual(blocked.verdict, "blocked")
      const awaited = yield* Explore.replay(program, 1, { external: "await" })
      assert.strictEqual(awaited.verdict, "ok")
      assert.include(awaited.escapes[0]!, "from outside the simulation")
    }))

  it.effect("leaves the process as it was", () =>
    Effect.gen(function*() {
      const before = [Date, Date.now, Math.random, setTimeout, performance.now, process.hrtime.bigint]
      const roots = Array.from(yield* Fiber.roots).length
      yield* Explore.find(Effect.zipRight(Effect.forkDaemon(Effect.never), Effect.die("no")))
      yield* Explore.find(Effect.forever(Effect.yieldNow()), { maxOperations: 2_000 })
      assert.deepStrictEqual([Date, Date.now, Math.random, setTimeout, performance.now, process.hrtime.bigint], before)
      assert.strictEqual(Array.from(yield* Fiber.roots).length, roots)
    }))

  it.effect("explores a thousand seeds as a thousand interleavings", () =>
    Effect.gen(function*() {
      const step = Effect.repeatN(Effect.zipRight(Effect.sync(() => {}), Effect.yieldNow()), 5)
      const report = yield* Explore.checkRandom(Effect.all([step, step, step], { concurrency: 3 }), { seeds: 1_000 })
      assert.isAbove(report.interleavings, 950)
    }))
})
