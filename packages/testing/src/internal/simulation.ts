/**
 * One run of one program under one seed: the scheduler, the clock, the generator of chance and the trace. The program's
 * fibers are driven synchronously, one task at a time; between tasks, and by forced yields between any two operations,
 * the strategy chooses who goes on.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as HashSet from "effect/HashSet"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Runtime from "effect/Runtime"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Globals from "./globals.js"
import * as Hooks from "./hooks.js"
import * as Place from "./place.js"
import * as Prng from "./prng.js"
import * as Timers from "./timers.js"
import { VirtualClock } from "./virtualClock.js"

export type Strategy =
  | { readonly _tag: "Random"; readonly preemption: number }
  | { readonly _tag: "Pct"; readonly depth: number; /** operations of a run, more or less */ readonly length: number }

export interface Settings {
  readonly seed: number
  readonly strategy: Strategy
  readonly maxOperations: number
  readonly maxMillis: number
  readonly settleMillis: number
  readonly leaks: boolean
  readonly external: "forbid" | "await"
  /** keep every event, places and log lines: for replays */
  readonly full: boolean
  readonly refs: ReadonlyArray<readonly [FiberRef.FiberRef<Option.Option<number>>, Option.Option<number>]>
}

/**
 * `run`: the fiber goes on · `line`: it is at a `yield*` · `preempt`: another one may come between · `fork`, `exit`: of
 * fibers · `clock`: virtual time passes · `log`: a log line · `fault`: an injected fault fires · `escape`: something left
 * the simulation.
 */
export type Kind = "run" | "line" | "preempt" | "fork" | "exit" | "clock" | "log" | "fault" | "escape"

export interface Event {
  readonly step: number
  /** virtual milliseconds since the start */
  readonly at: number
  readonly kind: Kind
  /** number of the fiber in order of birth; the program is 0; -1 for what no fiber does */
  readonly fiber: number
  readonly detail: string
  /** `file:line` of a line and of a fork, when known */
  readonly place: string | undefined
}

export interface FaultCount {
  readonly evaluated: number
  readonly fired: number
}

export type Verdict = "done" | "blocked" | "livelock" | "leaked"

export interface Result<A, E> {
  readonly verdict: Verdict
  readonly exit: Exit.Exit<A, E> | undefined
  readonly steps: number
  readonly operations: number
  readonly millis: number
  readonly fingerprint: string
  readonly events: ReadonlyArray<Event>
  /** names of the fibers of a replay, by number, as far as they have one */
  readonly names: ReadonlyMap<number, string>
  readonly faults: ReadonlyMap<string, FaultCount>
  readonly escapes: ReadonlyArray<string>
  readonly dump: ReadonlyArray<string>
  readonly places: ReadonlyArray<string>
}

/** The moment at which every simulation starts. */
export const epoch = 1_735_689_600_000

interface Task {
  readonly run: () => void
  readonly fiber: FiberState | undefined
  priority: number
}

interface FiberState {
  readonly raw: Hooks.RawFiber
  readonly index: number
  readonly parent: number
  readonly forkedAt: Place.Place | undefined
  priority: number
  /** operations that run before the next preemption: those of the forced yield itself */
  skip: number
}

const drainEvery = 4_096

const nextTick: () => Promise<void> = () => new Promise((resolve) => process.nextTick(resolve))

export class Simulation<A, E> implements Scheduler.Scheduler, Globals.Host {
  readonly [Hooks.simulation]: "placed" | "unplaced"
  private readonly chooser: Prng.Prng
  readonly random: Prng.Prng
  private readonly ready: Array<Task> = []
  private readonly timers = new Timers.Timers()
  private millis = 0
  private steps = 0
  private operations = 0
  private spent = 0
  private drained = 0
  private born = 0
  private counter = 0
  private references = new Map<string, unknown>()
  private hash = 0x811c9dc5
  private readonly events: Array<Event> = []
  private readonly names = new Map<number, string>()
  private readonly faults = new Map<string, FaultCount>()
  private readonly escapes: Array<string> = []
  private readonly fibers = new Map<Hooks.RawFiber, FiberState>()
  /** fibers that have ended may still be told something: an interrupt that came too late, a question */
  private readonly over = new WeakMap<Hooks.RawFiber, FiberState>()
  private readonly scopes = new Set<Hooks.RawScope>()
  private phase: "idle" | "driving" | "draining" | "over" = "idle"
  private preempting = true
  private exhausted = false
  private topReady = -1
  private lastRaw: unknown = undefined
  private lastState: FiberState | undefined = undefined
  private readonly changePoints: Array<number> = []
  private readonly preemption: number
  private readonly pct: boolean
  private readonly globals: Globals.VirtualGlobals
  private readonly services: Context.Context<never>
  private wake: (() => void) | undefined = undefined

  constructor(private readonly settings: Settings) {
    const { seed, strategy } = settings
    this[Hooks.simulation] = settings.full ? "placed" : "unplaced"
    this.chooser = Prng.make(seed, "schedule")
    this.random = Prng.make(seed, "globals")
    this.pct = strategy._tag === "Pct"
    this.preemption = strategy._tag === "Random" ? Math.floor(strategy.preemption * 0x1_0000_0000) : 0
    if (strategy._tag === "Pct") {
      for (let i = 1; i < strategy.depth; i++) {
        this.changePoints.push(1 + this.chooser.below(strategy.length))
      }
      this.changePoints.sort((a, b) => b - a)
    }
    this.globals = Globals.make(this)
    this.services = Context.empty().pipe(
      Context.add(Clock.Clock, new VirtualClock(this)),
      Context.add(Random.Random, Random.make(`holdfast-${seed}`))
    ) as Context.Context<never>
  }

  now = (): number => epoch + this.millis

  after = (millis: number, task: () => void): () => void =>
    millis >= Globals.never ? () => {} : this.timers.add(this.millis + Math.max(0, millis), task)

  // ---- Scheduler

  scheduleTask(run: Scheduler.Task, _priority: number, raw?: Fiber.RuntimeFiber<unknown, unknown>): void {
    if (this.phase === "over") {
      Scheduler.defaultScheduler.scheduleTask(run, _priority, raw)
      return
    }
    if (this.phase === "idle") {
      this.escape("a fiber was resumed from outside the simulation (a real timer, a socket, a file, another fiber)")
    }
    const fiber = raw === undefined ? undefined : this.stateOf(raw as unknown as Hooks.RawFiber)
    this.push({ run, fiber, priority: fiber?.priority ?? (this.pct ? 1 + this.chooser.float() : 0) })
    this.wake?.()
  }

  private push(task: Task) {
    this.ready.push(task)
    if (task.priority > this.topReady) this.topReady = task.priority
  }

  shouldYield(raw: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    this.operations++
    if (++this.spent > this.settings.maxOperations) {
      this.exhausted = true
      return yieldPlain
    }
    if (!this.preempting) return false
    const fiber = raw === this.lastRaw ? this.lastState! : this.stateOf(raw as unknown as Hooks.RawFiber)
    if (fiber.skip > 0) {
      fiber.skip--
      return false
    }
    if (this.pct && this.spent < this.settings.maxOperations / 2) {
      const points = this.changePoints
      while (points.length > 0 && points[points.length - 1]! <= this.operations) {
        points.pop()
        fiber.priority = points.length / 1_000
      }
      if (this.topReady <= fiber.priority) return false
    } else if (this.ready.length === 0 || this.chooser.uint32() >= (this.pct ? half : this.preemption)) {
      return false
    }
    fiber.skip = 2
    this.note("preempt", fiber.index)
    return yieldPlain
  }

  private stateOf(raw: Hooks.RawFiber): FiberState {
    let fiber = this.fibers.get(raw) ?? this.over.get(raw)
    if (fiber === undefined) {
      // a fiber from outside that was given this scheduler
      fiber = this.adopt(raw, undefined)
    }
    this.lastRaw = raw
    this.lastState = fiber
    return fiber
  }

  private adopt(raw: Hooks.RawFiber, parent: Hooks.RawFiber | undefined): FiberState {
    const fiber: FiberState = {
      raw,
      index: this.born++,
      parent: parent === undefined ? -1 : this.fibers.get(parent)?.index ?? -1,
      forkedAt: this.settings.full
        ? parent === undefined ? Place.here(14) : Hooks.placeOf(parent)
        : undefined,
      priority: this.pct ? 1 + this.chooser.float() : 0,
      skip: 0
    }
    this.fibers.set(raw, fiber)
    return fiber
  }

  // ---- observation

  private onFiber = (raw: Hooks.RawFiber, parent: Hooks.RawFiber | undefined): void => {
    if (this.phase !== "driving" && this.phase !== "draining") return
    if (raw.currentScheduler === Scheduler.defaultScheduler) {
      if (this.phase === "draining") return
      // runFork, runPromise or a runtime of before: without this it would run on the microtask queue, out of reach
      const fiber = this.adopt(raw, parent)
      this.escape(`a fiber was started on the default runtime`, raw)
      raw.setFiberRef(FiberRef.currentScheduler, this)
      raw.setFiberRef(DefaultServices.currentServices, this.merge(raw.currentDefaultServices))
      this.note("fork", fiber.parent, `#${fiber.index}`)
    } else if (raw.currentScheduler === this as unknown as Scheduler.Scheduler) {
      const fiber = this.adopt(raw, parent)
      this.note("fork", fiber.parent, `#${fiber.index}`, parent)
    }
  }

  private onFiberEnd = (raw: Hooks.RawFiber, exit: Exit.Exit<unknown, unknown>): void => {
    const fiber = this.fibers.get(raw)
    if (fiber === undefined) return
    this.note("exit", fiber.index, exit._tag)
    this.fibers.delete(raw)
    this.over.set(raw, fiber)
    if (this.lastRaw === raw) this.lastRaw = undefined
  }

  private merge(services: Context.Context<never>): Context.Context<DefaultServices.DefaultServices> {
    return Context.merge(services, this.services) as Context.Context<DefaultServices.DefaultServices>
  }

  private onScopeOpen = (scope: Hooks.RawScope, raw: Hooks.RawFiber | undefined): void => {
    if (this.phase === "driving" && raw !== undefined && this.fibers.has(raw)) this.scopes.add(scope)
  }

  private onScopeClose = (scope: Hooks.RawScope): void => {
    this.scopes.delete(scope)
  }

  private escape(what: string, raw?: Hooks.RawFiber) {
    const place = Place.show(raw === undefined ? undefined : Place.here(30))
    const text = place === undefined ? what : `${what} at ${place}`
    if (!this.escapes.includes(text)) {
      this.escapes.push(text)
      this.note("escape", -1, text)
    }
  }

  private note(kind: Kind, fiber: number, detail = "", placed?: Hooks.RawFiber) {
    let h = Math.imul(this.hash ^ (fiber + 1), 0x01000193)
    h = Math.imul(h ^ kind.charCodeAt(0), 0x01000193)
    this.hash = Math.imul(h ^ (this.millis | 0), 0x01000193)
    if (this.settings.full) {
      const place = placed === undefined ? undefined : Place.show(Hooks.placeOf(placed))
      this.events.push({ step: this.steps, at: this.millis, kind, fiber, detail, place })
    }
  }

  /** Not part of the fingerprint, which is the same when nobody asks for lines. */
  private onPlace = (raw: Hooks.RawFiber, at: Place.Place): void => {
    if (!this.settings.full || this.phase !== "driving") return
    const fiber = this.fibers.get(raw)
    const place = Place.showUser(at)
    if (fiber === undefined || place === undefined) return
    const name = Hooks.nameOf(raw)
    if (name !== undefined) this.names.set(fiber.index, name)
    this.events.push({ step: this.steps, at: this.millis, kind: "line", fiber: fiber.index, detail: "", place })
  }

  private onFault = (point: string, evaluated: boolean, fires: boolean): void => {
    if (this.phase !== "driving") return
    const count = this.faults.get(point)
    this.faults.set(point, {
      evaluated: (count?.evaluated ?? 0) + (evaluated ? 1 : 0),
      fired: (count?.fired ?? 0) + (fires ? 1 : 0)
    })
    if (!fires) return
    const raw = Hooks.currentFiber()
    this.note("fault", raw === undefined ? -1 : this.fibers.get(raw)?.index ?? -1, point)
  }

  // ---- driving

  private choose(): Task {
    const ready = this.ready
    let index = 0
    if (this.pct && this.spent < this.settings.maxOperations / 2) {
      for (let i = 0; i < ready.length; i++) {
        const fiber = ready[i]!.fiber
        if (fiber !== undefined) ready[i]!.priority = fiber.priority
        if (ready[i]!.priority > ready[index]!.priority) index = i
      }
    } else if (ready.length > 1) {
      index = this.chooser.below(ready.length)
    }
    const task = ready[index]!
    ready.splice(index, 1)
    let top = -1
    if (this.pct) { for (const other of ready) if (other.priority > top) top = other.priority }
    this.topReady = top
    return task
  }

  /** Runs ready tasks until none is left, the limit is reached, or it is time to let promises settle. */
  private drive(): void {
    const counter = Hooks.fiberCounter()
    const outside = counter.current
    counter.current = this.counter
    const outer = Hooks.swapReferences(this.references)
    this.globals.enter()
    this.phase = "driving"
    try {
      while (this.ready.length > 0 && !this.exhausted && this.operations - this.drained < drainEvery) {
        const task = this.choose()
        this.steps++
        this.spent++
        this.note("run", task.fiber?.index ?? -1)
        task.run()
      }
    } finally {
      this.phase = "idle"
      this.globals.exit()
      this.references = Hooks.swapReferences(outer)
      this.counter = counter.current
      counter.current = outside
    }
  }

  /** Drives, letting promise callbacks run at points that the program alone decides. */
  private async quiesce(): Promise<void> {
    while (!this.exhausted) {
      this.drive()
      this.phase = "draining"
      await nextTick()
      this.phase = "idle"
      this.drained = this.operations
      if (this.ready.length === 0) return
    }
  }

  private advance(limit: number): boolean {
    const next = this.timers.next()
    if (next === undefined || next > limit) return false
    this.millis = Math.max(this.millis, next)
    this.note("clock", -1)
    for (const run of this.timers.due(this.millis)) {
      this.push({ run, fiber: undefined, priority: this.pct ? 3 : 0 })
    }
    return true
  }

  async run(effect: Effect.Effect<A, E, Scope.Scope>): Promise<Result<A, E>> {
    const stopListening = Hooks.listen({
      onFiber: this.onFiber,
      onFiberEnd: this.onFiberEnd,
      onScopeOpen: this.onScopeOpen,
      onScopeClose: this.onScopeClose,
      onPlace: this.onPlace,
      onFault: this.onFault
    })
    const stopPlaces = this.settings.full ? Hooks.notePlaces() : () => {}
    let exit: Exit.Exit<A, E> | undefined = undefined
    let verdict: Verdict = "done"
    try {
      const start = () => {
        const root = Runtime.runFork(Runtime.defaultRuntime)(Effect.scoped(effect), {
          scheduler: this as unknown as Scheduler.Scheduler,
          immediate: false,
          updateRefs: (refs, fiberId) => this.initialRefs(refs, fiberId)
        })
        root.addObserver((result) => {
          exit = result
        })
      }
      this.push({ run: start, fiber: undefined, priority: 0 })
      const isRunning = () => exit === undefined
      while (isRunning()) {
        await this.quiesce()
        if (!isRunning()) break
        if (this.exhausted) {
          verdict = "livelock"
          break
        }
        if (this.advance(this.settings.maxMillis)) continue
        if (this.timers.next() !== undefined) {
          verdict = "livelock"
          break
        }
        if (this.settings.external === "await" && await this.outside()) continue
        verdict = "blocked"
        break
      }
      if (verdict === "done" && this.settings.leaks) {
        const limit = this.millis + this.settings.settleMillis
        do await this.quiesce()
        while (!this.exhausted && this.live().length > 0 && this.advance(limit))
        if (this.live().length > 0 || this.openScopes().length > 0) verdict = "leaked"
      }
      const result: Result<A, E> = {
        verdict,
        exit,
        steps: this.steps,
        operations: this.operations,
        millis: this.millis,
        fingerprint: (this.hash >>> 0).toString(16).padStart(8, "0"),
        events: this.events.slice(),
        names: this.names,
        faults: this.faults,
        escapes: this.escapes.slice(),
        dump: verdict === "done" ? [] : this.dump(),
        places: verdict === "done" ? [] : this.live().flatMap(placesOf)
      }
      await this.dispose()
      return result
    } finally {
      this.phase = "over"
      stopListening()
      stopPlaces()
    }
  }

  private initialRefs(refs: FiberRefs.FiberRefs, fiberId: FiberId.Runtime): FiberRefs.FiberRefs {
    const set = <X>(fiberRef: FiberRef.FiberRef<X>, value: X) => {
      refs = FiberRefs.updateAs(refs, { fiberId, fiberRef, value })
    }
    set(
      DefaultServices.currentServices,
      this.merge(FiberRefs.getOrDefault(refs, DefaultServices.currentServices) as Context.Context<never>)
    )
    set(FiberRef.currentLoggers, this.settings.full ? HashSet.make(this.logger) : HashSet.empty())
    for (const [ref, value] of this.settings.refs) set(ref, value)
    return refs
  }

  private readonly logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    const raw = Hooks.currentFiber()
    const index = raw === undefined ? -1 : this.fibers.get(raw)?.index ?? -1
    const text = (Array.isArray(message) ? message : [message]).map((part) =>
      typeof part === "string" ? part : part instanceof Error ? part.message : JSON.stringify(part) ?? String(part)
    ).join(" ")
    this.events.push({
      step: this.steps,
      at: this.millis,
      kind: "log",
      fiber: index,
      detail: `${logLevel.label} ${text}`,
      place: undefined
    })
  })

  /** Waits a little of real time for something outside to resume a fiber. */
  private async outside(): Promise<boolean> {
    let timeout: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.wake = resolve
      timeout = setTimeout(resolve, 1_000)
    })
    clearTimeout(timeout)
    this.wake = undefined
    return this.ready.length > 0
  }

  private live(): Array<FiberState> {
    // A fiber that is told something after its end, such as an interrupt that comes too late, is adopted once more.
    return Array.from(this.fibers.values()).filter((fiber) =>
      fiber.raw.unsafePoll() === null && !fiber.raw.getFiberRef(Hooks.isBackground)
    )
  }

  private openScopes(): Array<Hooks.RawScope> {
    return Array.from(this.scopes).filter((scope) => scope.state._tag === "Open" && scope.state.finalizers.size > 0)
  }

  private dump(): ReadonlyArray<string> {
    const lines = this.live().map((fiber) => {
      const waits = fiber.raw._asyncBlockingOn
      const state = this.ready.some((task) => task.fiber === fiber)
        ? "ready"
        : `waits${waits?._tag === "Runtime" ? this.shownId(waits) : ""}`
      const at = Place.show(Hooks.placeOf(fiber.raw))
      const forked = Place.show(fiber.forkedAt)
      return `#${fiber.index}${nameOf(fiber.raw)} ${state}${at === undefined ? "" : ` at ${at}`}${
        fiber.parent < 0 ? "" : `, forked by #${fiber.parent}${forked === undefined ? "" : ` at ${forked}`}`
      }`
    })
    const open = this.openScopes()
    if (open.length > 0) {
      const finalizers = open.reduce(
        (n, scope) => n + (scope.state._tag === "Open" ? scope.state.finalizers.size : 0),
        0
      )
      lines.push(
        `${open.length} open scope${open.length === 1 ? "" : "s"} with ${finalizers} finalizer${
          finalizers === 1 ? "" : "s"
        } that did not run`
      )
    }
    return lines
  }

  private shownId(id: FiberId.Runtime): string {
    for (const fiber of this.fibers.values()) {
      if (fiber.raw.id().id === id.id) return ` for what #${fiber.index} made`
    }
    return ""
  }

  /** Ends what the run left: nothing of a simulation may live on in the process. */
  private async dispose(): Promise<void> {
    this.preempting = false
    for (let round = 0; round < 3 && this.fibers.size > 0; round++) {
      this.exhausted = false
      this.spent = this.settings.maxOperations - 20_000
      for (const fiber of this.live()) fiber.raw.unsafeInterruptAsFork(FiberId.none)
      this.phase = "draining"
      await this.quiesce()
    }
    const roots = Hooks.globalRoots()
    for (const raw of this.fibers.keys()) roots.delete(raw)
    this.ready.length = 0
    this.timers.clear()
  }
}

/** Told `undefined`, the run loop yields plainly; a number would cost ten operations of setting a priority and back. */
const yieldPlain = undefined as unknown as number
const half = 0x8000_0000

const placesOf = ({ forkedAt, raw }: FiberState): ReadonlyArray<string> =>
  Option.toArray(Option.fromNullable(Place.show(Hooks.placeOf(raw), forkedAt)))

const nameOf = (raw: Hooks.RawFiber): string => {
  const name = Hooks.nameOf(raw)
  return name === undefined ? "" : ` ${name}`
}
