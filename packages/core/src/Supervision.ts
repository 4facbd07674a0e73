/**
 * Named children under a supervisor that restarts them by the rules of OTP.
 *
 * A child is an effect that runs for as long as the child lives, with a `Scope` of its own per incarnation. The supervisor is
 * one fiber with a mailbox: exits and commands are handled one at a time, so that the state of its children is
 * always that of one moment.
 *
 * Guarantees
 * - Children start in order. They stop in reverse order, one after the other, each within its own shutdown budget, also
 *   when the supervisor is interrupted or its scope closes.
 * - A child that crashes is reported at `Error` level and to `FiberRegistry.crashes`, with its `Cause`, its owner path and what
 *   the supervisor decided.
 * - Restarts are counted, and back-offs reset, on a monotonic clock that `TestClock` moves: setting the machine's clock does not count.
 * - More than `intensity` restarts within `period` end the supervisor with all its children: `awaitEscalation` fails, and
 *   a supervisor above (see `child`) sees a crash.
 *
 * Limits
 * - An interrupt from outside counts as OTP's `shutdown`: a permanent child is started again, a transient one is not.
 * - OTP ends a supervisor that gave up with reason `shutdown`; here it fails with `Escalated`, so that a transient
 *   supervisor is restarted by its parent, too.
 * - Options that make no sense (`intensity: NaN`, a negative period) are a defect of the constructor: `InvalidOption`.
 * - There is no start phase: `start` is the child's whole life, and a child that fails at once counts as a restart.
 * - A fiber cannot be killed. `brutal_kill` interrupts and does not wait; a child that refuses to stop is left when its
 *   budget is over, named in the `CleanupMonitor` and still in the census. Its successor may run beside it.
 * - `"infinity"` means what it says. The total of a stop is the sum of the budgets (`stop: "together"`: the longest one).
 * - The mailbox is unbounded: it holds one message per exit or command, and those are bounded by children and callers.
 *
 * @since 0.1.0
 */
import {
  Cause,
  Clock,
  Deferred,
  Effect,
  Exit,
  FiberId,
  FiberRef,
  Layer,
  Option,
  Queue,
  ScheduleDecision,
  ScheduleIntervals,
  Scope
} from "effect"
import type { Fiber } from "effect"
import * as Cleanup from "./Cleanup.js"
import * as FiberRegistry from "./FiberRegistry.js"
import * as InvalidOption from "./InvalidOption.js"
import * as Lifecycle from "./Lifecycle.js"
import { ChildExists, ChildNotFound, ChildRunning, defaults, Escalated, SupervisorStopped } from "./SupervisorSpec.js"
import type { ChildInfo, ChildSpec, Options, Supervisor } from "./SupervisorSpec.js"

export {
  /** @since 0.1.0 */
  ChildExists,
  /** @since 0.1.0 */
  ChildNotFound,
  /** @since 0.1.0 */
  ChildRunning,
  /** @since 0.1.0 */
  defaults,
  /** @since 0.1.0 */
  Escalated,
  /** @since 0.1.0 */
  SupervisorStopped
} from "./SupervisorSpec.js"
export type {
  /** @since 0.1.0 */
  ChildInfo,
  /** @since 0.1.0 */
  ChildSpec,
  /** @since 0.1.0 */
  Counts,
  /** @since 0.1.0 */
  Options,
  /** @since 0.1.0 */
  Restart,
  /** @since 0.1.0 */
  Shutdown,
  /** @since 0.1.0 */
  Strategy,
  /** @since 0.1.0 */
  Supervisor
} from "./SupervisorSpec.js"

/**
 * Starts a supervisor in the scope in use, and returns once its children are started.
 *
 * Two children of one name are a defect.
 *
 * @example
 * ```ts
 * import { Supervision } from "@holdfast/core"
 * import { Effect, Schedule } from "effect"
 *
 * const program = Supervision.make({
 *   name: "feeds",
 *   intensity: 5,
 *   period: "1 minute",
 *   backoff: Schedule.jittered(Schedule.exponential("100 millis")),
 *   children: [
 *     { name: "prices", start: Effect.never },
 *     { name: "import", restart: "transient", shutdown: "10 seconds", start: Effect.log("done") }
 *   ]
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <R = never>(
  options: Options<R>
): Effect.Effect<Supervisor<R>, never, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function*() {
    const manager = yield* unsafeManager(options)
    const scope = yield* Effect.scope
    const fiber = yield* FiberRegistry.forkIn(manager.loop, scope, {
      name: options.name,
      kind: "supervisor",
      crash: "silent"
    })
    // Also when the scope closed before the loop could start.
    fiber.addObserver(manager.unsafeFinish)
    yield* manager.ready
    return manager.supervisor
  }) as Effect.Effect<Supervisor<R>, never, Exclude<R, Scope.Scope> | Scope.Scope>

/**
 * Runs a supervisor in the present fiber until it is interrupted, ends by `autoShutdown`, or gives up.
 *
 * @since 0.1.0
 * @category constructors
 */
export const run = <R = never>(options: Options<R>): Effect.Effect<void, Escalated, Exclude<R, Scope.Scope>> =>
  Effect.flatMap(
    unsafeManager(options),
    (manager) => Effect.ensuring(manager.loop, Effect.sync(manager.unsafeFinish))
  ) as Effect.Effect<void, Escalated, Exclude<R, Scope.Scope>>

/**
 * A supervisor as the child of another one: what it gives up on is its parent's to decide.
 *
 * @since 0.1.0
 * @category constructors
 */
export const child = <R = never>(
  options: Options<R> & Pick<ChildSpec, "restart" | "shutdown" | "significant">
): ChildSpec<Exclude<R, Scope.Scope>> => ({
  name: options.name,
  kind: "supervisor",
  shutdown: options.shutdown ?? "infinity",
  ...(options.restart === undefined ? {} : { restart: options.restart }),
  ...(options.significant === undefined ? {} : { significant: options.significant }),
  start: run(options)
})

/**
 * A supervisor for as long as the layer lives: the top of a tree. With a `Lifecycle` in the context, and no `onEscalation`,
 * a supervisor that gives up takes the service down, as a crash.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <R = never>(options: Options<R>): Layer.Layer<never, never, Exclude<R, Scope.Scope>> =>
  Layer.scopedDiscard(Effect.flatMap(Effect.serviceOption(Lifecycle.Lifecycle), (lifecycle) =>
    make(
      Option.isNone(lifecycle) || options.onEscalation !== undefined ? options : {
        ...options,
        onEscalation: ({ message, owner }) =>
          lifecycle.value.requestShutdown({ _tag: "Crash", origin: owner.join("/"), cause: message })
      }
    ))) as Layer.Layer<never, never, Exclude<R, Scope.Scope>>

/** Restarts are counted on a clock that nobody sets, and that a test moves. */
const monotonicMillis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos / 1000n) / 1000)

const checkChild = ({ shutdown }: Pick<ChildSpec, "shutdown">) => {
  if (shutdown === undefined || shutdown === "infinity" || shutdown === "brutal_kill") return
  InvalidOption.unsafeDuration("Supervision.shutdown", shutdown, { zero: true, infinite: true })
}

/** Refuses nonsense before anything is started; returns the period in milliseconds. */
const checkOptions = <R>({ children, intensity, period }: Options<R>): number => {
  if (intensity !== undefined) InvalidOption.unsafeWhole("Supervision.intensity", intensity, { infinite: true })
  for (const child of children ?? []) checkChild(child)
  return InvalidOption.unsafeDuration("Supervision.period", period ?? defaults.period, { infinite: true })
}

interface Child<R> {
  readonly spec: ChildSpec<R>
  status: ChildInfo["status"]
  /** Goes up with every start and every stop, so that news of a former incarnation is known for what it is. */
  generation: number
  starts: number
  startedAt: number | undefined
  /** The same moment on the monotonic clock. */
  runsSince: number
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  scope: Scope.CloseableScope | undefined
  lastFailure: Cause.Cause<unknown> | undefined
  /** The state of its back-off. */
  backoff: unknown
}

type Message<R> =
  | { readonly _tag: "Exited"; readonly child: Child<R>; readonly generation: number }
  | { readonly _tag: "Restart"; readonly due: ReadonlyArray<readonly [child: Child<R>, generation: number]> }
  | { readonly _tag: "Command"; readonly run: Effect.Effect<void> }

type Verdict = { readonly _tag: "GiveUp"; readonly escalated: Escalated } | { readonly _tag: "Done" } | undefined

const unsafeManager = <R>(options: Options<R>) =>
  Effect.gen(function*() {
    const {
      autoShutdown = "never",
      backoff,
      intensity = defaults.intensity,
      onEscalation,
      stop = "reverse",
      strategy = defaults.strategy
    } = options
    const periodMillis = checkOptions(options)
    const context = yield* Effect.context<R>()
    const registry = yield* FiberRegistry.FiberRegistry
    const mailbox = yield* Queue.unbounded<Message<R>>()
    const ready = yield* Deferred.make<void>()
    const ended = yield* Deferred.make<void, Escalated>()
    const waiting = new Set<() => void>()
    let owner: FiberRegistry.OwnerPath = [options.name]
    let children: ReadonlyArray<Child<R>> = []
    let restarts: ReadonlyArray<number> = []
    let finished = false

    // ---- one child

    const add = (spec: ChildSpec<R>): Child<R> => {
      const child: Child<R> = {
        spec,
        status: "stopped",
        generation: 0,
        starts: 0,
        startedAt: undefined,
        runsSince: 0,
        fiber: undefined,
        scope: undefined,
        lastFailure: undefined,
        backoff: backoff?.initial
      }
      children = [...children, child]
      return child
    }

    const find = (name: string) => children.find((child) => child.spec.name === name)

    const forget = (child: Child<R>) => {
      children = children.filter((one) => one !== child)
    }

    const start = (child: Child<R>) =>
      Effect.gen(function*() {
        const { spec } = child
        const generation = ++child.generation
        const scope = yield* Scope.make()
        child.startedAt = yield* Clock.currentTimeMillis
        child.runsSince = yield* monotonicMillis
        child.scope = scope
        child.status = "running"
        child.starts++
        const life = Effect.interruptible(Effect.scoped(spec.start)) as Effect.Effect<unknown, unknown, R>
        const fiber = yield* FiberRegistry.forkIn(Effect.provide(life, context), scope, {
          name: spec.name,
          kind: spec.kind ?? defaults.kind,
          restarts: child.starts - 1,
          lastFailure: child.lastFailure,
          supervised: true,
          crash: "silent"
        })
        child.fiber = fiber
        fiber.addObserver(() => mailbox.unsafeOffer({ _tag: "Exited", child, generation }))
      })

    const halt = (child: Child<R>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const { fiber, scope, spec } = child
        const shutdown = spec.shutdown ?? (spec.kind === "supervisor" ? "infinity" : defaults.shutdown)
        child.generation++
        child.status = "stopped"
        child.fiber = undefined
        child.scope = undefined
        if (fiber === undefined || scope === undefined) return Effect.void
        const close = Scope.close(scope, Exit.interrupt(FiberId.none))
        const told = shutdown === "infinity"
          ? close
          : shutdown === "brutal_kill"
          // The scope is marked as closed and the fiber interrupted; this much patience costs no timer.
          ? Effect.zipRight(Effect.fork(Effect.interruptible(close)), Effect.repeatN(Effect.yieldNow(), 3))
          : Cleanup.run({
            label: `stop ${spec.name}`,
            budget: shutdown,
            subject: Cleanup.Subject.Child({ path: [...owner, spec.name] })
          }, close)
        return Effect.zipRight(
          told,
          Effect.sync(() => {
            const exit = fiber.unsafePoll()
            if (exit !== null && exit._tag === "Failure" && !Cause.isInterruptedOnly(exit.cause)) {
              child.lastFailure = exit.cause
              tell(child, fiber, exit.cause, "crashed while it was stopped")
            }
          })
        )
      })

    /** In reverse order of start. Temporary children are forgotten. */
    const haltAll = (group: ReadonlyArray<Child<R>>) =>
      Effect.zipRight(
        Effect.forEach(group.toReversed(), halt, {
          discard: true,
          concurrency: stop === "together" ? "unbounded" : 1
        }),
        Effect.sync(() => {
          for (const child of group) if (child.spec.restart === "temporary") forget(child)
        })
      )

    const tell = (
      child: Child<R>,
      fiber: Fiber.RuntimeFiber<unknown, unknown>,
      cause: Cause.Cause<unknown>,
      action: string
    ) => {
      const at = Date.now()
      registry.unsafeReport({
        id: `#${fiber.id().id}`,
        name: child.spec.name,
        kind: child.spec.kind ?? defaults.kind,
        owner: [...owner, child.spec.name],
        at,
        ageMillis: at - fiber.id().startTimeMillis,
        restarts: child.starts - 1,
        cause,
        action
      }, fiber)
    }

    // ---- what to do about an exit

    const exited = (child: Child<R>): Effect.Effect<Verdict> =>
      Effect.gen(function*() {
        const fiber = child.fiber!
        const exit = fiber.unsafePoll()!
        const { restart = defaults.restart } = child.spec
        const cause = exit._tag === "Failure" ? exit.cause : Cause.empty
        const crashed = exit._tag === "Failure" && !Cause.isInterruptedOnly(exit.cause)
        const say = (action: string) =>
          crashed
            ? Effect.sync(() => tell(child, fiber, cause, action))
            : restart === "permanent"
            ? Effect.logWarning(`Child ${[...owner, child.spec.name].join("/")} ended: ${action}`)
            : Effect.void
        child.generation++
        child.status = "stopped"
        child.fiber = undefined
        child.scope = undefined
        if (crashed) child.lastFailure = cause

        if (restart === "temporary" || (restart === "transient" && !crashed)) {
          yield* say("not restarted")
          if (restart === "temporary") forget(child)
          return settles(child) ? { _tag: "Done" } : undefined
        }

        const now = yield* monotonicMillis
        restarts = [...restarts.filter((at) => now <= at + periodMillis), now]
        if (restarts.length > intensity) return yield* giveUp(child, cause, "intensity", say)
        const delay = yield* delayOf(child, now, cause)
        if (Option.isNone(delay)) return yield* giveUp(child, cause, "backoff", say)
        const index = children.indexOf(child)
        const group = strategy === "one_for_one"
          ? [child]
          : strategy === "one_for_all"
          ? children
          : children.slice(index)
        yield* say(
          (delay.value === 0 ? "restarted" : `restart in ${delay.value} ms`) +
            (group.length > 1 ? ` with ${group.length - 1} others` : "")
        )
        yield* haltAll(group)
        const due = group.filter((one) => children.includes(one))
        for (const one of due) one.status = "restarting"
        const message: Message<R> = { _tag: "Restart", due: due.map((one) => [one, one.generation] as const) }
        if (delay.value === 0) yield* restartDue(message.due)
        else {yield* Effect.fork(
            Effect.interruptible(Effect.zipRight(Effect.sleep(delay.value), mailbox.offer(message)))
          )}
        return undefined
      })

    /** In start order. Who was stopped or started by other means in the meantime is not touched. */
    const restartDue = (due: ReadonlyArray<readonly [Child<R>, number]>) =>
      Effect.forEach(
        due,
        ([child, generation]) =>
          child.status === "restarting" && child.generation === generation ? start(child) : Effect.void,
        { discard: true }
      )

    /** Milliseconds until the restart; none when the schedule is over. */
    const delayOf = (child: Child<R>, now: number, cause: Cause.Cause<unknown>) =>
      Effect.gen(function*() {
        if (backoff === undefined) return Option.some(0)
        if (child.startedAt !== undefined && now - child.runsSince > periodMillis) child.backoff = backoff.initial
        const [state, , decision] = yield* backoff.step(now, cause, child.backoff)
        child.backoff = state
        return ScheduleDecision.isDone(decision)
          ? Option.none<number>()
          : Option.some(Math.max(0, ScheduleIntervals.start(decision.intervals) - now))
      })

    const giveUp = (
      child: Child<R>,
      cause: Cause.Cause<unknown>,
      reason: Escalated["reason"],
      say: (action: string) => Effect.Effect<void>
    ) => {
      const escalated = new Escalated({ owner, reason, child: child.spec.name, intensity, periodMillis, cause })
      return Effect.as(say(`not restarted: ${escalated.message}`), { _tag: "GiveUp", escalated } as const)
    }

    /** Whether this end was the one that ends the supervisor. */
    const settles = (child: Child<R>) =>
      child.spec.significant === true && child.spec.restart !== "permanent" && (
        autoShutdown === "any_significant" ||
        (autoShutdown === "all_significant" &&
          !children.some((one) => one.spec.significant === true && one.status !== "stopped"))
      )

    // ---- the fiber

    const handle = (message: Message<R>): Effect.Effect<Verdict> => {
      switch (message._tag) {
        case "Exited":
          return message.child.generation === message.generation ? exited(message.child) : Effect.succeed(undefined)
        case "Restart":
          return Effect.as(restartDue(message.due), undefined)
        case "Command":
          return Effect.as(message.run, undefined)
      }
    }

    const loop: Effect.Effect<void, Escalated> = Effect.uninterruptible(
      Effect.gen(function*() {
        owner = yield* FiberRef.get(FiberRegistry.currentOwner)
        for (const spec of options.children ?? []) {
          if (find(spec.name) !== undefined) {
            return yield* Effect.die(new ChildExists({ child: spec.name, status: "running" }))
          }
          yield* start(add(spec))
        }
        yield* Deferred.succeed(ready, undefined)
        while (true) {
          const verdict = yield* handle(yield* Effect.interruptible(Queue.take(mailbox)))
          if (verdict === undefined) continue
          yield* haltAll(children)
          if (verdict._tag === "Done") return
          yield* Deferred.fail(ended, verdict.escalated)
          yield* Effect.logError(verdict.escalated.message)
          if (onEscalation !== undefined) yield* Effect.provide(onEscalation(verdict.escalated), context)
          return yield* verdict.escalated
        }
      }).pipe(Effect.onExit(() => haltAll(children)))
    )

    const unsafeFinish = () => {
      if (finished) return
      finished = true
      for (const refuse of waiting) refuse()
      Deferred.unsafeDone(ready, Exit.void)
      Deferred.unsafeDone(ended, Exit.void)
    }

    const ask = <A, E>(body: Effect.Effect<A, E>): Effect.Effect<A, E | SupervisorStopped> =>
      Effect.suspend(() => {
        if (finished) return new SupervisorStopped({ owner })
        const answer = Deferred.unsafeMake<A, E | SupervisorStopped>(FiberId.none)
        const refuse = () => Deferred.unsafeDone(answer, Exit.fail(new SupervisorStopped({ owner })))
        waiting.add(refuse)
        mailbox.unsafeOffer({ _tag: "Command", run: Effect.asVoid(Effect.intoDeferred(body, answer)) })
        return Effect.ensuring(Deferred.await(answer), Effect.sync(() => waiting.delete(refuse)))
      })

    const known = (name: string) =>
      Effect.suspend(() => {
        const child = find(name)
        return child === undefined ? new ChildNotFound({ child: name }) : Effect.succeed(child)
      })

    const idle = (name: string) =>
      Effect.filterOrFail(
        known(name),
        (child) => child.status === "stopped",
        (child) => new ChildRunning({ child: name, status: child.status as ChildRunning["status"] })
      )

    const supervisor: Supervisor<R> = {
      name: options.name,
      get owner() {
        return owner
      },
      startChild: (spec) =>
        Effect.suspend(() => {
          checkChild(spec)
          return ask(Effect.suspend(() => {
            const present = find(spec.name)
            return present === undefined
              ? start(add(spec))
              : Effect.fail(new ChildExists({ child: spec.name, status: present.status }))
          }))
        }),
      stopChild: (name) => ask(Effect.flatMap(known(name), (child) => haltAll([child]))),
      restartChild: (name) => ask(Effect.flatMap(idle(name), start)),
      deleteChild: (name) => ask(Effect.map(idle(name), forget)),
      children: Effect.sync(() =>
        children.map((child) => ({
          name: child.spec.name,
          kind: child.spec.kind ?? defaults.kind,
          restart: child.spec.restart ?? defaults.restart,
          significant: child.spec.significant === true,
          shutdown: child.spec.shutdown ?? (child.spec.kind === "supervisor" ? "infinity" : defaults.shutdown),
          status: child.status,
          restarts: Math.max(0, child.starts - 1),
          startedAt: child.status === "running" ? child.startedAt : undefined,
          lastFailure: child.lastFailure,
          fiber: child.fiber
        }))
      ),
      counts: Effect.sync(() => {
        const supervisors = children.filter((child) => child.spec.kind === "supervisor").length
        return {
          specs: children.length,
          active: children.filter((child) => child.status === "running").length,
          supervisors,
          workers: children.length - supervisors
        }
      }),
      awaitEscalation: Deferred.await(ended)
    }
    return { supervisor, loop, ready: Deferred.await(ready), unsafeFinish }
  })
