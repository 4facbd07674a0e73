import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Supervision from "@holdfast/core/Supervision"
import {
  Cause,
  Chunk,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Queue,
  Schedule,
  Scope,
  Stream,
  TestClock
} from "effect"

const quiet = Logger.replace(Logger.defaultLogger, Logger.none)
const fresh = Effect.provide(Layer.mergeAll(Cleanup.layerMonitor, FiberRegistry.layer, quiet))

type Options = Supervision.Options

/** Lets everybody who is able to run do so. */
const settle = Effect.repeatN(Effect.yieldNow(), 50)

/** Children that log their start and stop, and end as they are told. */
const stage = Effect.sync(() => {
  const log: Array<string> = []
  const doors = new Map<string, Deferred.Deferred<unknown, unknown>>()
  const actor = (name: string, spec?: Partial<Supervision.ChildSpec>): Supervision.ChildSpec => ({
    name,
    ...spec,
    start: Effect.gen(function*() {
      log.push(`+${name}`)
      const door = yield* Deferred.make<unknown, unknown>()
      doors.set(name, door)
      yield* Effect.onExit(Deferred.await(door), () => Effect.sync(() => log.push(`-${name}`)))
    })
  })
  const end = (name: string, exit: Exit.Exit<unknown, unknown>) =>
    Effect.zipRight(Effect.suspend(() => Deferred.done(doors.get(name)!, exit)), settle)
  return {
    actor,
    /** What happened since the last look. */
    happened: Effect.map(settle, () => log.splice(0).join(" ")),
    crash: (name: string) => end(name, Exit.die(new Error(`${name} crashed`))),
    fail: (name: string) => end(name, Exit.fail(`${name} failed`)),
    finish: (name: string) => end(name, Exit.void),
    kill: (supervisor: Supervision.Supervisor, name: string) =>
      Effect.gen(function*() {
        const info = (yield* supervisor.children).find((one) => one.name === name)!
        yield* Fiber.interrupt(info.fiber!)
        yield* settle
      })
  }
})

type Stage = Effect.Effect.Success<typeof stage>

const rule = (
  name: string,
  body: (stage: Stage) => Effect.Effect<void, unknown, Scope.Scope>
) => it.scoped(name, () => Effect.flatMap(stage, body).pipe(fresh))

const abc = (actor: Stage["actor"], spec?: Partial<Supervision.ChildSpec>) =>
  ["a", "b", "c"].map((name) => actor(name, spec))

const start = (options: Partial<Options>) => Supervision.make({ name: "sup", intensity: 10, ...options })

const statuses = (supervisor: Supervision.Supervisor) =>
  Effect.map(supervisor.children, (all) => all.map((one) => `${one.name}:${one.status}`).join(" "))

describe("Supervision by the rules of OTP", () => {
  describe("restart type", () => {
    const table: ReadonlyArray<[Supervision.Restart, "finish" | "crash" | "fail" | "kill", boolean]> = [
      ["permanent", "finish", true],
      ["permanent", "crash", true],
      ["permanent", "fail", true],
      ["permanent", "kill", true],
      ["transient", "finish", false],
      ["transient", "crash", true],
      ["transient", "fail", true],
      ["transient", "kill", false],
      ["temporary", "finish", false],
      ["temporary", "crash", false],
      ["temporary", "fail", false],
      ["temporary", "kill", false]
    ]
    const how = {
      finish: "that returns (reason normal)",
      crash: "that dies (abnormal reason)",
      fail: "that fails (abnormal reason)",
      kill: "that is interrupted from outside (reason shutdown)"
    }
    for (const [restart, end, restarted] of table) {
      rule(`a ${restart} child ${how[end]} is ${restarted ? "" : "not "}restarted`, (stage) =>
        Effect.gen(function*() {
          const sup = yield* start({ children: [stage.actor("a", { restart })] })
          yield* stage.happened
          yield* end === "kill" ? stage.kill(sup, "a") : stage[end]("a")
          assert.strictEqual(yield* stage.happened, restarted ? "-a +a" : "-a")
        }))
    }
    rule("a child is permanent unless it says otherwise", (stage) =>
      Effect.gen(function*() {
        yield* start({ children: [stage.actor("a")] })
        yield* stage.happened
        yield* stage.finish("a")
        assert.strictEqual(yield* stage.happened, "-a +a")
      }))
    rule("the spec of a transient child that is done is kept", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a", { restart: "transient" })] })
        yield* settle
        yield* stage.finish("a")
        assert.strictEqual(yield* statuses(sup), "a:stopped")
      }))
    rule("the spec of a temporary child that is done is deleted", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a", { restart: "temporary" })] })
        yield* settle
        yield* stage.crash("a")
        assert.strictEqual(yield* statuses(sup), "")
      }))
  })

  describe("strategy", () => {
    rule("one_for_one: only the child that ended is restarted", (stage) =>
      Effect.gen(function*() {
        yield* start({ children: abc(stage.actor) })
        assert.strictEqual(yield* stage.happened, "+a +b +c")
        yield* stage.crash("b")
        assert.strictEqual(yield* stage.happened, "-b +b")
      }))
    rule(
      "one_for_all: the others are stopped in reverse order, then all are started in order",
      (stage) =>
        Effect.gen(function*() {
          yield* start({ strategy: "one_for_all", children: abc(stage.actor) })
          yield* stage.happened
          yield* stage.crash("b")
          assert.strictEqual(yield* stage.happened, "-b -c -a +a +b +c")
        })
    )
    rule(
      "rest_for_one: those started after it are stopped in reverse order and started with it",
      (stage) =>
        Effect.gen(function*() {
          yield* start({ strategy: "rest_for_one", children: [...abc(stage.actor), stage.actor("d")] })
          yield* stage.happened
          yield* stage.crash("b")
          assert.strictEqual(yield* stage.happened, "-b -d -c +b +c +d")
        })
    )
    rule("rest_for_one: the first child takes all with it", (stage) =>
      Effect.gen(function*() {
        yield* start({ strategy: "rest_for_one", children: abc(stage.actor) })
        yield* stage.happened
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a -c -b +a +b +c")
      }))
    rule("rest_for_one: the last child takes nobody with it", (stage) =>
      Effect.gen(function*() {
        yield* start({ strategy: "rest_for_one", children: abc(stage.actor) })
        yield* stage.happened
        yield* stage.crash("c")
        assert.strictEqual(yield* stage.happened, "-c +c")
      }))
    rule(
      "one_for_all: a transient sibling that is stopped on the way is started again",
      (stage) =>
        Effect.gen(function*() {
          yield* start({
            strategy: "one_for_all",
            children: [stage.actor("a"), stage.actor("b", { restart: "transient" })]
          })
          yield* stage.happened
          yield* stage.crash("a")
          assert.strictEqual(yield* stage.happened, "-a -b +a +b")
        })
    )
    rule(
      "one_for_all: a transient sibling that was done before is started again, too",
      (stage) =>
        Effect.gen(function*() {
          yield* start({
            strategy: "one_for_all",
            children: [stage.actor("a"), stage.actor("b", { restart: "transient" })]
          })
          yield* settle
          yield* stage.finish("b")
          yield* stage.happened
          yield* stage.crash("a")
          assert.strictEqual(yield* stage.happened, "-a +a +b")
        })
    )
    rule("one_for_all: a temporary sibling is stopped and never started again", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({
          strategy: "one_for_all",
          children: [stage.actor("a"), stage.actor("b", { restart: "temporary" })]
        })
        yield* stage.happened
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a -b +a")
        assert.strictEqual(yield* statuses(sup), "a:running")
      }))
    rule("rest_for_one: a temporary sibling is stopped and never started again", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({
          strategy: "rest_for_one",
          children: [stage.actor("a"), stage.actor("b", { restart: "temporary" }), stage.actor("c")]
        })
        yield* stage.happened
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a -c -b +a +c")
        assert.strictEqual(yield* statuses(sup), "a:running c:running")
      }))
    rule("one_for_all: a temporary child that crashes leaves the others alone", (stage) =>
      Effect.gen(function*() {
        yield* start({
          strategy: "one_for_all",
          children: [stage.actor("a"), stage.actor("b", { restart: "temporary" })]
        })
        yield* stage.happened
        yield* stage.crash("b")
        assert.strictEqual(yield* stage.happened, "-b")
      }))
    rule("one_for_all: a transient child that is done leaves the others alone", (stage) =>
      Effect.gen(function*() {
        yield* start({
          strategy: "one_for_all",
          children: [stage.actor("a"), stage.actor("b", { restart: "transient" })]
        })
        yield* stage.happened
        yield* stage.finish("b")
        assert.strictEqual(yield* stage.happened, "-b")
      }))
    rule("one_for_all: two children that crash at once count as one restart", (stage) =>
      Effect.gen(function*() {
        yield* start({ strategy: "one_for_all", intensity: 1, children: abc(stage.actor) })
        yield* stage.happened
        const both = Effect.all([stage.crash("a"), stage.crash("b")], { concurrency: 2 })
        yield* both
        assert.strictEqual(yield* stage.happened, "-a -b -c +a +b +c")
      }))
    rule("the strategy is one_for_one unless it says otherwise", (stage) =>
      Effect.gen(function*() {
        yield* Supervision.make({ name: "sup", children: abc(stage.actor) })
        yield* stage.happened
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a +a")
      }))
  })

  describe("intensity and period", () => {
    const giveUp = (sup: Supervision.Supervisor) => Effect.flip(sup.awaitEscalation)

    rule("as many restarts as the intensity are borne", (stage) =>
      Effect.gen(function*() {
        yield* start({ intensity: 2, children: [stage.actor("a")] })
        yield* stage.happened
        yield* stage.crash("a")
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a +a -a +a")
      }))
    rule("one more ends all children in reverse order, and the supervisor", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ intensity: 1, children: abc(stage.actor) })
        yield* stage.happened
        yield* stage.crash("a")
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a +a -a -c -b")
        const escalated = yield* giveUp(sup)
        assert.deepInclude({ ...escalated }, { reason: "intensity", child: "a", intensity: 1, periodMillis: 5000 })
        assert.deepStrictEqual(escalated.owner, ["sup"])
        assert.include(Cause.pretty(escalated.cause), "a crashed")
        assert.deepStrictEqual(
          yield* Effect.flip(sup.startChild(stage.actor("x"))).pipe(Effect.map((e) => e._tag)),
          "SupervisorStopped"
        )
      }))
    rule("with intensity 0 the first restart is one too many", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ intensity: 0, children: [stage.actor("a")] })
        yield* stage.happened
        yield* stage.finish("a")
        assert.strictEqual(yield* stage.happened, "-a")
        assert.strictEqual((yield* giveUp(sup)).child, "a")
      }))
    rule("restarts that are older than the period do not count", (stage) =>
      Effect.gen(function*() {
        yield* start({ intensity: 1, period: "10 seconds", children: [stage.actor("a")] })
        yield* stage.happened
        yield* stage.crash("a")
        yield* TestClock.adjust("10001 millis")
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a +a -a +a")
      }))
    rule("a restart that is exactly a period old counts", (stage) =>
      Effect.gen(function*() {
        yield* start({ intensity: 1, period: "10 seconds", children: [stage.actor("a")] })
        yield* stage.happened
        yield* stage.crash("a")
        yield* TestClock.adjust("10 seconds")
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a +a -a")
      }))
    rule("restarts of all children count together", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ intensity: 1, children: abc(stage.actor) })
        yield* stage.happened
        yield* stage.crash("a")
        yield* stage.crash("b")
        assert.strictEqual((yield* giveUp(sup)).child, "b")
      }))
    rule("the restart of a group counts once", (stage) =>
      Effect.gen(function*() {
        yield* start({ strategy: "one_for_all", intensity: 2, children: abc(stage.actor) })
        yield* stage.happened
        yield* stage.crash("a")
        yield* stage.crash("b")
        assert.strictEqual(yield* stage.happened, "-a -c -b +a +b +c -b -c -a +a +b +c")
      }))
    rule("an end that is not followed by a restart does not count", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({
          intensity: 0,
          children: [stage.actor("a", { restart: "temporary" }), stage.actor("b", { restart: "transient" })]
        })
        yield* settle
        yield* stage.crash("a")
        yield* stage.finish("b")
        assert.strictEqual(yield* statuses(sup), "b:stopped")
      }))
    rule("stopping and restarting by name does not count", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ intensity: 0, children: [stage.actor("a")] })
        yield* settle
        yield* sup.stopChild("a")
        yield* sup.restartChild("a")
        yield* sup.stopChild("a")
        yield* sup.restartChild("a")
        assert.strictEqual(yield* stage.happened, "+a -a +a -a +a")
      }))
    rule("the default is one restart in five seconds", (stage) =>
      Effect.gen(function*() {
        const sup = yield* Supervision.make({ name: "sup", children: [stage.actor("a")] })
        yield* settle
        yield* stage.crash("a")
        yield* TestClock.adjust("5001 millis")
        yield* stage.crash("a")
        yield* stage.crash("a")
        assert.deepInclude({ ...(yield* giveUp(sup)) }, { intensity: 1, periodMillis: 5000 })
      }))
    rule(
      "a supervisor that gives up is a crash to its parent, which restarts it with all its children",
      (stage) =>
        Effect.gen(function*() {
          const sup = yield* start({
            intensity: 1,
            children: [
              stage.actor("a"),
              Supervision.child({ name: "inner", intensity: 0, children: [stage.actor("x"), stage.actor("y")] })
            ]
          })
          assert.strictEqual(yield* stage.happened, "+a +x +y")
          yield* stage.crash("x")
          assert.strictEqual(yield* stage.happened, "-x -y +x +y")
          const inner = (yield* sup.children)[1]!
          assert.strictEqual(inner.restarts, 1)
          assert.include(Cause.pretty(inner.lastFailure!), "gave up on x")
          yield* stage.crash("y")
          assert.strictEqual((yield* giveUp(sup)).child, "inner")
          assert.strictEqual(yield* stage.happened, "-y -x -a")
        })
    )
    rule("onEscalation runs once the children are stopped", (stage) =>
      Effect.gen(function*() {
        const told = yield* Queue.unbounded<string>()
        yield* start({
          intensity: 0,
          children: abc(stage.actor),
          onEscalation: (escalated) => Effect.flatMap(stage.happened, (log) => told.offer(`${escalated.child}: ${log}`))
        })
        yield* stage.happened
        yield* stage.crash("c")
        assert.strictEqual(yield* told.take, "c: -c -b -a")
      }))
  })

  describe("shutdown", () => {
    rule("children stop in reverse order of their start", (stage) =>
      Effect.gen(function*() {
        yield* Effect.scoped(start({ children: abc(stage.actor) }).pipe(Effect.zipRight(stage.happened)))
        assert.strictEqual(yield* stage.happened, "-c -b -a")
      }))
    rule("the next one is not stopped before the last one is gone", (stage) =>
      Effect.gen(function*() {
        const log: Array<string> = []
        const slow = (name: string): Supervision.ChildSpec => ({
          name,
          start: Effect.onInterrupt(Effect.never, () =>
            Effect.zipRight(
              Effect.sync(() => log.push(`${name} told`)),
              settle
            ).pipe(
              Effect.zipRight(Effect.sync(() => log.push(`${name} gone`)))
            ))
        })
        yield* Effect.scoped(start({ children: [slow("a"), slow("b")] }).pipe(Effect.zipRight(stage.happened)))
        assert.deepStrictEqual(log, ["b told", "b gone", "a told", "a gone"])
      }))
    rule("a supervisor that is interrupted stops its children", (stage) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.fork(Supervision.run({ name: "sup", children: abc(stage.actor) }))
        assert.strictEqual(yield* stage.happened, "+a +b +c")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* stage.happened, "-c -b -a")
      }))
    rule(
      "a child that overruns its budget is left, named, and the others are stopped all the same",
      (stage) =>
        Effect.gen(function*() {
          const monitor = yield* Cleanup.CleanupMonitor
          const gate = yield* Deferred.make<void>()
          const stubborn: Supervision.ChildSpec = {
            name: "stubborn",
            shutdown: "50 millis",
            start: Effect.uninterruptible(Deferred.await(gate))
          }
          const since = performance.now()
          yield* Effect.scoped(
            start({ children: [stage.actor("a"), stubborn, stage.actor("b")] }).pipe(
              Effect.zipRight(stage.happened),
              FiberRegistry.withOwner("app")
            )
          )
          assert.isBelow(performance.now() - since, 4000)
          assert.strictEqual(yield* stage.happened, "-b -a")
          const [outcome] = (yield* monitor.recent).filter((one) => one._tag === "Abandoned")
          assert.strictEqual(outcome!.label, "stop stubborn")
          assert.deepStrictEqual(outcome!.owner, ["app", "sup"])
          const { census } = yield* FiberRegistry.FiberRegistry
          assert.deepStrictEqual(
            (yield* census).map((one) => [one.name, one.status, one.ownership]),
            [["stubborn", "stopping", "scope-closed"]]
          )
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepStrictEqual(yield* census, [])
        })
    )
    rule("brutal_kill interrupts and does not wait", () =>
      Effect.gen(function*() {
        const monitor = yield* Cleanup.CleanupMonitor
        const gate = yield* Deferred.make<void>()
        const since = performance.now()
        yield* Effect.scoped(
          start({
            children: [{
              name: "stubborn",
              shutdown: "brutal_kill",
              start: Effect.uninterruptible(Deferred.await(gate))
            }]
          }).pipe(Effect.zipRight(settle))
        )
        assert.isBelow(performance.now() - since, 2000)
        assert.strictEqual(yield* monitor.abandoned, 0)
        yield* Deferred.succeed(gate, undefined)
        yield* settle
      }))
    rule("infinity waits for as long as it takes", (stage) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(Effect.scoped(
          start({
            children: [{
              ...stage.actor("a"),
              shutdown: "infinity",
              start: Effect.onInterrupt(Effect.never, () => Deferred.await(gate))
            }]
          }).pipe(Effect.zipRight(settle))
        ))
        yield* settle
        yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 100)))
        assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(fiber)
      }))
    rule("the default is five seconds for a worker and infinity for a supervisor", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a"), stage.actor("b", { kind: "supervisor" })] })
        const shutdowns = (yield* sup.children).map((one) => one.shutdown)
        assert.deepStrictEqual(shutdowns, [Duration.seconds(5), "infinity"])
      }))
    rule("a nested supervisor stops its own children first", (stage) =>
      Effect.gen(function*() {
        yield* Effect.scoped(
          start({
            children: [
              stage.actor("a"),
              Supervision.child({ name: "inner", children: [stage.actor("x"), stage.actor("y")] }),
              stage.actor("b")
            ]
          }).pipe(Effect.zipRight(stage.happened))
        )
        assert.strictEqual(yield* stage.happened, "-b -y -x -a")
      }))
    rule(
      "no restart follows a stop, not even of a child that crashes while it stops",
      (stage) =>
        Effect.gen(function*() {
          const { crashes } = yield* FiberRegistry.FiberRegistry
          const reports = yield* Effect.forkScoped(Stream.runHead(crashes))
          yield* settle
          yield* Effect.scoped(
            start({
              children: [{ name: "a", start: Effect.onInterrupt(Effect.never, () => Effect.die("at the door")) }]
            }).pipe(Effect.zipRight(stage.happened))
          )
          const report = Option.getOrThrow(yield* Fiber.join(reports))
          assert.strictEqual(report.name, "a")
          assert.strictEqual(report.action, "crashed while it was stopped")
        })
    )
    rule(
      "stop: together tells all children at once, and takes the longest budget, not the sum",
      () =>
        Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          const monitor = yield* Cleanup.CleanupMonitor
          const children = Array.from({ length: 100 }, (_, index): Supervision.ChildSpec => ({
            name: `child-${index}`,
            shutdown: "100 millis",
            start: index % 10 === 0 ? Effect.uninterruptible(Deferred.await(gate)) : Effect.never
          }))
          const since = performance.now()
          yield* Effect.scoped(start({ stop: "together", children }).pipe(Effect.zipRight(settle)))
          assert.isBelow(performance.now() - since, 5000)
          const abandoned = (yield* monitor.recent).flatMap((one) => one._tag === "Abandoned" ? [one.label] : [])
          assert.deepStrictEqual(
            abandoned.toSorted(),
            Array.from({ length: 10 }, (_, index) => `stop child-${index * 10}`)
          )
          yield* Deferred.succeed(gate, undefined)
          yield* settle
        })
    )
  })

  describe("dynamic children", () => {
    rule("start_child adds the child after the others", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a")] })
        yield* sup.startChild(stage.actor("b"))
        assert.strictEqual(yield* stage.happened, "+a +b")
        assert.strictEqual(yield* statuses(sup), "a:running b:running")
      }))
    rule("start_child of a name that runs is refused: already_started", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a")] })
        const refused = yield* Effect.flip(sup.startChild(stage.actor("a")))
        assert.deepInclude({ ...refused }, { _tag: "ChildExists", child: "a", status: "running" })
      }))
    rule("start_child of a name that is stopped is refused: already_present", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a")] })
        yield* sup.stopChild("a")
        const refused = yield* Effect.flip(sup.startChild(stage.actor("a")))
        assert.deepInclude({ ...refused }, { _tag: "ChildExists", child: "a", status: "stopped" })
      }))
    rule("start_child of a temporary child that is gone is a new child", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a", { restart: "temporary" })] })
        yield* settle
        yield* stage.finish("a")
        yield* sup.startChild(stage.actor("a"))
        assert.strictEqual(yield* stage.happened, "+a -a +a")
      }))
    rule("terminate_child stops a child, keeps its spec, and no restart follows", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: abc(stage.actor) })
        yield* settle
        yield* sup.stopChild("b")
        assert.strictEqual(yield* stage.happened, "+a +b +c -b")
        assert.strictEqual(yield* statuses(sup), "a:running b:stopped c:running")
      }))
    rule("terminate_child of a temporary child deletes its spec", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a", { restart: "temporary" })] })
        yield* settle
        yield* sup.stopChild("a")
        assert.strictEqual(yield* statuses(sup), "")
      }))
    rule("terminate_child of a child that is stopped succeeds", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a")] })
        yield* sup.stopChild("a")
        yield* sup.stopChild("a")
      }))
    rule("terminate_child of an unknown child is refused: not_found", () =>
      Effect.gen(function*() {
        const sup = yield* start({})
        assert.deepInclude({ ...(yield* Effect.flip(sup.stopChild("x"))) }, { _tag: "ChildNotFound", child: "x" })
      }))
    rule("restart_child starts a stopped child again", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a")] })
        yield* settle
        yield* sup.stopChild("a")
        yield* sup.restartChild("a")
        assert.strictEqual(yield* stage.happened, "+a -a +a")
      }))
    rule("restart_child of a child that runs is refused: running", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a")] })
        const refused = yield* Effect.flip(sup.restartChild("a"))
        assert.deepInclude({ ...refused }, { _tag: "ChildRunning", child: "a", status: "running" })
      }))
    rule(
      "restart_child of a child that waits for its restart is refused: restarting",
      (stage) =>
        Effect.gen(function*() {
          const sup = yield* start({ children: [stage.actor("a")], backoff: Schedule.spaced("1 minute") })
          yield* settle
          yield* stage.crash("a")
          const refused = yield* Effect.flip(sup.restartChild("a"))
          assert.deepInclude({ ...refused }, { _tag: "ChildRunning", child: "a", status: "restarting" })
        })
    )
    rule("restart_child of an unknown child is refused: not_found", () =>
      Effect.gen(function*() {
        const sup = yield* start({})
        assert.strictEqual((yield* Effect.flip(sup.restartChild("x")))._tag, "ChildNotFound")
      }))
    rule("delete_child of a child that runs is refused: running", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a")] })
        assert.strictEqual((yield* Effect.flip(sup.deleteChild("a")))._tag, "ChildRunning")
      }))
    rule("delete_child forgets a stopped child", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: abc(stage.actor) })
        yield* sup.stopChild("b")
        yield* sup.deleteChild("b")
        assert.strictEqual(yield* statuses(sup), "a:running c:running")
      }))
    rule("count_children tells specs, active, supervisors and workers", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({
          children: [...abc(stage.actor), Supervision.child({ name: "inner" })]
        })
        yield* sup.stopChild("a")
        assert.deepStrictEqual(yield* sup.counts, { specs: 4, active: 3, supervisors: 1, workers: 3 })
      }))
    rule("a dynamic child is restarted and stopped like the others", (stage) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          const sup = yield* start({ children: [stage.actor("a")] })
          yield* sup.startChild(stage.actor("b"))
          yield* settle
          yield* stage.crash("b")
        }))
        assert.strictEqual(yield* stage.happened, "+a +b -b +b -b -a")
      }))
    rule(
      "rest_for_one and stop go by the order of start, dynamic children included",
      (stage) =>
        Effect.gen(function*() {
          const sup = yield* start({ strategy: "rest_for_one", children: [stage.actor("a")] })
          yield* sup.startChild(stage.actor("b"))
          yield* sup.startChild(stage.actor("c"))
          yield* stage.happened
          yield* stage.crash("b")
          assert.strictEqual(yield* stage.happened, "-b -c +b +c")
        })
    )
    it.effect("two static children of one name are a defect: duplicate_child_name", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.scoped(
          Supervision.run({
            name: "sup",
            children: [{ name: "a", start: Effect.never }, { name: "a", start: Effect.never }]
          })
        ))
        assert.isTrue(Exit.isFailure(exit))
        assert.include(String(exit), "ChildExists")
      }).pipe(fresh))
    it.effect("commands to a supervisor that has ended are refused: noproc", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const sup = yield* Scope.extend(start({}), scope)
        yield* Scope.close(scope, Exit.void)
        yield* sup.awaitEscalation
        assert.strictEqual((yield* Effect.flip(sup.stopChild("a")))._tag, "SupervisorStopped")
      }).pipe(fresh))
  })

  describe("auto_shutdown", () => {
    const significant = { restart: "transient", significant: true } as const
    rule("never: a significant child may end", (stage) =>
      Effect.gen(function*() {
        yield* start({ children: [stage.actor("a", significant), stage.actor("b")] })
        yield* settle
        yield* stage.finish("a")
        assert.strictEqual(yield* stage.happened, "+a +b -a")
      }))
    rule("any_significant: the end of one significant child ends the supervisor", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({
          autoShutdown: "any_significant",
          children: [stage.actor("a", significant), stage.actor("b", significant), stage.actor("c")]
        })
        yield* settle
        yield* stage.finish("a")
        assert.strictEqual(yield* stage.happened, "+a +b +c -a -c -b")
        yield* sup.awaitEscalation
      }))
    rule(
      "all_significant: the end of the last significant child ends the supervisor",
      (stage) =>
        Effect.gen(function*() {
          const sup = yield* start({
            autoShutdown: "all_significant",
            children: [stage.actor("a", significant), stage.actor("b", significant), stage.actor("c")]
          })
          yield* settle
          yield* stage.finish("a")
          assert.strictEqual(yield* stage.happened, "+a +b +c -a")
          yield* stage.finish("b")
          assert.strictEqual(yield* stage.happened, "-b -c")
          yield* sup.awaitEscalation
        })
    )
    rule("a child that is stopped by name does not end the supervisor", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({
          autoShutdown: "any_significant",
          children: [stage.actor("a", significant), stage.actor("b")]
        })
        yield* sup.stopChild("a")
        assert.strictEqual(yield* statuses(sup), "a:stopped b:running")
      }))
    rule("a significant child that is restarted does not end the supervisor", (stage) =>
      Effect.gen(function*() {
        yield* start({ autoShutdown: "any_significant", children: [stage.actor("a", significant)] })
        yield* settle
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "+a -a +a")
      }))
  })
})

describe("Supervision beyond OTP", () => {
  rule(
    "back-off: a restart waits, longer each time, and from the start again after a long life",
    (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({
          intensity: 100,
          period: "10 seconds",
          backoff: Schedule.exponential("1 second"),
          children: [stage.actor("a"), stage.actor("b")]
        })
        yield* stage.happened
        yield* stage.crash("a")
        assert.strictEqual(yield* stage.happened, "-a")
        assert.strictEqual(yield* statuses(sup), "a:restarting b:running")
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(yield* stage.happened, "")
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* stage.happened, "+a")
        yield* stage.crash("a")
        yield* TestClock.adjust("1999 millis")
        assert.strictEqual(yield* stage.happened, "-a")
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* stage.happened, "+a")
        yield* TestClock.adjust("11 seconds")
        yield* stage.crash("a")
        yield* TestClock.adjust("1 seconds")
        assert.strictEqual(yield* stage.happened, "-a +a")
      })
  )
  rule(
    "back-off: while one child waits, the others are served, and a stop takes the restart back",
    (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ backoff: Schedule.spaced("1 second"), children: abc(stage.actor) })
        yield* stage.happened
        yield* stage.crash("a")
        yield* stage.crash("b")
        yield* sup.stopChild("a")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* stage.happened, "-a -b +b")
        assert.strictEqual(yield* statuses(sup), "a:stopped b:running c:running")
      })
  )
  rule("back-off: a schedule that ends escalates", (stage) =>
    Effect.gen(function*() {
      const sup = yield* start({
        backoff: Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(1)),
        children: [stage.actor("a")]
      })
      yield* settle
      yield* stage.crash("a")
      yield* TestClock.adjust("1 second")
      yield* settle
      yield* stage.crash("a")
      assert.strictEqual((yield* Effect.flip(sup.awaitEscalation)).reason, "backoff")
    }))
  rule("back-off: a supervisor that stops does not wait for it", (stage) =>
    Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        yield* start({ backoff: Schedule.spaced("1 hour"), children: [stage.actor("a")] })
        yield* settle
        yield* stage.crash("a")
      }))
      assert.strictEqual(yield* stage.happened, "+a -a")
    }))
  rule("back-off: a group that waits is started in order", (stage) =>
    Effect.gen(function*() {
      yield* start({
        strategy: "one_for_all",
        backoff: Schedule.spaced("1 second"),
        children: abc(stage.actor)
      })
      yield* stage.happened
      yield* stage.crash("b")
      assert.strictEqual(yield* stage.happened, "-b -c -a")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* stage.happened, "+a +b +c")
    }))
  rule("a crash is reported with its cause, its owner path and what was decided", (stage) =>
    Effect.gen(function*() {
      const { crashes } = yield* FiberRegistry.FiberRegistry
      const reports = yield* Effect.forkScoped(Stream.runCollect(Stream.take(crashes, 3)))
      yield* settle
      yield* start({
        intensity: 2,
        children: [
          stage.actor("a", { restart: "temporary" }),
          stage.actor("b", { kind: "ticker" }),
          stage.actor("c", { restart: "temporary" })
        ],
        strategy: "rest_for_one"
      }).pipe(FiberRegistry.withOwner("app"))
      yield* settle
      yield* stage.crash("a")
      yield* stage.crash("b")
      yield* stage.crash("b")
      const all = Chunk.toReadonlyArray(yield* Fiber.join(reports))
      assert.deepStrictEqual(all.map((one) => [one.owner.join("/"), one.kind, one.restarts, one.action]), [
        ["app/sup/a", "service", 0, "not restarted"],
        ["app/sup/b", "ticker", 0, "restarted with 1 others"],
        ["app/sup/b", "ticker", 1, "restarted"]
      ])
      assert.include(Cause.pretty(all[1]!.cause), "b crashed")
    }))
  rule("the census shows restarts and the last failure of a child", (stage) =>
    Effect.gen(function*() {
      yield* start({ children: [stage.actor("a")] })
      yield* settle
      yield* stage.crash("a")
      const { census } = yield* FiberRegistry.FiberRegistry
      const all = yield* census
      const entry = all.find((one) => one.name === "a")!
      assert.strictEqual(entry.restarts, 1)
      assert.isTrue(entry.supervised)
      assert.include(Cause.pretty(entry.lastFailure!), "a crashed")
      assert.strictEqual(entry.parent, all.find((one) => one.kind === "supervisor")!.id)
    }))
  rule("each incarnation has a scope of its own", (stage) =>
    Effect.gen(function*() {
      const log: Array<string> = []
      yield* Supervision.make({
        name: "sup",
        children: [{
          name: "a",
          start: Effect.acquireRelease(
            Effect.sync(() => log.push("open")),
            () => Effect.sync(() => log.push("close"))
          ).pipe(Effect.zipRight(stage.actor("door").start))
        }]
      })
      yield* settle
      yield* stage.crash("door")
      assert.deepStrictEqual(log, ["open", "close", "open"])
    }))
  rule("a child that stops itself by name is not a deadlock", () =>
    Effect.gen(function*() {
      const me = yield* Deferred.make<Supervision.Supervisor>()
      const sup = yield* start({
        children: [{ name: "a", start: Effect.flatMap(Deferred.await(me), (sup) => sup.stopChild("a")) }]
      })
      yield* Deferred.succeed(me, sup)
      yield* settle
      assert.strictEqual(yield* statuses(sup), "a:stopped")
    }))
  rule("at the top of a service, a supervisor that gives up takes the service down", (stage) =>
    Effect.gen(function*() {
      yield* Layer.build(Supervision.layer({ name: "sup", intensity: 0, children: [stage.actor("a")] }))
      yield* settle
      yield* stage.crash("a")
      const reason = yield* Effect.flatMap(Lifecycle.Lifecycle, (lifecycle) => lifecycle.awaitShutdown)
      assert.deepStrictEqual(reason, {
        _tag: "Crash",
        origin: "sup",
        cause: "sup gave up on a: more than 0 restarts within 5000 ms"
      })
    }).pipe(Effect.provide(Lifecycle.layer({ log: false }))))
  it.effect("nothing is left of 1000 children and their supervisor", () =>
    Effect.gen(function*() {
      const { census, counts } = yield* FiberRegistry.FiberRegistry
      const children = Array.from({ length: 1000 }, (_, index) => ({ name: `child-${index}`, start: Effect.never }))
      yield* Effect.scoped(Effect.zipRight(
        Supervision.make({ name: "sup", children }),
        Effect.map(counts, ({ live }) => assert.strictEqual(live, 1001))
      ))
      assert.deepStrictEqual(yield* census, [])
    }).pipe(fresh))
})
