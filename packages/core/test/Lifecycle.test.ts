import { assertSome } from "@effect/vitest/utils"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import * as Supervision from "@holdfast/core/Supervision"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import {
  Context,
  Deferred,
  Duration,
  Effect,
  ExecutionStrategy,
  Exit,
  Fiber,
  FiberRef,
  Layer,
  Logger,
  Scope,
  Stream,
  TestClock
} from "effect"

const reason: Lifecycle.ShutdownReason = { _tag: "Requested", by: "test" }

const observers = Layer.mergeAll(FiberRegistry.layer, Cleanup.layerMonitor)

const withLifecycle = (options: Lifecycle.Options = {}) =>
  Lifecycle.layer({ log: false, ...options }).pipe(Layer.provideMerge(observers))

const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow(), { discard: true })

const pause = (millis: number) => Effect.promise(() => new Promise((resolve) => setTimeout(resolve, millis)))

const phaseNames = ["draining", "stopping-sources", "stopping-workers", "releasing"] as const

/** Label to status, of one phase. */
const statuses = (report: Lifecycle.ShutdownReport, phase: Lifecycle.Phase) =>
  Object.fromEntries(
    report.phases.find((one) => one.phase === phase)!.items.map(({ label, status }) => [label, status])
  )

/** Time that passes when it is told so, as far as it is told, and at once. */
const standstill = {
  now: 0,
  due: new Set<{ readonly at: number; readonly task: () => void }>(),
  unsafeNow: () => standstill.now,
  unsafeSchedule: (task: () => void, delay: Duration.Duration) => {
    const entry = { at: standstill.now + Duration.toMillis(delay), task }
    standstill.due.add(entry)
    return () => standstill.due.delete(entry)
  },
  get next() {
    return Math.min(...[...standstill.due].map(({ at }) => at))
  },
  passTo(at: number) {
    standstill.now = at
    for (const entry of [...standstill.due].toSorted((a, b) => a.at - b.at)) {
      if (entry.at <= at && standstill.due.delete(entry)) entry.task()
    }
  }
}

describe("Lifecycle", () => {
  it.scoped("goes through the phases in order and reports", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const seen: Array<string> = []
      const subscribed = yield* Deferred.make<void>()
      for (const phase of ["releasing", "stopping-workers", "stopping-sources", "draining"] as const) {
        yield* lifecycle.onPhase(phase, { label: phase }, Effect.sync(() => seen.push(phase)))
      }
      const phases = yield* Effect.fork(
        Stream.runCollect(Stream.tap(lifecycle.phases, () => Deferred.succeed(subscribed, undefined)))
      )
      yield* Deferred.await(subscribed)
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(seen, ["draining", "stopping-sources", "stopping-workers", "releasing"])
      assert.deepStrictEqual(Array.from(yield* Fiber.join(phases)), [
        "accepting",
        "draining",
        "stopping-sources",
        "stopping-workers",
        "releasing",
        "done"
      ])
      assert.strictEqual(report.verdict, "clean")
      assert.strictEqual(report.count("completed"), 4)
      assert.deepStrictEqual(ShutdownReport.fromJson(ShutdownReport.toJson(report)), report)
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("stops fibers by kind, and names the one that refuses", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const release = yield* Deferred.make<void>()
      yield* FiberRegistry.forkScoped(Effect.never, { name: "clock", kind: "ticker" })
      yield* FiberRegistry.forkScoped(Effect.never, { name: "good" })
      yield* FiberRegistry.forkScoped(Effect.uninterruptible(Deferred.await(release)), { name: "bad" }).pipe(
        FiberRegistry.withOwner("app")
      )
      yield* Effect.yieldNow()
      const report = yield* lifecycle.shutdown(reason)
      const named = (phase: string) =>
        report.phases.find((one) => one.phase === phase)!.items.map((item) => `${item.path} ${item.status}`)
      assert.deepStrictEqual(named("stopping-sources"), ["clock completed"])
      assert.deepStrictEqual(named("stopping-workers"), ["good completed", "app/bad abandoned"])
      assert.deepStrictEqual(report.live.map((fiber) => fiber.owner), [["app", "bad"]])
      assert.strictEqual(report.verdict, "forced")
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "500 millis" }))))

  it.scoped("flips readiness at draining, before any hook runs", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const seen: Array<unknown> = [yield* lifecycle.isAccepting]
      yield* lifecycle.onPhase(
        "draining",
        { label: "look" },
        Effect.gen(function*() {
          seen.push(yield* lifecycle.isAccepting, yield* lifecycle.phase)
          seen.push((yield* Effect.flip(lifecycle.admit("late", Effect.void))).message)
        })
      )
      yield* lifecycle.shutdown(reason)
      seen.push(yield* lifecycle.phase)
      assert.deepStrictEqual(seen, [
        true,
        false,
        "draining",
        "late was refused: the service is shutting down (draining)",
        "done"
      ])
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("waits for admitted work, and not for longer than draining has", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const gate = yield* Deferred.make<void>()
      const quick = yield* Effect.fork(lifecycle.admit("quick", Deferred.await(gate)))
      const endless = yield* Effect.fork(lifecycle.admit("endless", Effect.never))
      yield* settle
      assert.strictEqual(yield* lifecycle.admitted, 2)
      yield* lifecycle.onPhase("draining", { label: "open the gate" }, Deferred.succeed(gate, undefined))
      const report = yield* lifecycle.shutdown(reason)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(quick)))
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(endless)))
      assert.deepStrictEqual(report.items("interrupted").map(({ kind, label }) => [kind, label]), [[
        "admitted",
        "endless"
      ]])
      assert.deepStrictEqual(statuses(report, "stopping-workers"), { endless: "completed" })
      assert.strictEqual(report.verdict, "clean")
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "400 millis" }))))

  it.scoped("does not wait for work that is interrupted or fails", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const fiber = yield* Effect.fork(lifecycle.admit("one", Effect.never))
      yield* settle
      yield* Fiber.interrupt(fiber)
      yield* Effect.exit(lifecycle.admit("two", Effect.die("broken")))
      assert.strictEqual(yield* lifecycle.admitted, 0)
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("keeps hooks apart: one that hangs, fails, dies or loops through interrupts costs the others nothing", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const release = yield* Deferred.make<void>()
      const hook = (label: string, run: Effect.Effect<unknown, unknown>, budget?: string) =>
        lifecycle.onPhase("draining", { label, ...(budget === undefined ? {} : { budget: "50 millis" }) }, run)
      yield* hook("hangs", Effect.never, "50 millis")
      yield* hook("refuses", Effect.uninterruptible(Deferred.await(release)), "50 millis")
      yield* hook("fails", Effect.fail("no"))
      yield* hook("dies", Effect.die(new Error("broken")))
      yield* hook(
        "throws",
        Effect.suspend(() => {
          throw new Error("thrown")
        })
      )
      yield* hook("works", Effect.void)
      yield* lifecycle.onPhase("releasing", { label: "later" }, Effect.void)
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(statuses(report, "draining"), {
        hangs: "abandoned",
        refuses: "abandoned",
        fails: "failed",
        dies: "failed",
        throws: "failed",
        works: "completed"
      })
      assert.deepStrictEqual(statuses(report, "releasing"), { later: "completed" })
      assert.deepStrictEqual(report.items("failed").map(({ detail }) => detail), [
        "Error: no",
        "Error: broken",
        "Error: thrown"
      ])
      assert.deepStrictEqual(report.live.map(({ name }) => name), ["refuses"])
      assert.isBelow(report.elapsedMillis, 2000)
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "4 seconds" }))))

  it.scoped("leaves each phase its time when those before it overrun, all within the timeout", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const started: Array<string> = []
      for (const phase of phaseNames) {
        yield* lifecycle.onPhase(
          phase,
          { label: phase },
          Effect.zipRight(Effect.sync(() => started.push(phase)), Effect.never)
        )
      }
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(started, [...phaseNames])
      assert.strictEqual(report.count("abandoned"), 4)
      assert.isBelow(report.elapsedMillis, 1000 + 1500)
      for (const [index, share] of [500, 100, 200, 200].entries()) {
        assert.approximately(report.phases[index].budgetMillis, share, 60)
      }
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "1 second" }))))

  it.scoped("runs a hook with the services and references of where it was registered, while its scope is open", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      class Name extends Context.Tag("Name")<Name, string>() {}
      const level = FiberRef.unsafeMake("outside")
      const seen: Array<string> = []
      const look = Effect.gen(function*() {
        seen.push(yield* Name, yield* FiberRef.get(level), (yield* FiberRef.get(FiberRegistry.currentOwner)).join("/"))
      })
      yield* lifecycle.onPhase("draining", { label: "look" }, look).pipe(
        Effect.provideService(Name, "inside"),
        Effect.locally(level, "inside"),
        FiberRegistry.withOwner("room")
      )
      yield* Effect.scoped(lifecycle.onPhase("draining", { label: "gone" }, Effect.sync(() => seen.push("gone"))))
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(seen, ["inside", "inside", "room"])
      assert.deepStrictEqual(report.items("completed").map(({ path }) => path), ["room \"look\""])
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("stops services last, and leaves supervised fibers to their supervisor", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const ended: Array<string> = []
      const until = (name: string, slow = false) =>
        Effect.onInterrupt(Effect.never, () =>
          Effect.zipRight(slow ? pause(30) : Effect.void, Effect.sync(() => ended.push(name))))
      yield* FiberRegistry.forkScoped(until("pool"), { name: "pool", kind: "service" })
      yield* Supervision.make({
        name: "team",
        children: ["first", "second"].map((name) => ({ name, start: until(name, true) }))
      })
      yield* FiberRegistry.forkScoped(until("session", true), { name: "session", kind: "session" })
      yield* settle
      const report = yield* lifecycle.shutdown(reason)
      assert.sameMembers(ended, ["second", "session", "first", "pool"])
      assert.strictEqual(ended.at(-1), "pool")
      assert.isBelow(ended.indexOf("second"), ended.indexOf("first"))
      assert.strictEqual(report.verdict, "clean")
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("names the children that refuse, not the supervisor that waits for them", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const release = yield* Deferred.make<void>()
      yield* Supervision.make({
        name: "team",
        children: Array.from({ length: 20 }, (_, i) => ({
          name: `child-${i}`,
          shutdown: "1 minute",
          start: i % 5 === 0 ? Effect.uninterruptible(Deferred.await(release)) : Effect.never
        }))
      })
      yield* settle
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(report.items("abandoned").map(({ path }) => path).sort(), [
        "team/child-0",
        "team/child-10",
        "team/child-15",
        "team/child-5"
      ])
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "600 millis" }))))

  it.scoped("reports a fiber that dies when it is told to stop", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      yield* FiberRegistry.forkScoped(Effect.onInterrupt(Effect.never, () => Effect.die(new Error("last words"))), {
        name: "sore loser"
      })
      yield* settle
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(statuses(report, "stopping-workers"), { "sore loser": "failed" })
      assert.strictEqual(report.verdict, "failed")
    }).pipe(Effect.provide(Layer.merge(withLifecycle(), Logger.remove(Logger.defaultLogger)))))

  it.scoped("hurries: what is left ends sooner, also what is being waited for already", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const began = yield* Deferred.make<void>()
      yield* lifecycle.onPhase(
        "draining",
        { label: "slow", budget: "1 hour" },
        Effect.zipRight(Deferred.succeed(began, undefined), Effect.never)
      )
      const shutdown = yield* Effect.fork(lifecycle.shutdown(reason))
      yield* Deferred.await(began)
      assert.deepStrictEqual(lifecycle.unsafeWaitingFor(), ["slow"])
      assert.strictEqual(lifecycle.unsafeReport()?.finished, false)
      yield* lifecycle.hurry("100 millis")
      const report = yield* Fiber.join(shutdown)
      assert.isTrue(report.hurried)
      assert.isTrue(report.finished)
      assert.deepStrictEqual(statuses(report, "draining"), { slow: "abandoned" })
      assert.isBelow(report.elapsedMillis, 5000)
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "1 hour" }))))

  it.scoped("hurries admitted work, too, and never adds time", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      yield* Effect.fork(lifecycle.admit("endless", Effect.never))
      yield* settle
      const shutdown = yield* Effect.fork(lifecycle.shutdown(reason))
      yield* settle
      yield* lifecycle.hurry("100 millis")
      yield* lifecycle.hurry("1 hour")
      const report = yield* Fiber.join(shutdown)
      assert.isBelow(report.elapsedMillis, 5000)
    }).pipe(Effect.provide(withLifecycle({ gracefulShutdownTimeout: "1 hour" }))))

  it.scoped("runs once: later calls wait for the same report, and interruption does not cut it off", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const gate = yield* Deferred.make<void>()
      let runs = 0
      yield* lifecycle.onPhase(
        "draining",
        { label: "count" },
        Effect.zipRight(Effect.sync(() => runs++), Deferred.await(gate))
      )
      const first = yield* Effect.fork(lifecycle.shutdown(reason))
      const second = yield* Effect.fork(lifecycle.shutdown({ _tag: "Signal", signal: "SIGTERM" }))
      const third = yield* Effect.fork(lifecycle.shutdown(reason))
      yield* settle
      yield* Fiber.interruptFork(first)
      yield* Fiber.interrupt(third)
      yield* Deferred.succeed(gate, undefined)
      const report = yield* Fiber.join(second)
      assert.deepStrictEqual(report.reason, reason)
      assert.strictEqual(runs, 1)
      assertSome(yield* lifecycle.report, report)
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("wakes whoever waits for a shutdown, with the first reason", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const waiting = yield* Effect.fork(lifecycle.awaitShutdown)
      yield* lifecycle.requestShutdown(reason)
      yield* lifecycle.requestShutdown({ _tag: "Signal", signal: "SIGTERM" })
      assert.deepStrictEqual(yield* Fiber.join(waiting), reason)
      assert.isTrue(yield* lifecycle.isAccepting)
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("closes its scope last, under what is left of the time, and goes on behind what hangs", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const seen: Array<string> = []
      yield* Effect.gen(function*() {
        yield* Cleanup.addFinalizer({ label: "first in" }, () => Effect.sync(() => seen.push("first in")))
        yield* Cleanup.addFinalizer({ label: "hangs", budget: "1 hour" }, () => Effect.never)
        yield* Cleanup.addFinalizer({ label: "fails" }, () => Effect.fail("no"))
        yield* Cleanup.addFinalizer(
          { label: "falls back", fallbacks: [{ label: "plan b", run: () => Effect.void }] },
          () => Effect.fail("no")
        )
        yield* Effect.addFinalizer(() => Effect.sync(() => seen.push("plain")))
      }).pipe(FiberRegistry.withOwner("room"), Scope.extend(scope))
      const lifecycle = yield* Lifecycle.make({ scope, log: false, gracefulShutdownTimeout: "600 millis" })
      yield* lifecycle.onPhase("releasing", { label: "hook" }, Effect.sync(() => seen.push("hook")))
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(seen, ["hook", "plain", "first in"])
      assert.deepStrictEqual(report.items("abandoned").map(({ path }) => path), ["room \"hangs\""])
      assert.deepStrictEqual(report.items("failed").map(({ path }) => path), ["room \"fails\""])
      assert.deepStrictEqual(
        report.items("completed").filter(({ detail }) => detail !== undefined).map((
          { detail, path }
        ) => [path, detail]),
        [["room \"falls back\"", "fell back to \"plan b\""]]
      )
      assert.isBelow(report.elapsedMillis, 600 + 1500)
    }).pipe(Effect.provide(Layer.merge(observers, Logger.remove(Logger.defaultLogger)))))

  it.scoped("runs its budgets on the clock that it is given", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      yield* lifecycle.onPhase("draining", { label: "hangs", budget: "10 minutes" }, Effect.never)
      const shutdown = yield* Effect.fork(lifecycle.shutdown(reason))
      yield* settle
      yield* TestClock.adjust("9 minutes")
      assert.strictEqual(yield* lifecycle.phase, "draining")
      yield* TestClock.adjust("2 minutes")
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(report.items("abandoned").map(({ elapsedMillis, label }) => [label, elapsedMillis]), [[
        "hangs",
        600_000
      ]])
    }).pipe(Effect.provide(
      withLifecycle({ gracefulShutdownTimeout: "1 hour" }).pipe(Layer.provideMerge(Cleanup.layerEffectClock))
    )))

  it.scoped("names what refuses alone, also when its time and that of everything around it end in one moment", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const release = yield* Deferred.make<void>()
      const rooms = yield* Scope.fork(
        yield* Scope.fork(scope, ExecutionStrategy.sequential),
        ExecutionStrategy.parallel
      )
      yield* Effect.forEach(
        ["one", "two", "three"],
        (name) => FiberRegistry.forkScoped(Effect.uninterruptible(Deferred.await(release)), { name })
      ).pipe(Scope.extend(rooms))
      const lifecycle = yield* Lifecycle.make({ scope, log: false, gracefulShutdownTimeout: "1 second" })
      const shutdown = yield* Effect.fork(lifecycle.shutdown(reason))
      yield* settle
      standstill.passTo(500)
      while ((yield* lifecycle.phase) !== "releasing") yield* pause(1)
      yield* pause(10)
      // as a machine that stood still: every time is over before anybody has heard that one is
      standstill.passTo(1_000)
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(report.items("abandoned").map(({ path }) => path).sort(), ["one", "three", "two"])
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.provide([
      observers,
      Logger.remove(Logger.defaultLogger),
      Layer.succeed(Cleanup.BudgetClock, standstill)
    ])))

  it.scoped("reports daemons that nobody owns as live", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const daemon = yield* Effect.forkDaemon(Effect.never).pipe(FiberRegistry.withOwner("attic"))
      yield* settle
      const report = yield* lifecycle.shutdown(reason)
      assert.match(report.live.map(({ owner }) => owner.join("/")).join(), /^attic\/fiber #\d+$/)
      assert.include(ShutdownReport.render(report), "1 still live: attic/fiber #")
      yield* Fiber.interrupt(daemon)
    }).pipe(Effect.provide(withLifecycle())))

  it.scoped("lists a bounded number of completed items, and counts all", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      for (let i = 0; i < 20; i++) yield* lifecycle.onPhase("draining", { label: `hook-${i}` }, Effect.void)
      const report = yield* lifecycle.shutdown(reason)
      const [draining] = report.phases
      assert.deepStrictEqual([draining.completed, draining.items.length, draining.omitted], [20, 5, 15])
    }).pipe(Effect.provide(withLifecycle({ listed: 5 }))))

  it.effect("is done when its layer closes", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Effect.scoped(Effect.map(Layer.build(withLifecycle()), Context.get(Lifecycle.Lifecycle)))
      assert.strictEqual(yield* lifecycle.phase, "done")
      assert.deepStrictEqual(Array.from(yield* Stream.runCollect(lifecycle.phases)), ["done"])
    }))
})

describe("ShutdownReport", () => {
  const item = (status: ShutdownReport.Status, label: string) =>
    new ShutdownReport.Item({ kind: "finalizer", label, owner: ["app"], status, elapsedMillis: 10, budgetMillis: 20 })
  const report = (
    items: ReadonlyArray<ShutdownReport.Item>,
    rest: { finished?: boolean; reason?: typeof reason } = {}
  ) =>
    new ShutdownReport.ShutdownReport({
      name: "test",
      reason,
      startedAt: 0,
      elapsedMillis: 1234,
      timeoutMillis: 5000,
      hurried: false,
      finished: true,
      live: [],
      phases: [
        new ShutdownReport.PhaseReport({
          phase: "releasing",
          elapsedMillis: 1,
          budgetMillis: 2,
          completed: items.filter(({ status }) => status === "completed").length,
          interrupted: items.filter(({ status }) => status === "interrupted").length,
          failed: items.filter(({ status }) => status === "failed").length,
          abandoned: items.filter(({ status }) => status === "abandoned").length,
          items,
          omitted: 0
        })
      ],
      ...rest
    })

  it("says in one line of bounded length what overran", () => {
    const many = report(Array.from({ length: 50 }, (_, i) => item("abandoned", `f${i}`)))
    const line = ShutdownReport.render(many, { maxNames: 2 })
    assert.strictEqual(
      line,
      "shutdown: test, requested by test, forced, 1.23 s of 5.00 s; 50 abandoned: finalizer app \"f0\" (budget 0.020 s), " +
        "finalizer app \"f1\" (budget 0.020 s) and 48 more; 0 completed"
    )
    assert.strictEqual(ShutdownReport.renderDetails(many).split("\n").length, 51)
  })

  it("calls a shutdown clean, failed or forced", () => {
    const verdict = (...args: Parameters<typeof report>) => report(...args).verdict
    assert.deepStrictEqual([
      verdict([item("completed", "a"), item("interrupted", "b")]),
      verdict([item("failed", "a")]),
      verdict([item("failed", "a"), item("abandoned", "b")]),
      verdict([], { finished: false }),
      verdict([], { reason: { _tag: "Crash", origin: "uncaughtException", cause: "x" } as never })
    ], ["clean", "failed", "forced", "forced", "failed"])
  })

  it.effect("leaves time for the application's finalizers when a hook before them hangs", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      let released = false
      yield* Scope.addFinalizer(scope, Effect.sync(() => released = true))
      const lifecycle = yield* Lifecycle.make({ scope, log: false, gracefulShutdownTimeout: "500 millis" })
      yield* Scope.extend(lifecycle.onPhase("releasing", { label: "hangs" }, Effect.never), scope)
      const report = yield* lifecycle.shutdown(reason)
      assert.isTrue(released)
      assert.deepStrictEqual(
        report.phases.at(-1)!.items.map((item) => [item.label, item.status]),
        [["hangs", "abandoned"], ["application scope", "completed"]]
      )
    }))
})
