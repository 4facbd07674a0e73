/**
 * A live census of fibers: who runs, on whose behalf, since when, and what has lately ended.
 *
 * The registry observes, it owns nothing: a fiber belongs to the `Scope` it was forked in, and ends with it. Forking
 * through `forkScoped` or `forkIn` adds a name, a kind and an owner path, for a fifth to a quarter of what a fork and a
 * join cost; no `Supervisor` is involved.
 *
 * Guarantees
 * - A tracked fiber is in the census from the moment the forking effect returns until the moment its exit is known,
 *   and in no case longer. What has ended is kept in a bounded ring (`endedCapacity`, 256 by default).
 * - What users fork inside a tracked fiber is seen at dump time: children are walked, and root fibers are attributed by
 *   the owner path that they inherit (`currentOwner`).
 * - A crash (any failure that is not an interrupt alone) of a tracked fiber is logged at `Error` level with its `Cause`,
 *   name and owner path, and published to `crashes`.
 *
 * Limits
 * - An untracked fiber is seen only while it lives: its start, its end and its crash leave no trace here.
 * - A fiber that was started outside every owner (`Effect.runFork` at the top level) has an empty owner path.
 * - Untracked fibers, status and the state of scopes are read from fields that `effect` keeps private (3.22), and a fork
 *   takes the step of Effect's own fork directly. All of it is in this module and
 *   `internal/fibers`, and the tests fail when a release moves it.
 * - `startedAt` and `endedAt` are wall-clock milliseconds, for people. Ages are monotonic, also under `TestClock`, since a
 *   fiber's age is a fact of the process. That of an untracked fiber is taken from effect's own stamp, which is of the wall
 *   clock, when it is first seen, and is monotonic from then on.
 *
 * @since 0.1.0
 */
import { Cause, Context, Effect, Exit, FiberId, FiberRef, FiberRefs, Layer, Runtime, RuntimeFlags, Scope } from "effect"
import type { Fiber, FiberStatus, Stream } from "effect"
import { dual } from "effect/Function"
import * as Census from "./FiberCensus.js"
import type {
  Counts,
  CrashReport,
  Ended,
  Entry,
  FiberKind,
  Node,
  OwnerPath,
  Ownership,
  RenderOptions,
  Status
} from "./FiberCensus.js"
import * as Feed from "./internal/feed.js"
import { logCrash } from "./internal/fibers/crashLog.js"
import { internals } from "./internal/fibers/fiberState.js"
import * as Owner from "./internal/fibers/owner.js"
import { survey } from "./internal/fibers/survey.js"
import type { Survey } from "./internal/fibers/survey.js"
import * as InvalidOption from "./InvalidOption.js"
import * as Monotonic from "./Monotonic.js"

export type {
  /** @since 0.1.0 */
  Counts,
  /** @since 0.1.0 */
  CrashReport,
  /** @since 0.1.0 */
  Ended,
  /** @since 0.1.0 */
  Entry,
  /** @since 0.1.0 */
  FiberKind,
  /** @since 0.1.0 */
  Node,
  /** @since 0.1.0 */
  OwnerPath,
  /** @since 0.1.0 */
  Ownership,
  /** @since 0.1.0 */
  RenderOptions,
  /** @since 0.1.0 */
  Status
}

/**
 * The name of a fiber, and what else the census shows of it.
 *
 * @since 0.1.0
 * @category options
 */
export interface ForkOptions {
  /** The last segment of the owner path. It need not be unique. */
  readonly name: string
  /** Default `"worker"`. */
  readonly kind?: FiberKind | undefined
  /** How often this fiber's role has been started again before. Default 0. */
  readonly restarts?: number | undefined
  /** Why the former incarnation of this role ended. */
  readonly lastFailure?: Cause.Cause<unknown> | undefined
  /** The fiber is stopped and started by a supervisor: nobody else should end it. Default false. */
  readonly supervised?: boolean | undefined
  /** `"silent"` leaves the crash report to the caller (a supervisor adds what it decided). Default `"report"`. */
  readonly crash?: "report" | "silent" | undefined
}

/**
 * A fiber that started or ended.
 *
 * @since 0.1.0
 * @category models
 */
export type Change =
  | {
    readonly _tag: "Started"
    readonly id: string
    readonly name: string
    readonly kind: FiberKind
    readonly owner: OwnerPath
    readonly startedAt: number
    readonly restarts: number
  }
  | { readonly _tag: "Ended"; readonly ended: Ended }

/**
 * The census: who lives, who owns them, who crashed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The tracked fibers, oldest first. */
  readonly census: Effect.Effect<ReadonlyArray<Entry>>
  /** The live fibers under this registry that were forked past it: children, daemons, workers of `forEach`. */
  readonly untracked: Effect.Effect<ReadonlyArray<Entry>>
  /** Everything, tracked and not, as a forest. */
  readonly tree: Effect.Effect<ReadonlyArray<Node>>
  /** The forest as text, with the recently ended fibers below. */
  readonly dump: Effect.Effect<string>
  readonly counts: Effect.Effect<Counts>
  /** Starts and ends from now on. A subscriber that is more than 1024 changes behind loses the oldest ones. */
  readonly changes: Stream.Stream<Change>
  /** Crashes from now on. A subscriber that is more than 256 reports behind loses the oldest ones. */
  readonly crashes: Stream.Stream<CrashReport>
  /** The last fibers that ended, oldest first, bounded. */
  readonly ended: Effect.Effect<ReadonlyArray<Ended>>
  readonly unsafeCensus: () => ReadonlyArray<Entry>
  readonly unsafeUntracked: () => ReadonlyArray<Entry>
  /** The census and the untracked fibers of one moment, by one look at all of them. */
  readonly unsafeSurvey: () => { readonly tracked: ReadonlyArray<Entry>; readonly untracked: ReadonlyArray<Entry> }
  /** The tracked fibers of one kind, oldest first. Nothing else is looked at. */
  readonly unsafeFibers: (kind: FiberKind) => ReadonlyArray<Fiber.RuntimeFiber<unknown, unknown>>
  readonly unsafeTree: () => ReadonlyArray<Node>
  readonly unsafeDump: (options?: RenderOptions) => string
  readonly unsafeCounts: () => Counts
  readonly unsafeEnded: () => ReadonlyArray<Ended>
  /** Logs and publishes a crash that `ForkOptions.crash` kept silent. */
  readonly unsafeReport: (report: CrashReport, fiber: Fiber.RuntimeFiber<unknown, unknown>) => void
  /**
   * Adds a fiber that runs already, and gives it the owner path; it leaves the census when it ends, or when the returned
   * function is called.
   */
  readonly unsafeTrack: (fiber: Fiber.RuntimeFiber<unknown, unknown>, options: ForkOptions) => () => void
}

/**
 * The registry in use. There is one for the process unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class FiberRegistry extends Context.Reference<FiberRegistry>()("@holdfast/core/FiberRegistry", {
  defaultValue: (): Service => unsafeMake()
}) {}

/**
 * The owner path of the running fiber. It is inherited by every fork and never flows back through a join. Set it with
 * `withOwner`: attribution goes by the identity of the array.
 *
 * @since 0.1.0
 * @category references
 */
export const currentOwner: FiberRef.FiberRef<OwnerPath> = Owner.currentOwner

/**
 * Adds a segment to the owner path of everything that is forked inside.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withOwner: {
  (name: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R> => Owner.withOwner(name)(self)
)

/** One tracked fiber. The hot path allocates this, its path and one closure. */
class Tracked {
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined = undefined
  /** On the clock of the process: effect's own stamp is of the wall clock. */
  since = 0
  readonly path: OwnerPath
  constructor(
    readonly registry: Registry,
    readonly options: ForkOptions,
    readonly parentPath: OwnerPath,
    readonly scope: Scope.Scope | undefined
  ) {
    this.path = parentPath.length === 0 ? [options.name] : [...parentPath, options.name]
  }
  /** For a fiber that has not started, or that is the one running. */
  begin(fiber: Fiber.RuntimeFiber<unknown, unknown>) {
    if (fiber.getFiberRef(currentOwner) !== this.path) internals(fiber).setFiberRef(currentOwner, this.path)
    this.fiber = fiber
    this.registry.begin(this)
    fiber.addObserver(this.end)
  }
  readonly end = (exit: Exit.Exit<unknown, unknown>) => this.registry.end(this, exit)
}

class Registry implements Service {
  readonly live = new Set<Tracked>()
  readonly changeFeed = Feed.make<Change>(1024)
  readonly crashFeed = Feed.make<CrashReport>(256)
  readonly ring: Array<Ended> = []
  started = 0
  finished = 0
  crashed = 0

  constructor(readonly endedCapacity: number) {}

  readonly census = Effect.sync(() => this.unsafeCensus())
  readonly untracked = Effect.sync(() => this.unsafeUntracked())
  readonly tree = Effect.sync(() => this.unsafeTree())
  readonly dump = Effect.sync(() => this.unsafeDump())
  readonly counts = Effect.sync(() => this.unsafeCounts())
  readonly ended = Effect.sync(() => this.unsafeEnded())
  readonly changes = this.changeFeed.stream
  readonly crashes = this.crashFeed.stream

  begin(tracked: Tracked) {
    tracked.since = Monotonic.unsafeOfProcess()
    this.live.add(tracked)
    this.started++
    if (this.changeFeed.isHeard()) {
      const { kind = "worker", name, restarts = 0 } = tracked.options
      const id = tracked.fiber!.id()
      const startedAt = id.startTimeMillis
      const change: Change = { _tag: "Started", id: `#${id.id}`, name, kind, owner: tracked.path, startedAt, restarts }
      this.changeFeed.unsafeOffer(change)
    }
  }

  end(tracked: Tracked, exit: Exit.Exit<unknown, unknown>) {
    if (!this.live.delete(tracked)) return
    const fiber = tracked.fiber!
    const id = fiber.id()
    const ageMillis = Math.round(Monotonic.unsafeOfProcess() - tracked.since)
    const crashed = exit._tag === "Failure" && !Cause.isInterruptedOnly(exit.cause)
    const ended: Ended = {
      id: `#${id.id}`,
      name: tracked.options.name,
      kind: tracked.options.kind ?? "worker",
      owner: tracked.path,
      startedAt: id.startTimeMillis,
      endedAt: id.startTimeMillis + ageMillis,
      ageMillis,
      outcome: exit._tag === "Success" ? "success" : crashed ? "failure" : "interrupted",
      cause: exit._tag === "Success" ? undefined : exit.cause,
      restarts: tracked.options.restarts ?? 0
    }
    this.ring[this.finished % this.endedCapacity] = ended
    this.finished++
    if (this.changeFeed.isHeard()) this.changeFeed.unsafeOffer({ _tag: "Ended", ended })
    if (crashed) {
      this.crashed++
      if (tracked.options.crash !== "silent") {
        this.unsafeReport({
          id: ended.id,
          name: ended.name,
          kind: ended.kind,
          owner: ended.owner,
          at: Date.now(),
          ageMillis,
          restarts: ended.restarts,
          cause: exit.cause,
          action: undefined
        }, fiber)
      }
    }
  }

  readonly unsafeReport = (report: CrashReport, fiber: Fiber.RuntimeFiber<unknown, unknown>) => {
    this.crashFeed.unsafeOffer(report)
    logCrash(report, fiber)
  }

  readonly unsafeTrack = (fiber: Fiber.RuntimeFiber<unknown, unknown>, options: ForkOptions) => {
    const tracked = new Tracked(this, options, fiber.getFiberRef(currentOwner), undefined)
    tracked.begin(fiber)
    return () => {
      fiber.removeObserver(tracked.end)
      tracked.end(Exit.void)
    }
  }

  readonly unsafeSurvey = (): Survey =>
    survey(this.live, (root) => Context.get(root.currentContext, FiberRegistry) === this)

  readonly unsafeCensus = (): ReadonlyArray<Entry> => this.unsafeSurvey().tracked

  readonly unsafeUntracked = (): ReadonlyArray<Entry> => this.unsafeSurvey().untracked

  readonly unsafeFibers = (kind: FiberKind): ReadonlyArray<Fiber.RuntimeFiber<unknown, unknown>> => {
    const found: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
    for (const { fiber, options } of this.live) if ((options.kind ?? "worker") === kind) found.push(fiber!)
    return found
  }

  readonly unsafeTree = (): ReadonlyArray<Node> => {
    const { tracked, untracked } = this.unsafeSurvey()
    return Census.make([...tracked, ...untracked])
  }

  readonly unsafeDump = (options?: RenderOptions): string => {
    const { tracked, untracked } = this.unsafeSurvey()
    return Census.render([...tracked, ...untracked], this.unsafeEnded(), this.unsafeCounts(), options)
  }

  readonly unsafeCounts = (): Counts => {
    const byKind: Record<string, number> = {}
    for (const { options } of this.live) byKind[options.kind ?? "worker"] = (byKind[options.kind ?? "worker"] ?? 0) + 1
    return { live: this.live.size, byKind, started: this.started, ended: this.finished, crashed: this.crashed }
  }

  readonly unsafeEnded = (): ReadonlyArray<Ended> => {
    const at = this.finished % this.endedCapacity
    return [...this.ring.slice(at), ...this.ring.slice(0, at)]
  }
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { endedCapacity: 256 } as const

/**
 * A registry of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unsafeMake = (options?: { readonly endedCapacity?: number | undefined }): Service =>
  new Registry(
    InvalidOption.unsafeWhole("FiberRegistry.endedCapacity", options?.endedCapacity ?? defaults.endedCapacity, {
      min: 1
    })
  )

/**
 * A fresh registry for everything that is built on top: what runs elsewhere in the process is not in it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.effectContext(
  Effect.sync(() => Context.make(FiberRegistry, unsafeMake()))
) as Layer.Layer<never>

const registryOf = (context: Context.Context<never>) => Context.get(context, FiberRegistry) as Service as Registry

/**
 * Forks into a scope, and into the census.
 *
 * When the scope is closed already, the fiber is interrupted before its first step.
 *
 * @since 0.1.0
 * @category combinators
 */
export const forkIn: {
  (
    scope: Scope.Scope,
    options: ForkOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    scope: Scope.Scope,
    options: ForkOptions
  ): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R>
} = dual(
  3,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    scope: Scope.Scope,
    options: ForkOptions
  ): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> =>
    Effect.withFiberRuntime((parent, status) => fork(self, scope, options, undefined, parent, status))
)

/** What `Effect.forkIn` and `Effect.forkDaemon` are made of: the step that the runtime calls with the fiber that runs it. */
interface Step<A, E> {
  readonly effect_instruction_i0: (
    parent: Fiber.RuntimeFiber<unknown, unknown>,
    status: FiberStatus.Running
  ) => Exit.Exit<Fiber.RuntimeFiber<A, E>>
}

/**
 * Takes the step of Effect's fork here and now. Between a fork and a `map` behind it the parent may be interrupted or have to
 * yield: the child would then run unseen, for a moment or for good.
 */
const fork = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  scope: Scope.Scope | undefined,
  options: ForkOptions,
  owner: OwnerPath | undefined,
  parent: Fiber.RuntimeFiber<unknown, unknown>,
  status: FiberStatus.Running
) => {
  const registry = registryOf(parent.currentContext)
  const tracked = new Tracked(registry, options, owner ?? parent.getFiberRef(currentOwner), scope)
  const forking = scope === undefined ? Effect.forkDaemon(self) : Effect.forkIn(self, scope)
  Owner.unsafeSetNext(tracked.path)
  try {
    const forked = (forking as unknown as Step<A, E>).effect_instruction_i0(parent, status)
    if (forked._tag === "Success") tracked.begin(forked.value)
    return forked
  } finally {
    // The hook of a `Supervisor` may throw, and an owner of its own is no business of the next fork.
    Owner.unsafeSetNext(undefined)
  }
}

/**
 * Forks into the scope in use, and into the census.
 *
 * @example
 * ```ts
 * import { FiberRegistry } from "@holdfast/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   yield* FiberRegistry.forkScoped(Effect.never, { name: "reader", kind: "session" })
 *   const registry = yield* FiberRegistry.FiberRegistry
 *   return yield* registry.dump
 * }).pipe(FiberRegistry.withOwner("chat"), Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const forkScoped: {
  (
    options: ForkOptions
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | Scope.Scope>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: ForkOptions
  ): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | Scope.Scope>
} = dual(
  2,
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: ForkOptions
  ): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | Scope.Scope> =>
    Effect.withFiberRuntime<Fiber.RuntimeFiber<A, E>, never, R | Scope.Scope>((parent, status) => {
      const scope = Context.get(parent.currentContext as Context.Context<Scope.Scope>, Scope.Scope)
      return fork(self, scope, options, undefined, parent, status)
    })
)

/**
 * Forks what others wait for, as `forkScoped` does, with something that runs when the fiber ends, uninterruptibly and however
 * it ends: also when it is interrupted before its first step. `Effect.onExit` and `Effect.ensuring` inside of a fork do not
 * run then, so that who waits for what they do waits for ever.
 *
 * @example
 * ```ts
 * import { FiberRegistry } from "@holdfast/core"
 * import { Deferred, Effect } from "effect"
 *
 * const loaded = (load: Effect.Effect<string>) =>
 *   Effect.gen(function*() {
 *     const result = yield* Deferred.make<string>()
 *     yield* FiberRegistry.forkFinally(load, { name: "loader" }, (exit) => Deferred.done(result, exit))
 *     // Whether it ends, fails or is interrupted.
 *     return Deferred.await(result)
 *   })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const forkFinally: {
  <A, E, R2>(
    options: ForkOptions,
    onExit: (exit: Exit.Exit<A, E>) => Effect.Effect<unknown, never, R2>
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | R2 | Scope.Scope>
  <A, E, R, R2>(
    self: Effect.Effect<A, E, R>,
    options: ForkOptions,
    onExit: (exit: Exit.Exit<A, E>) => Effect.Effect<unknown, never, R2>
  ): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | R2 | Scope.Scope>
} = dual(3, <A, E, R, R2>(
  self: Effect.Effect<A, E, R>,
  options: ForkOptions,
  onExit: (exit: Exit.Exit<A, E>) => Effect.Effect<unknown, never, R2>
): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | R2 | Scope.Scope> =>
  // It begins uninterruptible, so that it gets as far as the finalizer.
  Effect.uninterruptible(forkScoped(Effect.onExit(Effect.interruptible(self), onExit), options)))

/**
 * Forks outside every scope, and into the census, for a module that bounds the fiber itself. `owner` is the path above the
 * fiber; default the one in use.
 *
 * @since 0.1.0
 * @category combinators
 */
export const forkDaemon: {
  (
    options: ForkOptions,
    owner?: OwnerPath
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: ForkOptions,
    owner?: OwnerPath
  ): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: ForkOptions,
    owner?: OwnerPath
  ): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> =>
    Effect.withFiberRuntime((parent, status) => fork(self, undefined, options, owner, parent, status))
)

/**
 * What `unsafeStart` takes over from the fiber that starts.
 *
 * @since 0.1.0
 * @category options
 */
export interface StartOptions {
  readonly name: string
  /** The path above the fiber. */
  readonly owner: OwnerPath
  /** The references that the fiber begins with. Default: those of `parent`. */
  readonly refs: FiberRefs.FiberRefs | undefined
  readonly interruptible: boolean
  /** Whether its first steps are taken here, before this function returns. */
  readonly immediate: boolean
  /** Adds to the references before the first step. */
  readonly prepare: (refs: FiberRefs.FiberRefs, fiberId: FiberId.Runtime) => FiberRefs.FiberRefs
}

/**
 * Starts a fiber of kind `cleanup` outside every scope, for a module that bounds it itself, as `Cleanup` does. It enters the
 * census when it has not ended with its first steps.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeStart = <A, E>(
  parent: Fiber.RuntimeFiber<unknown, unknown>,
  self: Effect.Effect<A, E>,
  options: StartOptions
): Fiber.RuntimeFiber<A, E> => {
  const fiberRefs = options.refs ?? parent.getFiberRefs()
  const context = FiberRefs.getOrDefault(fiberRefs, FiberRef.currentContext)
  const flags = internals(parent).currentRuntimeFlags
  const registry = registryOf(context)
  const tracked = new Tracked(
    registry,
    { name: options.name, kind: "cleanup", crash: "silent" },
    options.owner,
    undefined
  )
  const runtime = Runtime.make({
    context,
    fiberRefs,
    runtimeFlags: options.interruptible
      ? RuntimeFlags.enable(flags, RuntimeFlags.Interruption)
      : RuntimeFlags.disable(flags, RuntimeFlags.Interruption)
  })
  const fiber = Runtime.runFork(runtime, self, {
    immediate: options.immediate,
    updateRefs: (refs, fiberId) =>
      options.prepare(FiberRefs.updateAs(refs, { fiberId, fiberRef: currentOwner, value: tracked.path }), fiberId)
  })
  if (fiber.unsafePoll() === null) tracked.begin(fiber as Fiber.RuntimeFiber<unknown, unknown>)
  return fiber
}

/**
 * What all fibers of a starter have in common.
 *
 * @since 0.1.0
 * @category options
 */
export interface StarterOptions {
  readonly kind: FiberKind
  readonly interruptible: boolean
}

/**
 * Starts fibers for a server, which has one for each request: as `Runtime.runFork` does, with a name in the census and the
 * context that is given. With `immediate` its first steps are taken before the function returns.
 *
 * What every fiber of the runtime begins with is made once: `runFork`, with the owner and the context set afterwards, copies
 * all references four times.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeStarter = (runtime: Runtime.Runtime<never>, options: StarterOptions) => {
  const { interruptible, kind } = options
  const registry = registryOf(runtime.context)
  const owner = FiberRefs.getOrDefault(runtime.fiberRefs, currentOwner)
  const inherited = FiberRefs.forkAs(runtime.fiberRefs, FiberId.unsafeMake()).locals
  const bare = Runtime.make({
    context: runtime.context,
    fiberRefs: FiberRefs.empty(),
    runtimeFlags: interruptible
      ? RuntimeFlags.enable(runtime.runtimeFlags, RuntimeFlags.Interruption)
      : RuntimeFlags.disable(runtime.runtimeFlags, RuntimeFlags.Interruption)
  })
  return <A, E>(
    self: Effect.Effect<A, E>,
    name: string,
    context: Context.Context<never> = runtime.context,
    immediate = true
  ): Fiber.RuntimeFiber<A, E> => {
    const tracked = new Tracked(registry, { name, kind }, owner, undefined)
    const tracking = Effect.withFiberRuntime<A, E>((fiber) => {
      tracked.begin(fiber as Fiber.RuntimeFiber<unknown, unknown>)
      return self
    })
    return Runtime.runFork(bare, tracking, {
      immediate,
      updateRefs: (_, fiberId) => {
        const locals = new Map(inherited)
        locals.set(FiberRef.currentContext, [[fiberId, context]])
        locals.set(currentOwner, [[fiberId, tracked.path]])
        return FiberRefs.unsafeMake(locals)
      }
    })
  }
}

/**
 * Enters the fiber that runs `self` into the census for as long as `self` runs: for fibers that somebody else forks, such
 * as those of a server's requests.
 *
 * @since 0.1.0
 * @category combinators
 */
export const track = (options: ForkOptions) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) => {
    const tracked = new Tracked(registryOf(fiber.currentContext), options, fiber.getFiberRef(currentOwner), undefined)
    return Effect.onExit(
      Effect.locally(
        Effect.suspend(() => {
          tracked.fiber = fiber
          tracked.registry.begin(tracked)
          return self
        }),
        currentOwner,
        tracked.path
      ),
      (exit) => Effect.sync(() => tracked.end(exit))
    )
  })
