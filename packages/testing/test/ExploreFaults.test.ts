// edge: plain JavaScript and other runtimes inside of an exploration are the subject
import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Exit, Fiber, Option, Ref, Schema } from "effect"
import { AsyncLocalStorage } from "node:async_hooks"
import { readFile } from "node:fs/promises"

const found = (program: Effect.Effect<unknown, unknown>, options: Explore.Options = {}) =>
  Effect.map(Explore.find(program, options), Option.getOrThrow)

const exitOf = (program: Effect.Effect<unknown, unknown>) =>
  Effect.map(Explore.replay(program, 1), ({ exit }) => Option.getOrThrow(exit))

const works = Effect.async<string>((resume) => {
  const late = setTimeout(() => resume(Effect.succeed("dead")), 5_000)
  setImmediate(() => {
    clearTimeout(late)
    resume(Effect.succeed("works"))
  })
})

const lostUpdate = (more: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const gold = yield* Ref.make(0)
    const earn = Effect.gen(function*() {
      yield* more
      const before = yield* Ref.get(gold)
      yield* Ref.set(gold, before + 1)
    })
    yield* Effect.all([earn, earn], { concurrency: 2 })
    if ((yield* Ref.get(gold)) !== 2) return yield* Effect.dieMessage("an update was lost")
  })

describe("plain JavaScript in an exploration", () => {
  it.live("a virtual immediate that is cleared later leaves setImmediate of the process alive", () =>
    Effect.gen(function*() {
      let handle: NodeJS.Immediate | undefined
      yield* Explore.check(
        Effect.promise(async () => {
          handle = setImmediate(() => {})
          await Promise.resolve()
        }),
        { seeds: 1, leaks: false }
      )
      clearImmediate(handle)
      assert.strictEqual(yield* works, "works")
    }))

  it.effect("time, chance and timers are virtual after an await as before it", () =>
    Effect.gen(function*() {
      const read = () => [Date.now(), new Date().getFullYear(), Math.random(), performance.now()]
      const program = Effect.promise(async () => {
        const before = read()
        await Promise.resolve()
        const after = read()
        await new Promise((resolve) => setTimeout(resolve, 3_600_000))
        return { before, after, late: Date.now() }
      })
      const [one, two] = [yield* exitOf(program), yield* exitOf(program)]
      assert.deepStrictEqual(one, two)
      const { after, before, late } = (yield* one) as {
        before: Array<number>
        after: Array<number>
        late: number
      }
      assert.strictEqual(after[0], before[0])
      assert.strictEqual(late, before[0]! + 3_600_000)
    }))

  it.effect("a fiber that is started after an await is taken in, reported, and ended", () =>
    Effect.gen(function*() {
      let beats = 0
      const beat = Effect.forever(Effect.zipRight(Effect.sync(() => beats++), Effect.sleep("10 millis")))
      const bug = yield* found(Effect.promise(async () => {
        await Promise.resolve()
        Effect.runFork(beat)
      }))
      assert.strictEqual(bug.run.verdict, "leaked")
      assert.match(bug.run.escapes.join(), /default runtime at packages\/testing\/test\/ExploreFaults/)
      const before = beats
      yield* Effect.yieldNow()
      assert.strictEqual(beats, before)
    }))

  it.effect("a failure that does not come again is a fault of determinism", () =>
    Effect.gen(function*() {
      let runs = 0
      const program = Effect.suspend(() => ++runs === 3 ? Effect.dieMessage("once") : Effect.void)
      const error = yield* Effect.flip(Explore.check(program, { seeds: 10 }))
      assert.strictEqual(error._tag, "NotDeterministic")
    }))

  it.effect("a throw in a timer, an unhandled rejection and a left interval are told with their seed", () =>
    Effect.gen(function*() {
      const thrown = yield* found(Effect.gen(function*() {
        setTimeout(() => {
          throw new Error("boom in a timer")
        }, 5)
        yield* Effect.sleep("10 millis")
      }))
      assert.match(thrown.message, /^the program failed at .*ExploreFaults.*boom in a timer[^]*seed 1 /)
      const rejected = yield* found(Effect.gen(function*() {
        void Promise.reject(new Error("nobody listens"))
        yield* Effect.sleep("10 millis")
      }))
      assert.match(rejected.message, /nobody listens[^]*a promise was rejected, and nobody handles it/)
      const left = yield* found(Effect.gen(function*() {
        setInterval(() => {}, 1_000)
        yield* Effect.sleep("1 second")
      }))
      assert.strictEqual(left.run.verdict, "leaked")
      assert.match(left.message, /a timer every 1000 ms, made at packages\/testing\/test\/ExploreFaults/)
    }))

  it.effect("asynchronous context goes through a nested runPromise", () =>
    Effect.gen(function*() {
      const storage = new AsyncLocalStorage<string>()
      const one = (id: string) =>
        Effect.promise(() =>
          storage.run(id, () =>
            Effect.runPromise(Effect.gen(function*() {
              yield* Effect.yieldNow()
              yield* Effect.sleep("1 millis")
              return storage.getStore()
            })))
        )
      const program = Effect.gen(function*() {
        const seen = yield* Effect.all([one("a"), one("b")], { concurrency: 2 })
        if (seen.join() !== "a,b") return yield* Effect.dieMessage(`contexts: ${seen.join()}`)
      })
      assert.strictEqual((yield* Explore.check(program, { seeds: 50 })).seeds, 50)
    }))

  it.effect("fibers come between the turns of microtasks", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        let value = ""
        const first = Effect.promise(async () => {
          await Promise.resolve()
          value = "first"
        })
        const second = Effect.promise(async () => {
          await Promise.resolve()
          await Promise.resolve()
          await Promise.resolve()
          if (value === "") throw new Error("second before first")
        })
        yield* Effect.all([second, first], { concurrency: 2 })
      })
      assert.include((yield* found(program)).message, "second before first")
    }))
})

describe("what an exploration says", () => {
  it.effect("what is awaited, in the world outside as well", () =>
    Effect.gen(function*() {
      const bug = yield* found(Effect.promise(() => readFile(new URL(import.meta.url))))
      assert.match(bug.message, /#0 waits for a promise[^]*the world outside: a file.*external: "await"/)
      const sleeper = yield* found(Effect.forkDaemon(Effect.sleep("1 hour")))
      assert.include(sleeper.message, "waits for a sleep of 1h")
      const joins = yield* found(Effect.flatMap(Effect.fork(Effect.never), Fiber.join))
      assert.match(joins.message, /#0 waits for the end of #1/)
    }))

  it.effect("the world outside, although fibers are always ready or sleep for ever", () =>
    Effect.gen(function*() {
      const beside = (other: Effect.Effect<unknown>) =>
        Effect.gen(function*() {
          const running = yield* Effect.fork(Effect.forever(other))
          const text = yield* Effect.promise(() => readFile(new URL(import.meta.url), "utf8"))
          yield* Fiber.interrupt(running)
          if (!text.includes("always ready")) return yield* Effect.dieMessage("another file")
        })
      for (const other of [Effect.yieldNow(), Effect.sleep("1 second")]) {
        const bug = yield* found(beside(other), { shrink: false, maxOperations: 20_000 })
        assert.strictEqual(bug.run.verdict, "livelock")
        assert.match(bug.message, /the world outside: a file.*not waited for unless external: "await"/)
        const report = yield* Explore.check(beside(other), { external: "await", seeds: 10 })
        assert.strictEqual(report.seeds, 10)
        assert.match(report.escapes.join(), /resumed from outside/)
      }
    }))

  it.effect("who wakes whom, in which function it waits, and what it does not come to", () =>
    Effect.gen(function*() {
      const lost = Effect.gen(function*() {
        let free = 0
        const waiters: Array<() => void> = []
        const park = Effect.async<void>((resume) => {
          waiters.push(() => resume(Effect.void)) // parks
        })
        const acquire: Effect.Effect<void> = Effect.suspend(() => {
          if (free === 0) return Effect.zipRight(park, acquire) // looks
          return Effect.sync(() => void free--)
        })
        const give = Effect.sync(() => {
          free++
          waiters.shift()?.()
        })
        const back = Effect.sync(() => void free++) // gives back
        const worker = yield* Effect.fork(Effect.zipRight(acquire, back))
        yield* Effect.yieldNow()
        yield* Effect.all([give, Fiber.interrupt(worker)], { concurrency: 2 })
        if (free === 0) return yield* Effect.dieMessage("given to nobody")
      })
      const { message } = yield* found(lost)
      assert.match(message, /#1 .*Effect\.suspend\(/)
      assert.match(message, /#1 .*Effect\.async</)
      assert.match(message, /#\d +wakes #1/)
      assert.match(message, /#1 +is interrupted by #\d.*does not come to .*gives back/)
    }))

  it.effect("no more pauses than it takes, where one alone leads to the failure", () =>
    Effect.gen(function*() {
      const here = yield* Effect.succeed(new Set(["ann"]))
      const look = Effect.flatMap(
        Effect.sync(() => here.has("ann")),
        (known) => Effect.suspend(() => known && !here.has("ann") ? Effect.dieMessage("gone in between") : Effect.void)
      )
      const program = Effect.all([
        Effect.zipRight(Effect.sync(() => here.add("ann")), look),
        Effect.sync(() => here.delete("ann"))
      ], { concurrency: 2 })
      const bug = yield* found(program, { strategy: { _tag: "random", preemption: 0.5 }, seeds: 2_000 })
      assert.isAtMost(Option.getOrThrow(bug.minimal).schedule.length, 2)
    }))

  it.effect("who interrupted whom, and where a fiber was cut", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const held = yield* Ref.make(false)
        const work = Effect.gen(function*() {
          yield* Ref.set(held, true)
          yield* Effect.yieldNow()
          yield* Ref.set(held, false)
        })
        const worker = yield* Effect.fork(work)
        yield* Fiber.interrupt(worker)
        if (yield* Ref.get(held)) return yield* Effect.dieMessage("held for ever")
      })
      const { message } = yield* found(program)
      assert.match(message, /#0 +interrupts #1/)
      assert.match(message, /#1 +is interrupted by #0/)
    }))

  it.effect("counts behaviours, not schedules", () =>
    Effect.gen(function*() {
      const idle = yield* Explore.check(Effect.all([Effect.void, Effect.void], { concurrency: 2 }), { seeds: 300 })
      assert.isAtMost(idle.interleavings, 30)
    }))
})

describe("schedules", () => {
  it.effect("a failure is shrunk to the cuts that it needs", () =>
    Effect.gen(function*() {
      const bug = yield* found(lostUpdate(Effect.void))
      const minimal = Option.getOrThrow(bug.minimal)
      assert.isAtMost(minimal.schedule.length, 2)
      assert.isAtMost(minimal.schedule.length, bug.run.schedule.length)
      assert.strictEqual(minimal.verdict, "failed")
    }))

  it.effect("a recorded schedule fails again after edits, and passes when the bug is mended", () =>
    Effect.gen(function*() {
      const bug = yield* found(lostUpdate(Effect.void))
      const schedule = yield* Schema.decode(Schema.parseJson(Explore.Schedule))(
        yield* Schema.encode(Schema.parseJson(Explore.Schedule))(Explore.scheduleOf(bug))
      )
      for (const edit of [Effect.void, Effect.asVoid(Effect.succeed(1)), Effect.zipRight(Effect.void, Effect.void)]) {
        const again = yield* Effect.flip(Explore.regression(lostUpdate(edit), schedule))
        assert.strictEqual(again._tag, "BugFound")
      }
      const mended = Effect.gen(function*() {
        const gold = yield* Ref.make(0)
        const earn = Ref.update(gold, (before) => before + 1)
        yield* Effect.all([earn, earn], { concurrency: 2 })
      })
      assert.isAbove((yield* Explore.regression(mended, schedule)).runs, 1)
    }))

  it.effect("all schedules of a small program are tried, and it says so", () =>
    Effect.gen(function*() {
      const program = (mended: boolean) =>
        Effect.gen(function*() {
          let gold = 0
          const earn = mended
            ? Effect.sync(() => gold++)
            : Effect.flatMap(Effect.sync(() => gold), (before) => Effect.sync(() => (gold = before + 1)))
          const other = yield* Effect.fork(earn)
          yield* earn
          yield* Fiber.join(other)
          if (gold !== 2) return yield* Effect.dieMessage("an update was lost")
        })
      const bug = yield* Effect.flip(Explore.checkAll(program(false), { cuts: 1 }))
      assert.strictEqual(bug._tag, "BugFound")
      const one = yield* Explore.checkAll(program(true), { cuts: 1 })
      assert.isTrue(one.complete)
      assert.isAbove(one.runs, 10)
      const few = yield* Explore.checkAll(program(true), { cuts: 2, maxRuns: 5 })
      assert.isFalse(few.complete)
      assert.strictEqual(few.runs, 5)
    }))

  it.effect("failures are grouped, and known ones are passed over", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const gold = yield* Ref.make(0)
        const earn = Effect.flatMap(Ref.get(gold), (n) => Ref.set(gold, n + 1))
        const spend = Effect.flatMap(Ref.get(gold), (n) => Ref.set(gold, n - 3))
        yield* Effect.all([earn, earn, spend], { concurrency: 3 })
        const left = yield* Ref.get(gold)
        if (left > -1) return yield* Effect.dieMessage("the price was lost")
        if (left < -1) return yield* Effect.dieMessage("an earning was lost")
      })
      const { groups } = yield* Explore.survey(program, { seeds: 200 })
      assert.strictEqual(groups.length, 2)
      const known = yield* found(program, { seeds: 200, known: ["the price was lost"] })
      assert.include(known.message, "an earning was lost")
      const both = yield* Explore.check(program, { seeds: 200, known: ["the price was lost", /an earning/] })
      assert.strictEqual(both.known.size, 2)
    }))

  it.effect("time may pass while a fiber could run", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        let held = true
        yield* Effect.fork(Effect.zipRight(Effect.sleep("1 second"), Effect.sync(() => (held = false))))
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        if (!held) return yield* Effect.dieMessage("the lease ran out in the middle of work")
      })
      assert.isTrue(Option.isNone(yield* Explore.find(program, { seeds: 200 })))
      assert.include((yield* found(program, { maxPause: "2 seconds" })).message, "in the middle of work")
      const run = yield* Explore.replay(Effect.void, 1)
      assert.isTrue(Option.exists(run.exit, Exit.isSuccess))
    }))
})
