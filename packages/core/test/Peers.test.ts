/**
 * What users of comparable systems reported, tried here. Each name says where it was reported.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Race from "@holdfast/core/Race"
import * as Supervision from "@holdfast/core/Supervision"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Logger, Schedule, Scope } from "effect"

const quiet = Logger.replace(Logger.defaultLogger, Logger.none)
const fresh = Effect.provide(Layer.mergeAll(Cleanup.layerMonitor, FiberRegistry.layer, quiet))

/** Lets everybody who is able to run do so. */
const settle = Effect.repeatN(Effect.yieldNow(), 50)

const reason: Lifecycle.ShutdownReason = { _tag: "Signal", signal: "SIGTERM" }

describe("Cleanup", () => {
  for (
    const [how, options] of [
      ["throw", (): Cleanup.Options => {
        throw new Error("no options")
      }],
      ["have a budget that makes no sense", (): Cleanup.Options => ({ label: "x", budget: Number.NaN })]
    ] as const
  ) {
    it.effect(`releases what was acquired when its options ${how} (Effect-TS/effect#7916)`, () =>
      Effect.gen(function*() {
        let open = 0
        const heard: Array<string> = []
        const exit = yield* Effect.exit(Effect.scoped(
          Cleanup.acquireRelease(Effect.sync(() => ++open), options, (_, exit) =>
            Effect.sync(() => {
              open--
              heard.push(exit._tag)
            }))
        ))
        assert.strictEqual(open, 0)
        assert.deepStrictEqual(heard, ["Failure"])
        assert.isTrue(Exit.isFailure(exit))
      }).pipe(fresh))
  }

  it.effect("keeps an interruption that comes while a cleanup is reported (Effect-TS/effect#8271)", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const logger = Logger.make(() => {
        seen.push("reported")
        fiber.unsafeInterruptAsFork(fiber.id())
      })
      const closed = Effect.scoped(
        Cleanup.addFinalizer({ label: "flush" }, () => Effect.fail("disk full")).pipe(
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
      )
      const fiber: Fiber.RuntimeFiber<unknown> = yield* Effect.fork(
        Effect.zipRight(closed, Effect.zipRight(settle, Effect.sync(() => seen.push("went on"))))
      )
      const exit = yield* Fiber.await(fiber)
      assert.deepStrictEqual(seen, ["reported"])
      assert.isTrue(Exit.isInterrupted(exit))
    }).pipe(fresh))

  it.effect("a finalizer that was added by a masked fiber which is interrupted runs to its end (Effect-TS/effect#8271)", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const scope = yield* Scope.make()
      const gate = yield* Deferred.make<void>()
      const finalizer = Cleanup.addFinalizer(
        { label: "flush" },
        () => Effect.zipRight(settle, Effect.sync(() => seen.push("flushed")))
      )
      const fiber = yield* Effect.fork(
        Effect.uninterruptible(Effect.zipRight(Deferred.await(gate), Scope.extend(finalizer, scope)))
      )
      yield* settle
      yield* Fiber.interruptFork(fiber)
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.await(fiber)
      const outcome = yield* Cleanup.closeScope(scope, Exit.void, { label: "app" })
      assert.deepStrictEqual([seen, outcome._tag], [["flushed"], "Completed"])
    }).pipe(fresh))

  it.effect("a hook that was registered by a masked fiber which is interrupted runs to its end (Effect-TS/effect#8271)", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const lifecycle = yield* Lifecycle.Lifecycle
      const scope = yield* Scope.make()
      const gate = yield* Deferred.make<void>()
      const hook = lifecycle.onPhase(
        "draining",
        { label: "flush" },
        Effect.zipRight(settle, Effect.sync(() => seen.push("flushed")))
      )
      const fiber = yield* Effect.fork(
        Effect.uninterruptible(Effect.zipRight(Deferred.await(gate), Scope.extend(hook, scope)))
      )
      yield* settle
      yield* Fiber.interruptFork(fiber)
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.await(fiber)
      yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(seen, ["flushed"])
      yield* Scope.close(scope, Exit.void)
    }).pipe(Effect.provide(Lifecycle.layer({ name: "peers", log: false })), fresh))

  it.effect("a back-off that throws gives up, and says so (thejerf/suture#8)", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Supervision.run({
        name: "crowd",
        intensity: 5,
        backoff: Schedule.whileInput(Schedule.forever, () => {
          throw new Error("a mistake in the schedule")
        }),
        children: [{ name: "bad", start: Effect.fail("crash") }]
      }))
      assert.strictEqual(error._tag, "Escalated")
    }).pipe(fresh))

  for (
    const [how, onEscalation] of [
      ["dies", () => Effect.die("the pager is broken")],
      ["throws", () => {
        throw new Error("the pager is broken")
      }],
      ["is interrupted", () => Effect.interrupt]
    ] as const
  ) {
    it.effect(`an onEscalation that ${how} is logged, and hides nothing (thejerf/suture#8)`, () =>
      Effect.gen(function*() {
        const logged: Array<string> = []
        const listening = Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ cause, message }) => {
            logged.push(`${String(message)} ${Cause.isEmpty(cause) ? "" : Cause.pretty(cause).split("\n", 1)[0]}`)
          })
        )
        const error = yield* Effect.flip(
          Effect.provide(
            Supervision.run({
              name: "crowd",
              intensity: 0,
              onEscalation,
              children: [{ name: "bad", start: Effect.fail("crash") }]
            }),
            listening
          )
        )
        assert.deepInclude(error, { _tag: "Escalated", child: "bad", reason: "intensity" })
        const line = logged.find((line) => line.startsWith("onEscalation of crowd failed"))
        assert.include(line, "about bad")
        if (how !== "is interrupted") assert.include(line, "the pager is broken")
      }).pipe(fresh))
  }

  it.effect("a supervisor that runs outside of every owner, or in a fiber of another name, goes by its own", () =>
    Effect.gen(function*() {
      const run = Effect.flip(Supervision.run({
        name: "crowd",
        intensity: 0,
        children: [{ name: "bad", start: Effect.fail("crash") }]
      }))
      assert.deepStrictEqual((yield* run).owner, ["crowd"])
      assert.strictEqual((yield* run).message, "crowd gave up on bad: more than 0 restarts within 5000 ms")
      assert.deepStrictEqual((yield* FiberRegistry.withOwner("main")(run)).owner, ["main", "crowd"])
      const registry = yield* FiberRegistry.FiberRegistry
      assert.deepStrictEqual(registry.unsafeEnded().map(({ owner }) => owner.join("/")), [
        "crowd/bad",
        "crowd/bad",
        "main/crowd/bad"
      ])
      const tree = Supervision.run({
        name: "tree",
        intensity: 0,
        children: [Supervision.child({
          name: "branch",
          intensity: 0,
          children: [{ name: "leaf", start: Effect.fail("crash") }]
        })]
      })
      assert.deepStrictEqual((yield* Effect.flip(tree)).owner, ["tree"])
      assert.isTrue(registry.unsafeEnded().some(({ owner }) => owner.join("/") === "tree/branch/leaf"))
    }).pipe(fresh))

  it.effect("releases what a finalizer acquires in the scope that is closing (Effect-TS/effect#7602)", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const scope = yield* Scope.make()
      const hold = (name: string, then: Effect.Effect<unknown>): Effect.Effect<unknown> =>
        Scope.extend(
          Cleanup.acquireRelease(
            Effect.sync(() => log.push(`+${name}`)),
            { label: name },
            () => Effect.zipRight(Effect.sync(() => log.push(`-${name}`)), then)
          ),
          scope
        )
      yield* hold("one", Effect.suspend(() => hold("two", Effect.void)))
      const outcome = yield* Cleanup.closeScope(scope, Exit.void, { label: "app" })
      assert.deepStrictEqual([log, outcome._tag], [["+one", "-one", "+two", "-two"], "Completed"])
    }).pipe(fresh))

  it.effect("gives back as often as it took, wherever an interrupt falls (getkyo/kyo#1820, typelevel/keypool#709)", () =>
    Effect.gen(function*() {
      let taken = 0
      let back = 0
      for (let steps = 0; steps < 24; steps++) {
        const fiber = yield* Effect.fork(Effect.scoped(Effect.zipRight(
          Cleanup.acquireRelease(
            Effect.zipRight(Effect.yieldNow(), Effect.sync(() => ++taken)),
            () => ({ label: "lease" }),
            () => Effect.zipRight(Effect.yieldNow(), Effect.sync(() => ++back))
          ),
          Effect.never
        )))
        yield* Effect.repeatN(Effect.yieldNow(), steps)
        yield* Fiber.interrupt(fiber)
      }
      assert.isAbove(taken, 0)
      assert.strictEqual(back, taken)
    }).pipe(fresh))
})

describe("Supervision", () => {
  it.scoped("what an incarnation forked and supervised ends before the next starts (akka/akka-core#25556)", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const crash = yield* Deferred.make<never, string>()
      let incarnation = 0
      const logged = (what: string) =>
        Effect.onExit(Effect.never, () => Effect.zipRight(settle, Effect.sync(() => log.push(what))))
      yield* Supervision.make({
        name: "top",
        children: [{
          name: "parent",
          start: Effect.gen(function*() {
            const it = ++incarnation
            log.push(`+${it}`)
            yield* FiberRegistry.forkScoped(logged(`-fork ${it}`), { name: "entity", kind: "worker" })
            const inner = yield* Supervision.make({ name: "inner" })
            yield* inner.startChild({ name: "routee", start: logged(`-routee ${it}`) })
            return yield* it === 1 ? Deferred.await(crash) : Effect.never
          })
        }]
      })
      yield* settle
      yield* Deferred.fail(crash, "boom")
      yield* Effect.repeatN(settle, 20)
      assert.deepStrictEqual(log, ["+1", "-routee 1", "-fork 1", "+2"])
    }).pipe(fresh))

  it.scoped("temporary children that end at once leave nothing, under one name too (erlang/otp#636)", () =>
    Effect.gen(function*() {
      const supervisor = yield* Supervision.make({ name: "top", intensity: 0 })
      for (let i = 0; i < 5; i++) {
        yield* supervisor.startChild({ name: "ignore", restart: "temporary", start: Effect.void })
        yield* settle
      }
      assert.strictEqual((yield* supervisor.counts).specs, 0)
    }).pipe(fresh))

  it.scoped("a child may stop itself before it has ever waited (python/cpython#155418)", () =>
    Effect.gen(function*() {
      const exits: Array<string> = []
      const supervisor = yield* Supervision.make({ name: "top" })
      yield* supervisor.startChild({
        name: "me",
        start: Effect.onExit(supervisor.stopChild("me"), (exit) => Effect.sync(() => exits.push(exit._tag)))
      })
      yield* settle
      assert.deepStrictEqual(exits, ["Failure"])
      assert.deepStrictEqual((yield* supervisor.children).map((child) => child.status), ["stopped"])
    }).pipe(fresh))

  it.effect("a child that dies while it is stopped keeps nobody from being stopped (MystenLabs/sui#27319)", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const scope = yield* Scope.make()
      const child = (name: string, last: Effect.Effect<void> = Effect.void): Supervision.ChildSpec => ({
        name,
        start: Effect.onExit(Effect.never, () => Effect.zipRight(Effect.sync(() => log.push(name)), last))
      })
      const children = [child("a"), child("b", Effect.die(new Error("panic"))), child("c")]
      const supervisor = yield* Scope.extend(Supervision.make({ name: "top", children }), scope)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["c", "b", "a"])
      const failed = (yield* supervisor.children).filter((one) => one.lastFailure !== undefined)
      assert.deepStrictEqual(failed.map((one) => one.name), ["b"])
    }).pipe(fresh))
})

describe("Lifecycle", () => {
  it.scoped("a hook may add hooks for later phases; for one gone by it adds nothing, and no failure (akka/akka-core#21930, oracle/graal#6945)", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const lifecycle = yield* Lifecycle.make({ log: false })
      const says = (what: string) => Effect.sync(() => log.push(what))
      const add = yield* Effect.map(
        Effect.scope,
        (scope) => (phase: Lifecycle.HookPhase, what: string, then: Effect.Effect<unknown> = Effect.void) =>
          Scope.extend(lifecycle.onPhase(phase, { label: what }, Effect.zipRight(says(what), then)), scope)
      )
      yield* add("draining", "first", Effect.suspend(() => add("stopping-workers", "later", add("draining", "late"))))
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual([log, report.verdict], [["first", "later"], "clean"])
    }).pipe(fresh))

  it.scoped("a hook that asks for the shutdown and waits for it costs its phase, not the shutdown (ringo/ringojs#231)", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const lifecycle = yield* Lifecycle.make({ log: false, gracefulShutdownTimeout: "200 millis" })
      yield* lifecycle.onPhase("draining", { label: "again" }, lifecycle.shutdown({ _tag: "Requested", by: "hook" }))
      yield* lifecycle.onPhase("releasing", { label: "last" }, Effect.sync(() => log.push("last")))
      const report = yield* lifecycle.shutdown(reason)
      assert.deepStrictEqual(log, ["last"])
      assert.deepStrictEqual(report.items("abandoned").map((item) => item.label), ["again"])
      assert.deepStrictEqual(report.reason, reason)
    }).pipe(fresh))

  for (
    const [where, around] of [
      ["itself", <A, E, R>(self: Effect.Effect<A, E, R>) => self],
      ["a child", <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.flatMap(Effect.fork(self), Fiber.join)],
      ["a race", <A, E, R>(self: Effect.Effect<A, E, R>) => Race.first(self, Effect.never)]
    ] as const
  ) {
    it.effect(`work that runs the shutdown in ${where} is not waited for by it; other work is (apache/storm#3299)`, () =>
      Effect.gen(function*() {
        const lifecycle = yield* Lifecycle.make({ log: false, gracefulShutdownTimeout: "1 day" })
        const order: Array<string> = []
        const gate = yield* Deferred.make<void>()
        const other = yield* Effect.fork(
          lifecycle.admit("GET /", Effect.zipRight(Deferred.await(gate), Effect.sync(() => order.push("other"))))
        )
        yield* settle
        const stopping = yield* Effect.fork(lifecycle.admit(
          "POST /shutdown",
          around(Effect.tap(lifecycle.shutdown(reason), () => Effect.sync(() => order.push("shutdown"))))
        ))
        yield* settle
        assert.strictEqual(yield* lifecycle.phase, "draining")
        yield* Deferred.succeed(gate, undefined)
        const report = yield* Fiber.join(stopping)
        assert.deepStrictEqual(order, ["other", "shutdown"])
        assert.strictEqual(report.verdict, "clean")
        yield* Fiber.join(other)
      }).pipe(fresh))
  }

  it.effect("hooks of what is gone are not waited for (spring-projects/spring-amqp#2511)", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.make({ log: false })
      yield* Effect.scoped(lifecycle.onPhase("draining", { label: "container" }, Effect.never))
      const report = yield* lifecycle.shutdown(reason)
      assert.strictEqual(report.verdict, "clean")
    }).pipe(fresh))
})
