/**
 * The life of a service in phases, and its end within one time limit.
 *
 * `accepting → (unready) → draining → stopping-sources → stopping-workers → releasing → done`
 *
 * | phase | what happens |
 * | --- | --- |
 * | `accepting` | readiness is up, work is admitted |
 * | `unready` | readiness is down, work is still admitted, for `readinessDelay`; without a delay there is no such phase |
 * | `draining` | readiness is down, new work is refused, hooks run, admitted work may finish |
 * | `stopping-sources` | hooks run; fibers of kind `lifecycle`, `ticker` and `audit` are interrupted |
 * | `stopping-workers` | hooks run; all other tracked fibers are interrupted, those of kind `service` and supervised ones last |
 * | `releasing` | hooks run; the application's scope is closed |
 * | `done` | the report is final |
 *
 * Guarantees
 * - `shutdown` ends within `gracefulShutdownTimeout`, whatever hooks, fibers and finalizers do short of blocking the
 *   thread. Each phase gets its share of the time that is left when it begins (`weights`), so an early phase that overruns
 *   leaves something for the later ones, and time that is not needed is passed on.
 * - What does not end in its budget is interrupted, named in the `ShutdownReport` and left.
 * - Hooks of one phase run concurrently, each in a fiber of its own with the services and references of the place where it
 *   was registered. None can keep another from running.
 * - Work is refused with `ShuttingDown` from the moment at which draining begins, without a gap between the two.
 * - The report lists every fiber that is still alive, or proves by an empty list that there is none.
 *
 * Limits
 * - A fiber that refuses interruption cannot be killed, only named. `@holdfast/node` ends the process behind it.
 * - What blocks the thread blocks this module too; see the watchdog of `@holdfast/node`.
 * - The fibers are those of the `FiberRegistry` in use; `layer` and `manage` bring one of their own, `make` takes that of the
 *   place, which is the process's unless said otherwise. What was forked past it is found and reported, not stopped; its
 *   parent fiber or its scope stops it.
 * - A fiber must not run `shutdown` while others that it waits for join it. From inside, `requestShutdown` is the way.
 * - Budgets run on `Cleanup.BudgetClock`: real time, on the monotonic clock, by default.
 *
 * @since 0.1.0
 */
import {
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  FiberId,
  FiberRef,
  Layer,
  Option,
  Schema,
  Scope,
  Stream
} from "effect"
import type { Config, ConfigError, Fiber } from "effect"
import { dual } from "effect/Function"
import * as Cleanup from "./Cleanup.js"
import * as FiberRegistry from "./FiberRegistry.js"
import { isWithin, spanOf, withRefs } from "./internal/fibers/fiberState.js"
import { firstLine, PhaseRun, round } from "./internal/lifecycle/phase.js"
import type { Surroundings, TimedPhase, WaitingOptions } from "./internal/lifecycle/phase.js"
import { scopeLabel, ShutdownRecord } from "./internal/lifecycle/record.js"
import { sourcesIn } from "./internal/lifecycle/sources.js"
import * as Scopes from "./internal/scopes.js"
import * as InvalidOption from "./InvalidOption.js"
import * as Report from "./ShutdownReport.js"
import { Signal } from "./Signal.js"

/**
 * Where the process stands between accepting and stopped.
 *
 * @since 0.1.0
 * @category models
 */
export type Phase = Report.Phase

/**
 * The phases that can have hooks.
 *
 * @since 0.1.0
 * @category models
 */
export type HookPhase = TimedPhase

/**
 * What began the shutdown.
 *
 * @since 0.1.0
 * @category models
 */
export type ShutdownReason = Report.ShutdownReason

/**
 * What the shutdown did, phase by phase.
 *
 * @since 0.1.0
 * @category models
 */
export type ShutdownReport = Report.ShutdownReport

/**
 * Work was refused because the service is on its way down.
 *
 * @since 0.1.0
 * @category errors
 */
export class ShuttingDown extends Schema.TaggedError<ShuttingDown>()("ShuttingDown", {
  phase: Report.Phase,
  /** What was refused. */
  what: Schema.String
}) {
  override get message(): string {
    return `${this.what} was refused: the service is shutting down (${this.phase})`
  }
}

/**
 * The name of a hook, and the time that it may take.
 *
 * @since 0.1.0
 * @category options
 */
export interface HookOptions {
  /** Names the hook in the report. */
  readonly label: string
  /** The longest that the phase waits for it. Default: as long as the phase has. */
  readonly budget?: Duration.DurationInput | undefined
}

/**
 * The times of the shutdown, and how they are shared among its phases.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Names the service in the report. Default `"service"`. */
  readonly name?: string | undefined
  /** The whole shutdown ends within it; infinity is no limit. Default 5 seconds. */
  readonly gracefulShutdownTimeout?: Duration.DurationInput | undefined
  /**
   * How long readiness is down while work is still admitted, before draining begins: the time that a load balancer needs to
   * notice. It comes before `gracefulShutdownTimeout` and is not part of it. A shutdown that begins with a crash or a
   * failed start does without, and `hurry` ends it. Default 0.
   */
  readonly readinessDelay?: Duration.DurationInput | undefined
  /** How the time is shared between the phases. Only the proportions matter. */
  readonly weights?: Partial<Readonly<Record<HookPhase, number>>> | undefined
  /** Completed items that the report lists per phase; the others are counted. Default 100. */
  readonly listed?: number | undefined
  /** Whether the report is logged at the end. Default true. */
  readonly log?: boolean | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  name: "service",
  gracefulShutdownTimeout: Duration.seconds(5),
  readinessDelay: Duration.zero,
  weights: { "draining": 5, "stopping-sources": 1, "stopping-workers": 2, "releasing": 2 },
  listed: 100,
  log: true
} as const

/**
 * The phases of this process, and what is to be done in each.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly phase: Effect.Effect<Phase>
  /** The phase now and all later ones; ends after `done`. */
  readonly phases: Stream.Stream<Phase>
  /** Readiness: false from the first step of a shutdown, also while work is still admitted for `readinessDelay`. */
  readonly isAccepting: Effect.Effect<boolean>
  /**
   * Runs an effect in a phase, for as long as the scope is open. A hook for a phase that has begun or gone by never runs.
   */
  readonly onPhase: <R>(
    phase: HookPhase,
    options: HookOptions,
    run: Effect.Effect<unknown, unknown, R>
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /**
   * Runs work that draining waits for. It is refused while the service goes down. Work that is not finished at the end
   * of draining is interrupted: the whole fiber that runs it.
   */
  readonly admit: <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ShuttingDown, R>
  /** How much admitted work is in progress. */
  readonly admitted: Effect.Effect<number>
  /**
   * Builds the application into the scope of this lifecycle. When the start hangs and refuses interruption, what it has built
   * so far is released all the same, before the rest of the scope, and the report names the fiber that hangs.
   */
  readonly build: <A, E, R>(start: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Scope.Scope>>
  /** Asks whoever waits in `awaitShutdown` to shut down. The first reason counts. */
  readonly requestShutdown: (reason: ShutdownReason) => Effect.Effect<void>
  readonly awaitShutdown: Effect.Effect<ShutdownReason>
  /** Goes through the phases. Uninterruptible; a later call waits for the report of the first. */
  readonly shutdown: (reason: ShutdownReason) => Effect.Effect<ShutdownReport>
  /** Ends a shutdown that is under way, or a later one, within this time. It never adds time. */
  readonly hurry: (within: Duration.DurationInput) => Effect.Effect<void>
  /** The report of a shutdown that is over. */
  readonly report: Effect.Effect<Option.Option<ShutdownReport>>
  readonly unsafePhase: () => Phase
  /** What is known of a shutdown that is under way: what has not ended counts as abandoned. */
  readonly unsafeReport: () => ShutdownReport | undefined
  /**
   * Adds to the report what went wrong beside all fibers: an exception that nobody caught, a thread that does not end. It
   * belongs to the phase in progress, or to the first or last one. It also ends `readinessDelay`.
   */
  readonly unsafeRecord: (item: Report.Item) => void
  /** What the shutdown waits for at this moment, for a place where no effect can run any more. */
  readonly unsafeWaitingFor: () => ReadonlyArray<string>
}

/**
 * The ordered shutdown of this process.
 *
 * @since 0.1.0
 * @category tags
 */
export class Lifecycle extends Context.Tag("@holdfast/core/Lifecycle")<Lifecycle, Service>() {}

/**
 * The registry that is given, or else a fresh one: that of the process has the fibers of other applications in it, too. It
 * goes to whatever is built on top.
 */
const ownRegistry: Effect.Effect<FiberRegistry.Service> = Effect.contextWith((context: Context.Context<never>) =>
  context.unsafeMap.has(FiberRegistry.FiberRegistry.key)
    ? Context.get(context, FiberRegistry.FiberRegistry)
    : FiberRegistry.unsafeMake()
)

const contextOf = (lifecycle: Service, registry: FiberRegistry.Service) =>
  Context.make(Lifecycle, lifecycle).pipe(
    Context.add(FiberRegistry.FiberRegistry, registry)
  ) as Context.Context<Lifecycle>

/**
 * A lifecycle for what is built on top of it. With it comes a `FiberRegistry` of its own, unless one is given: it stops the
 * fibers of what is built on top, and none of another application in the process.
 *
 * When the layer ends before a `shutdown`, what is on top is gone already: no phase runs. See `manage`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Lifecycle> =>
  Layer.scopedContext(Effect.gen(function*() {
    const registry = yield* ownRegistry
    const made = Effect.provideService(make(options), FiberRegistry.FiberRegistry, registry)
    const lifecycle = yield* Effect.acquireRelease(made, (lifecycle) => (lifecycle as Machine).dispose)
    return contextOf(lifecycle, registry)
  }))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<Lifecycle, InvalidOption.InvalidOption | ConfigError.ConfigError> = InvalidOption.fromConfig(layer)

/**
 * An application with a lifecycle of its own, for a place that knows nothing of phases, such as a `ManagedRuntime` in another
 * framework: when its scope ends, as by `dispose()`, the phases run, within `gracefulShutdownTimeout`, and the application is
 * released in the last of them. A `shutdown` before that does the same; then the end of the scope waits for its report.
 *
 * Layers inside are not shared with the ones outside.
 *
 * @example
 * ```ts
 * import { Cleanup, Lifecycle } from "@holdfast/core"
 * import { Effect, Layer, ManagedRuntime } from "effect"
 *
 * const Application = Layer.scopedDiscard(
 *   Cleanup.addFinalizer({ label: "say goodbye", budget: "1 second" }, () => Effect.void)
 * )
 *
 * const runtime = ManagedRuntime.make(Lifecycle.manage(Application, { name: "site", log: false }))
 * await runtime.runPromise(Effect.void)
 * await runtime.dispose()
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const manage: {
  (options?: Options): <A, E, R>(
    application: Layer.Layer<A, E, R>
  ) => Layer.Layer<A | Lifecycle, E, Exclude<R, Lifecycle>>
  <A, E, R>(
    application: Layer.Layer<A, E, R>,
    options?: Options
  ): Layer.Layer<A | Lifecycle, E, Exclude<R, Lifecycle>>
} = dual((args) => Layer.isLayer(args[0]), <A, E, R>(
  application: Layer.Layer<A, E, R>,
  options: Options = {}
): Layer.Layer<A | Lifecycle, E, Exclude<R, Lifecycle>> =>
  Layer.scopedContext(Effect.gen(function*() {
    const registry = yield* ownRegistry
    const scope = yield* Scope.make()
    let started = false
    const made = make({ ...options, scope })
    const lifecycle = yield* Effect.provideService(made, FiberRegistry.FiberRegistry, registry)
    yield* Effect.addFinalizer((exit) =>
      lifecycle.shutdown(
        Exit.isFailure(exit) && !started
          ? { _tag: "StartFailed", cause: firstLine(exit.cause) }
          : { _tag: "Requested", by: "the end of its scope" }
      )
    )
    const own = contextOf(lifecycle, registry)
    const built = yield* Effect.provide(lifecycle.build(Layer.build(application)), own)
    started = true
    return Context.merge(built, own)
  })))

/**
 * `onPhase` of the `Lifecycle` in the context, for what works without one as well: then it does nothing.
 *
 * @since 0.1.0
 * @category combinators
 */
export const onPhaseIfPresent = <R>(
  phase: HookPhase,
  options: HookOptions,
  run: Effect.Effect<unknown, unknown, R>
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.flatMap(
    Effect.serviceOption(Lifecycle),
    Option.match({
      onNone: () => Effect.void,
      onSome: (lifecycle): Effect.Effect<void, never, R | Scope.Scope> => lifecycle.onPhase(phase, options, run)
    })
  )

/**
 * A lifecycle that closes `scope` in its last phase.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options & { readonly scope?: Scope.CloseableScope } = {}
): Effect.Effect<Service> =>
  Effect.gen(function*() {
    const timer = yield* Cleanup.BudgetClock
    const monitor = yield* Cleanup.CleanupMonitor
    const registry = yield* FiberRegistry.FiberRegistry
    return new Machine(
      options,
      timer,
      monitor,
      registry,
      yield* Deferred.make<ShutdownReason>(),
      yield* Deferred.make<ShutdownReport>(),
      yield* Scope.make()
    )
  })

interface Hook {
  readonly label: string
  readonly budget: number | undefined
  readonly owner: FiberRegistry.OwnerPath
  readonly run: Effect.Effect<unknown, unknown>
}

interface Admitted {
  readonly what: string
  readonly owner: FiberRegistry.OwnerPath
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  readonly since: number
}

/** A start that has not ended. */
interface Starting {
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  /** The scopes that something was added to, in that order. */
  readonly scopes: Set<Scope.Scope>
}

const order: ReadonlyArray<HookPhase> = ["draining", "stopping-sources", "stopping-workers", "releasing"]

class Machine implements Service {
  readonly timeout: number
  readonly readinessDelay: number
  readonly weights: Readonly<Record<HookPhase, number>>
  readonly record: ShutdownRecord
  readonly around: Surroundings
  readonly hooks = new Map<HookPhase, Set<Hook>>(order.map((phase) => [phase, new Set()]))
  readonly working = new Set<Admitted>()
  readonly targeted = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
  current: Phase = "accepting"
  /** Every phase so far. Not a `SubscriptionRef`: whoever is interrupted while it subscribes can lock that for good. */
  readonly entered: Array<Phase> = ["accepting"]
  readonly moved = new Signal()
  /** When the whole shutdown must be over, and the most that a hurry before it leaves to it. */
  deadline = Number.POSITIVE_INFINITY
  limit = Number.POSITIVE_INFINITY
  final: ShutdownReport | undefined
  starting: Starting | undefined
  /** The phase in progress, or the last one. */
  running: PhaseRun | undefined
  endUnready: () => void = () => {}

  constructor(
    readonly options: Options & { readonly scope?: Scope.CloseableScope },
    readonly timer: Cleanup.Timer,
    readonly monitor: Cleanup.Monitor,
    readonly registry: FiberRegistry.Service,
    readonly requested: Deferred.Deferred<ShutdownReason>,
    readonly finished: Deferred.Deferred<ShutdownReport>,
    readonly hookScope: Scope.CloseableScope
  ) {
    this.timeout = InvalidOption.unsafeDuration(
      "Lifecycle.gracefulShutdownTimeout",
      options.gracefulShutdownTimeout ?? defaults.gracefulShutdownTimeout,
      { zero: true, infinite: true }
    )
    this.readinessDelay = InvalidOption.unsafeDuration(
      "Lifecycle.readinessDelay",
      options.readinessDelay ?? defaults.readinessDelay,
      { zero: true }
    )
    this.weights = { ...defaults.weights, ...options.weights }
    for (const phase of order) {
      InvalidOption.unsafeNumber(`Lifecycle.weights.${phase}`, this.weights[phase], { max: Number.MAX_VALUE })
    }
    InvalidOption.unsafeWhole("Lifecycle.listed", options.listed ?? defaults.listed, { infinite: true })
    this.record = new ShutdownRecord(
      options.name ?? defaults.name,
      this.timeout,
      options.listed ?? defaults.listed,
      timer,
      registry
    )
    this.around = { timer, registry, scope: hookScope, detailOf: (fiber) => this.detailOf(fiber) }
  }

  readonly phase = Effect.sync(() => this.current)
  readonly isAccepting = Effect.sync(() => this.current === "accepting")
  readonly admitted = Effect.sync(() => this.working.size)
  readonly report = Effect.sync(() => Option.fromNullable(this.final))
  get phases(): Stream.Stream<Phase> {
    return Stream.suspend(() => {
      let next = this.entered.length - 1
      const following = Effect.zipRight(
        this.moved.wait(() => next < this.entered.length),
        Effect.sync(() => this.entered[next++])
      )
      return Stream.takeUntil(Stream.repeatEffect(following), (phase) => phase === "done")
    })
  }
  get awaitShutdown(): Effect.Effect<ShutdownReason> {
    return Deferred.await(this.requested)
  }

  readonly onPhase: Service["onPhase"] = (phase, options, run) =>
    Effect.gen(this, function*() {
      const runtime = yield* Effect.runtime<Effect.Effect.Context<typeof run>>()
      const hook: Hook = {
        label: options.label,
        budget: options.budget === undefined
          ? undefined
          : InvalidOption.unsafeDuration("Lifecycle.onPhase.budget", options.budget, { zero: true, infinite: true }),
        owner: yield* FiberRef.get(FiberRegistry.currentOwner),
        run: withRefs(runtime.fiberRefs, Effect.provide(run, runtime.context))
      }
      const hooks = this.hooks.get(phase)!
      yield* Effect.acquireRelease(
        Effect.sync(() => hooks.add(hook)),
        () => Effect.sync(() => hooks.delete(hook))
      )
    })

  readonly admit: Service["admit"] = (what, effect) =>
    Effect.withFiberRuntime((fiber) => {
      const owner = fiber.getFiberRef(FiberRegistry.currentOwner)
      return Effect.acquireUseRelease(
        // One step: draining must not begin between the look at the phase and the entry into its books.
        Effect.suspend(() => {
          if (this.current !== "accepting" && this.current !== "unready") {
            return Effect.fail(new ShuttingDown({ phase: this.current, what }))
          }
          const work: Admitted = { what, owner, fiber, since: this.timer.unsafeNow() }
          this.working.add(work)
          return Effect.succeed(work)
        }),
        () => effect,
        (work) =>
          Effect.sync(() => {
            this.working.delete(work)
            this.running?.unsafeWake()
          })
      )
    })

  readonly build = <A, E, R>(start: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
    Effect.withFiberRuntime((fiber) => {
      const starting: Starting = { fiber: fiber as Fiber.RuntimeFiber<unknown, unknown>, scopes: new Set() }
      this.starting = starting
      const { scope } = this.options
      const built = scope === undefined ? Effect.scoped(start) : Scope.extend(start, scope)
      return Effect.onExit(Scopes.recordScopes(built, starting.scopes), () =>
        Effect.sync(() => {
          this.starting = undefined
        }))
    })

  readonly requestShutdown: Service["requestShutdown"] = (reason) =>
    Effect.asVoid(Deferred.succeed(this.requested, reason))

  readonly hurry: Service["hurry"] = (within) =>
    Effect.sync(() => {
      const millis = Duration.toMillis(within)
      this.record.hurried = true
      this.limit = Math.min(this.limit, millis)
      this.endUnready()
      if (this.current === "accepting" || this.current === "done" || this.running === undefined) return
      const now = this.timer.unsafeNow()
      if (now + millis >= this.deadline) return
      this.deadline = now + millis
      this.running.shorten(this.share(this.running.phase))
    })

  readonly shutdown: Service["shutdown"] = (reason) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((fiber) => {
        if (this.record.reason !== undefined) return restore(Deferred.await(this.finished))
        this.record.reason = reason
        this.record.self = fiber as Fiber.RuntimeFiber<unknown, unknown>
        this.record.startedAt = this.timer.unsafeNow()
        this.record.startedAtEpoch = Date.now()
        return this.run(reason)
      })
    )

  get dispose(): Effect.Effect<void> {
    return Effect.suspend(() => this.current === "accepting" ? this.enter("done") : Effect.void)
  }

  readonly unsafePhase = (): Phase => this.current

  readonly unsafeWaitingFor = (): ReadonlyArray<string> =>
    (this.running?.pending ?? []).map((item) => [...item.owner, item.label].join("/"))

  readonly unsafeRecord = (item: Report.Item): void => {
    if (this.final !== undefined) this.final = Report.withItem(this.final, item)
    else (this.running?.extra ?? this.record.early).push(item)
    this.endUnready()
  }

  readonly unsafeReport = (): ShutdownReport | undefined =>
    this.final ?? (this.record.reason === undefined ? undefined : this.record.summary(false))

  /** The orchestration: what a shutdown is. */
  private run(reason: ShutdownReason): Effect.Effect<ShutdownReport> {
    return Effect.gen(this, function*() {
      const unlisten = this.monitor.unsafeListen((outcome) => this.running?.onOutcome(outcome))
      yield* this.requestShutdown(reason)
      yield* Effect.logDebug(`Shutdown began: ${Report.renderReason(reason)}`)
      yield* this.unready(reason)
      this.record.startedAt = this.timer.unsafeNow()
      this.deadline = this.record.startedAt + Math.min(this.timeout, this.limit)

      yield* this.during("draining", (phase) => Effect.zipRight(phase.settled(), this.drained(phase)))

      yield* this.during("stopping-sources", (phase) => {
        this.stop(phase, sourcesIn(this.registry.unsafeCensus()))
        return phase.settled()
      })

      yield* this.during("stopping-workers", (phase) =>
        Effect.suspend(() => {
          this.stop(phase, (entry) => entry.kind !== "service" && !entry.supervised)
          this.stopAdmitted(phase)
          // A supervisor stops its children in its own order. Half of the time is its, then they are told directly.
          return phase.settled(0.5)
        }).pipe(
          Effect.zipRight(Effect.sync(() => this.stop(phase, () => true))),
          Effect.zipRight(phase.settled())
        ))

      yield* this.during("releasing", (phase) => Effect.zipRight(phase.settled(), this.release(phase, reason)))

      unlisten()
      this.final = this.record.summary(true)
      yield* this.enter("done")
      const report = this.final
      if (this.options.log ?? defaults.log) {
        const level = report.verdict === "clean" ? Effect.logInfo : Effect.logWarning
        yield* level(Report.render(report)).pipe(Effect.catchAllCause(() => Effect.void))
      }
      yield* Deferred.succeed(this.finished, report)
      return report
    })
  }

  private enter(phase: Phase): Effect.Effect<void> {
    return Effect.sync(() => {
      this.current = phase
      this.entered.push(phase)
      this.moved.wake()
    })
  }

  /** Readiness goes down, and nothing else changes, until those who send the work have noticed. */
  private unready(reason: ShutdownReason): Effect.Effect<void> {
    if (this.readinessDelay === 0 || this.record.hurried || Report.isFailure(reason)) return Effect.void
    return Effect.zipRight(
      this.enter("unready"),
      Effect.async<void>((resume) => {
        const cancel = this.timer.unsafeSchedule(() => this.endUnready(), Duration.millis(this.readinessDelay))
        this.endUnready = () => {
          this.endUnready = () => {}
          cancel()
          resume(Effect.void)
        }
      })
    )
  }

  /** What is left of the time, shared between this phase and those behind it. */
  private share(phase: HookPhase): number {
    const behind = order.slice(order.indexOf(phase))
    const sum = behind.reduce((total, one) => total + this.weights[one], 0)
    const left = Math.max(0, this.deadline - this.timer.unsafeNow())
    // Infinity has shares of infinity.
    return sum <= 0 || left === Number.POSITIVE_INFINITY ? left : left * this.weights[phase] / sum
  }

  /** One phase: its hooks, and what it does beside them. */
  private during(name: HookPhase, run: (phase: PhaseRun) => Effect.Effect<void>): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      const phase = new PhaseRun(name, this.around, this.share(name), this.record.early.splice(0))
      this.record.phases.push(phase)
      this.running = phase
      yield* this.enter(name)
      // A hook that hangs must leave time for the finalizers of the application, which come behind the hooks.
      const longest = name === "releasing" && this.options.scope !== undefined ? phase.remaining / 2 : phase.remaining
      for (const { budget = longest, label, owner, run: hook } of Array.from(this.hooks.get(name)!)) {
        yield* phase.fork({ kind: "hook", label, owner, budget: Math.min(budget, longest) }, hook)
      }
      yield* run(phase)
      phase.end()
    })
  }

  /** What is known of a fiber that did not end in its time. */
  private detailOf(fiber: Fiber.RuntimeFiber<unknown, unknown>): string | undefined {
    if (fiber !== this.starting?.fiber) return undefined
    const span = spanOf(fiber)
    return `its start did not end${span === undefined ? "" : `, in ${span.name}`}`
  }

  /** Admitted work has as long as draining has; what is left then is interrupted. */
  private drained(phase: PhaseRun): Effect.Effect<void> {
    const others = () => Array.from(this.working).filter(({ fiber }) => !this.carries(fiber))
    return Effect.map(phase.until(() => this.working.size === 0 || others().length === 0), () => {
      for (const { fiber, owner, since, what } of others()) {
        const detail = `in progress for ${round(this.timer.unsafeNow() - since)} ms`
        phase.listInterrupted(fiber, { kind: "admitted", label: what, owner, detail })
      }
    })
  }

  /** Whether it runs this shutdown, or waits for the fiber that does: it cannot end before it. */
  private carries(fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean {
    const { self } = this.record
    return self !== undefined && isWithin(self, fiber)
  }

  private stop(phase: PhaseRun, which: (entry: FiberRegistry.Entry) => boolean) {
    for (const entry of this.registry.unsafeCensus()) {
      if (entry.kind === "cleanup" || !which(entry)) continue
      const owner = entry.owner.slice(0, -1)
      this.stopFiber(phase, entry.fiber, {
        kind: "fiber",
        label: entry.name,
        owner,
        supervisor: entry.kind === "supervisor"
      })
    }
  }

  private stopAdmitted(phase: PhaseRun) {
    for (const { fiber, owner, what } of this.working) {
      this.stopFiber(phase, fiber, { kind: "admitted", label: what, owner })
    }
  }

  private stopFiber(phase: PhaseRun, fiber: Fiber.RuntimeFiber<unknown, unknown>, options: WaitingOptions) {
    if (this.targeted.has(fiber) || this.carries(fiber)) return
    this.targeted.add(fiber)
    phase.waitFor(fiber, options)
    fiber.unsafeInterruptAsFork(this.record.self?.id() ?? FiberId.none)
  }

  /** The scope, behind what a start that hangs has built and not handed over. */
  private withStarted(scope: Scope.CloseableScope): Effect.Effect<Scope.CloseableScope> {
    const open = Array.from(this.starting?.scopes ?? []).filter((one) => one !== scope && !Scopes.isClosed(one))
    if (open.length === 0) return Effect.succeed(scope)
    return Effect.tap(
      Scope.make(),
      (all) =>
        Effect.forEach(
          [scope, ...open],
          (one) => Scope.addFinalizerExit(all, (exit) => Scope.close(one as Scope.CloseableScope, exit))
        )
    )
  }

  private release(phase: PhaseRun, reason: ShutdownReason): Effect.Effect<void> {
    const { scope } = this.options
    if (scope === undefined) return Effect.void
    return Effect.gen(this, function*() {
      const exit = Report.isFailure(reason) ? Exit.die(reason) : Exit.void
      const budget = Duration.millis(phase.remaining * 0.95)
      const all = yield* this.withStarted(scope)
      const close = Effect.tap(Cleanup.closeScope(all, exit, { label: scopeLabel, budget }), (outcome) => {
        this.record.scopeOutcome = outcome
      })
      yield* phase.fork(
        { kind: "scope", label: scopeLabel, owner: [] },
        Effect.provideService(close, Cleanup.BudgetClock, this.timer)
      )
      yield* phase.settled()
    })
  }
}
