/**
 * One run of one program: the scheduler, the clock, the generator of chance. The program's fibers are driven one task at a
 * time; between tasks, and by forced yields between any two operations, a chooser decides who goes on. What it sees is
 * written down by the recorder.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as HashSet from "effect/HashSet"
import type * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import * as Runtime from "effect/Runtime"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import { AsyncLocalStorage } from "node:async_hooks"
import * as Hooks from "../hooks.js"
import * as Place from "../place.js"
import * as Prng from "../prng.js"
import * as Choose from "./chooser.js"
import * as Dump from "./dump.js"
import * as Globals from "./globals.js"
import * as Outside from "./outside.js"
import { Recorder } from "./recorder.js"
import * as Schedule from "./schedule.js"
import * as Timers from "./timers.js"
import type { Chooser, FiberState, Result, Settings, Task, Verdict, World } from "./types.js"

import { keyOf } from "./types.js"
import { VirtualClock } from "./virtualClock.js"
import * as Waits from "./waits.js"
import * as Where from "./where.js"

/** The moment at which every simulation starts. */
export const epoch = 1_735_689_600_000

const drainEvery = 4_096
const maxTicks = 16
/** real milliseconds that the world outside has, when nothing else can go on */
const patience = 1_000
/** and that it has for a promise of which nobody knows what it waits for */
const promisePatience = 100

const nextTick: () => Promise<void> = () => new Promise((resolve) => Globals.real.nextTick(resolve))
const nextTurn: () => Promise<void> = () => new Promise((resolve) => Globals.real.setImmediate(resolve))

export class Simulation<A, E> implements Scheduler.Scheduler, Globals.Host, World {
  readonly [Hooks.simulation]: "placed" | "unplaced"
  readonly random: Prng.Prng
  readonly jsTimers = new Set<Globals.VirtualTimer>()
  readonly ready: Array<Task> = []
  operations = 0
  hasPromises = false
  private readonly timers = new Timers.Timers()
  private millis = 0
  private paused = 0
  private spent = 0
  private drained = 0
  private born = 0
  private roots = 0
  private strayTimers = 0
  private counter = 0
  private references = new Map<string, unknown>()
  private readonly fibers = new Map<Hooks.RawFiber, FiberState>()
  /** fibers that have ended may still be told something: an interrupt that came too late, a question */
  private readonly over = new WeakMap<Hooks.RawFiber, FiberState>()
  private readonly scopes = new Set<Hooks.RawScope>()
  private phase: "idle" | "driving" | "draining" | "over" = "idle"
  private cutting = true
  private exhausted = false
  private uncaught: { readonly error: unknown; readonly what: string } | undefined = undefined
  private lastRaw: unknown = undefined
  private lastState: FiberState | undefined = undefined
  private previous: Task | undefined = undefined
  private wasCut = false
  private turn = 0
  private readonly chooser: Chooser
  private readonly recorder: Recorder
  private readonly services: Context.Context<never>
  private readonly loggers: HashSet.HashSet<Logger.Logger<unknown, void>>
  private outside: Outside.Outside | undefined = undefined
  private where: Where.Where | undefined = undefined
  private readonly bell = new Outside.Bell()
  private exit: Exit.Exit<A, E> | undefined = undefined

  constructor(private readonly settings: Settings) {
    const { chooser, full, seed } = settings
    this[Hooks.simulation] = full ? "placed" : "unplaced"
    this.chooser = chooser
    this.random = Prng.make(seed, "globals")
    this.recorder = new Recorder(full)
    // made here, since a set draws a random hash for what it holds: the program's chance is not to depend on `full`
    this.loggers = full ? HashSet.make(this.recorder.logger(this.indexNow, () => this.millis)) : HashSet.empty()
    this.services = Context.empty().pipe(
      Context.add(Clock.Clock, new VirtualClock(this)),
      Context.add(Random.Random, Random.make(`holdfast-${seed}`))
    ) as Context.Context<never>
  }

  // ---- Host: time, chance and promises for plain JavaScript

  now = (): number => epoch + this.millis

  after = (millis: number, task: () => void): () => void => {
    const raw = Hooks.currentFiber()
    const owner = raw === undefined ? undefined : this.fibers.get(raw)
    const nth = owner === undefined ? this.strayTimers++ : owner.timers++
    if (millis >= Globals.never) return () => {}
    return this.timers.add(this.millis + Math.max(0, millis), task, owner, nth)
  }

  onPromise = (): void => {
    this.hasPromises = true
    Waits.note(aPromise)
  }

  onUncaught = (error: unknown, what: string): void => {
    this.uncaught ??= { error, what }
    this.bell.ring()
  }

  // ---- World: what the chooser sees

  canPause = (): boolean => {
    if (this.settings.pauseMillis === 0) return false
    const next = this.timers.next()
    return next !== undefined && this.paused + Math.max(0, next - this.millis) <= this.settings.pauseMillis
  }

  get isLate(): boolean {
    return this.spent > this.settings.maxOperations / 2
  }

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
    const priority = fiber?.priority ?? this.chooser.priority()
    this.ready.push({ run, fiber, owner: undefined, nth: 0, priority })
    this.bell.ring()
  }

  shouldYield(raw: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    this.operations++
    if (++this.spent > this.settings.maxOperations) {
      this.exhausted = true
      return yieldPlain
    }
    const fiber = raw === this.lastRaw ? this.lastState! : this.stateOf(raw as unknown as Hooks.RawFiber)
    if (fiber.skip > 0) {
      fiber.skip--
      return false
    }
    fiber.operations++
    if (!this.cutting || (this.ready.length === 0 && !this.canPause()) || !this.chooser.cuts(fiber, this)) return false
    fiber.skip = 2
    this.wasCut = true
    this.recorder.note("cut", fiber.index, this.millis, `${fiber.operations - fiber.toldAt - 1}`, fiber.within)
    return yieldPlain
  }

  /** Told by the hooks of each operation that can touch shared state. */
  onStep = (raw: Hooks.RawFiber): void => {
    this.recorder.touch(raw === this.lastRaw ? this.lastState! : this.stateOf(raw))
  }

  private stateOf(raw: Hooks.RawFiber): FiberState {
    // a fiber from outside may be given this scheduler
    const fiber = this.fibers.get(raw) ?? this.over.get(raw) ?? this.adopt(raw, undefined)
    this.lastRaw = raw
    this.lastState = fiber
    return fiber
  }

  private adopt(raw: Hooks.RawFiber, parentRaw: Hooks.RawFiber | undefined): FiberState {
    const { full } = this.settings
    const parent = parentRaw === undefined ? undefined : this.fibers.get(parentRaw)
    const nth = parent === undefined ? this.roots++ : parent.children++
    const fiber: FiberState = {
      raw,
      index: this.born++,
      parent,
      nth,
      keyHash: Math.imul((parent?.keyHash ?? 7) ^ (nth + 1), 0x9e3779b1) >>> 0,
      forkedAt: full ? parentRaw === undefined ? Place.here(14) : Hooks.placeOf(parentRaw) : undefined,
      context: undefined,
      children: 0,
      timers: 0,
      operations: 0,
      lineAt: 0,
      toldPlace: undefined,
      toldAt: 0,
      within: undefined,
      skipped: undefined,
      priority: this.chooser.priority(),
      skip: 0,
      script: undefined,
      waits: "",
      noted: undefined,
      visits: full ? new Map() : noVisits,
      line: undefined
    }
    const { anchored, script } = this.chooser
    if (script !== undefined) Schedule.give(fiber, script.get(keyOf(fiber)), anchored === true)
    this.fibers.set(raw, fiber)
    if (full) {
      this.recorder.number(raw.id().id, fiber.index)
    }
    if (full || this.settings.external === "await") {
      Waits.observe(fiber, this.observer, this.settings.told ? this.calls : undefined)
    }
    return fiber
  }

  private readonly calls: Waits.Calls = {
    onCall: (fiber, fn) => {
      if (this.phase !== "driving" || !this.cutting) return
      const found = this.where?.of(fn)
      if (found === undefined) return
      if (found.isUser) this.recorder.called(fiber, found.place, this.millis)
      else fiber.within = found.place
    },
    onSkip: (fiber, fn) => {
      if (this.phase !== "driving" || !this.cutting || fiber.skipped?.isUser === true) return
      const found = this.where?.ahead(fn)
      if (found !== undefined && (found.isUser || fiber.skipped === undefined)) fiber.skipped = found
    }
  }

  private readonly observer: Waits.Observer = {
    onPipe: (fiber, at) => {
      if (this.phase !== "driving") return
      const place = Place.showUser(at)
      if (place !== this.recorder.lineOf(fiber)) this.recorder.line(fiber, place, this.millis, this.chooser)
    },
    onInterrupt: (fiber) => {
      const raw = Hooks.currentFiber()
      const by = raw === undefined ? undefined : this.fibers.get(raw)
      if (by !== undefined && by !== fiber && this.phase === "driving" && this.cutting) {
        this.recorder.tell("interrupt", by.index, this.millis, `#${fiber.index}`)
      }
    },
    onWake: (fiber) => {
      if (!this.settings.full || this.phase !== "driving" || !this.cutting) return
      const raw = Hooks.currentFiber()
      // one that has ended is told to have ended
      if (raw !== undefined && raw.unsafePoll() !== null) return
      const by = raw === undefined ? undefined : this.fibers.get(raw)
      const from = fiber.waits.startsWith("a sleep") ? ` from ${fiber.waits}` : ""
      if (by !== fiber) this.recorder.tell("wake", by?.index ?? -1, this.millis, `#${fiber.index}${from}`)
    }
  }

  // ---- observation

  private onFiber = (raw: Hooks.RawFiber, parent: Hooks.RawFiber | undefined): void => {
    if (this.phase === "over" || Globals.governing() !== this) return
    if (raw.currentScheduler === Scheduler.defaultScheduler) {
      // runFork, runPromise or a runtime of before: without this it would run on the microtask queue, out of reach
      const fiber = Object.assign(this.adopt(raw, parent), { context: AsyncLocalStorage.snapshot() as never })
      this.escape(`a fiber was started on the default runtime`, raw)
      raw.setFiberRef(FiberRef.currentScheduler, this)
      raw.setFiberRef(DefaultServices.currentServices, this.merge(raw.currentDefaultServices))
      this.recorder.note("fork", fiber.parent?.index ?? -1, this.millis, `#${fiber.index}`)
    } else if (raw.currentScheduler === this as unknown as Scheduler.Scheduler) {
      const fiber = this.adopt(raw, parent)
      if (fiber.parent?.context !== undefined) Object.assign(fiber, { context: fiber.parent.context })
      const place = parent === undefined || !this.settings.full ? undefined : Place.show(Hooks.placeOf(parent))
      this.recorder.note("fork", fiber.parent?.index ?? -1, this.millis, `#${fiber.index}`, place)
    }
  }

  private onFiberEnd = (raw: Hooks.RawFiber, exit: Exit.Exit<unknown, unknown>): void => {
    const fiber = this.fibers.get(raw)
    if (fiber === undefined) return
    this.recorder.end(fiber, exit, this.millis)
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
    this.recorder.escape(place === undefined ? what : `${what} at ${place}`, this.millis)
  }

  private onPlace = (raw: Hooks.RawFiber, at: Place.Place): void => {
    if (!this.settings.full || this.phase !== "driving") return
    const fiber = this.fibers.get(raw)
    if (fiber !== undefined) this.recorder.line(fiber, Place.showUser(at), this.millis, this.chooser)
  }

  private onFault = (point: string, evaluated: boolean, fires: boolean): void => {
    if (this.phase !== "driving") return
    this.recorder.fault(point, evaluated, fires, this.indexNow(), this.millis)
  }

  private indexNow = (): number => {
    const raw = Hooks.currentFiber()
    return raw === undefined ? -1 : this.fibers.get(raw)?.index ?? -1
  }

  // ---- driving

  /** The next task; nothing when callbacks of promises go first. */
  private choose(): Task | undefined {
    const { chooser, ready } = this
    for (;;) {
      const alone = ready.length === 1 && !this.hasPromises && this.settings.pauseMillis === 0
      const position = { task: this.previous, cut: this.wasCut, turn: this.turn }
      const index = alone ? 0 : chooser.next(this, position)
      const plain = this.wasCut && ready.length > 1 && this.turn === 0 ? -3 : 0
      if (index !== plain) this.recorder.moved(position, index, ready)
      this.turn++
      if (index === Choose.clock) {
        this.paused += Math.max(0, this.timers.next()! - this.millis)
        this.advance(Infinity)
      } else if (index === Choose.microtasks) {
        return undefined
      } else {
        const task = ready[index]!
        ready.splice(index, 1)
        return task
      }
    }
  }

  /** Runs ready tasks until none is left, the limit is reached, or it is time to let promises settle. */
  private drive(): "microtasks" | "rest" {
    const counter = Hooks.fiberCounter()
    const outsideCounter = counter.current
    counter.current = this.counter
    const outer = Hooks.swapReferences(this.references)
    const before = Globals.setDriving(this)
    this.phase = "driving"
    try {
      while (
        this.ready.length > 0 && !this.exhausted && this.uncaught === undefined &&
        this.operations - this.drained < drainEvery
      ) {
        const task = this.choose()
        if (task === undefined) return "microtasks"
        this.previous = task
        this.wasCut = false
        this.turn = 0
        this.spent++
        this.recorder.run(task.fiber?.index ?? -1, this.millis)
        this.perform(task)
      }
      return "rest"
    } finally {
      this.phase = "idle"
      Globals.setDriving(before)
      this.references = Hooks.swapReferences(outer)
      this.counter = counter.current
      counter.current = outsideCounter
    }
  }

  private perform({ fiber, run }: Task) {
    try {
      if (fiber?.context === undefined) run()
      else fiber.context(run)
    } catch (error) {
      this.onUncaught(error, "a timer or callback threw")
    }
  }

  /** Drives, letting promise callbacks run at points that the program and the chooser alone decide. */
  private async quiesce(): Promise<void> {
    while (!this.exhausted && this.uncaught === undefined) {
      const why = this.drive()
      this.phase = "draining"
      if (why === "microtasks") {
        // a single turn of the microtasks that are due
        await undefined
        this.phase = "idle"
        continue
      }
      await nextTick()
      // what streams of Node hand to one another takes several turns
      for (let i = 0; i < maxTicks && this.hasPromises && this.ready.length === 0; i++) await nextTick()
      this.phase = "idle"
      this.hasPromises = false
      this.drained = this.operations
      if (this.ready.length === 0) return
      if (this.settings.external === "await") await this.lookOutside()
    }
  }

  private advance(limit: number): boolean {
    const next = this.timers.next()
    if (next === undefined || next > limit) return false
    this.millis = Math.max(this.millis, next)
    this.recorder.note("clock", -1, this.millis)
    for (const task of this.timers.due(this.millis, timerPriority)) this.ready.push(task)
    return true
  }

  /** Runs the program. Globals must be swapped meanwhile. */
  run(effect: Effect.Effect<A, E, Scope.Scope>): Promise<Result<A, E>> {
    return Globals.context.run(this, () => this.observed(effect))
  }

  private async observed(effect: Effect.Effect<A, E, Scope.Scope>): Promise<Result<A, E>> {
    const { external, full } = this.settings
    const stopListening = Hooks.listen({
      onFiber: this.onFiber,
      onFiberEnd: this.onFiberEnd,
      onScopeOpen: this.onScopeOpen,
      onScopeClose: this.onScopeClose,
      onPlace: this.onPlace,
      onFault: this.onFault
    })
    const stopPlaces = full ? Hooks.notePlaces() : nothing
    const stopPipes = full ? Hooks.notePipes() : nothing
    if (this.settings.told) this.where = Where.make()
    if (full || external === "await") this.outside = Outside.watch(() => Globals.governing() === this)
    try {
      this.ready.push({ run: () => this.start(effect), fiber: undefined, owner: undefined, nth: 0, priority: 0 })
      const verdict = await this.settled(await this.ended())
      const result = this.result(verdict)
      await this.dispose()
      return result
    } finally {
      this.phase = "over"
      this.outside?.stop()
      this.where?.stop()
      stopListening()
      stopPlaces()
      stopPipes()
    }
  }

  private start(effect: Effect.Effect<A, E, Scope.Scope>) {
    const root = Runtime.runFork(Runtime.defaultRuntime)(Effect.scoped(effect), {
      scheduler: this as unknown as Scheduler.Scheduler,
      immediate: false,
      updateRefs: (refs, fiberId) => this.initialRefs(refs, fiberId)
    })
    root.addObserver((exit) => {
      this.exit = exit
    })
  }

  /** Until the program has a result, or cannot have one. */
  private async ended(): Promise<Verdict> {
    while (true) {
      await this.quiesce()
      if (this.uncaught !== undefined) return "thrown"
      if (this.exit !== undefined) return "done"
      if (this.exhausted) return "livelock"
      if (this.settings.external === "await" && await this.waitOutside()) continue
      if (this.advance(this.settings.maxMillis)) continue
      if (this.timers.next() !== undefined) return "livelock"
      // a rejection is told when the process is through with its microtasks
      await nextTurn()
      return this.uncaught === undefined ? "blocked" : "thrown"
    }
  }

  /** What is left after the program has ended. */
  private async settled(verdict: Verdict): Promise<Verdict> {
    if (verdict !== "done") return verdict
    await nextTurn()
    if (this.uncaught !== undefined) return "thrown"
    if (!this.settings.leaks) return "done"
    const limit = this.millis + this.settings.settleMillis
    const isOver = () => this.live().length === 0 && this.jsTimers.size === 0
    do await this.quiesce()
    while (!this.exhausted && !isOver() && this.advance(limit))
    if (this.uncaught !== undefined) return "thrown"
    const isClean = this.live().length === 0 && this.openScopes().length === 0 && Globals.armed(this).length === 0
    return isClean ? "done" : "leaked"
  }

  private result(verdict: Verdict): Result<A, E> {
    const bad = verdict !== "done"
    const { exit, uncaught } = this
    return {
      ...this.recorder.result(),
      verdict,
      exit: uncaught === undefined ? exit : Dump.died(uncaught.error, exit),
      operations: this.operations,
      millis: this.millis,
      dump: bad ? this.dump(verdict) : [],
      places: bad ? this.live().flatMap(Dump.placesOf) : []
    }
  }

  private dump(verdict: Verdict): ReadonlyArray<string> {
    return Dump.dump({
      uncaught: this.uncaught?.what,
      live: this.live(),
      isReady: (fiber) => this.ready.some((task) => task.fiber === fiber),
      scopes: this.openScopes(),
      timers: verdict === "leaked" ? Globals.armed(this) : [],
      outside: verdict === "blocked" || verdict === "livelock" ? this.outside?.waits() ?? [] : [],
      awaits: this.settings.external === "await"
    })
  }

  private initialRefs(refs: FiberRefs.FiberRefs, fiberId: FiberId.Runtime): FiberRefs.FiberRefs {
    const set = <X>(fiberRef: FiberRef.FiberRef<X>, value: X) => {
      refs = FiberRefs.updateAs(refs, { fiberId, fiberRef, value })
    }
    set(
      DefaultServices.currentServices,
      this.merge(FiberRefs.getOrDefault(refs, DefaultServices.currentServices) as Context.Context<never>)
    )
    set(FiberRef.currentLoggers, this.loggers)
    for (const [ref, value] of this.settings.refs) set(ref, value)
    return refs
  }

  /**
   * Waits for something outside to resume a fiber, if anything is awaited there; virtual time does not run ahead of real
   * time meanwhile.
   */
  private async waitOutside(): Promise<boolean> {
    const next = this.timers.next()
    const isOutside = (this.outside?.waits().length ?? 0) > 0
    // a pooled socket was made by somebody else: a promise may wait for it
    const isPromise = this.live().some(({ waits }) => waits === aPromise())
    if (!isOutside && !isPromise && next !== undefined) return false
    const most = isOutside || next === undefined ? patience : promisePatience
    const budget = Math.min(most, next === undefined ? Infinity : next - this.millis)
    if (budget <= 0) return false
    await this.bell.within(budget)
    return this.ready.length > 0 || this.uncaught !== undefined
  }

  /**
   * Fibers that are always ready would keep the process from ever coming to what happens outside: now and then, after a
   * fixed number of operations, they wait for what is awaited there.
   */
  private async lookOutside(): Promise<void> {
    if ((this.outside?.waits().length ?? 0) > 0) await this.bell.within(promisePatience)
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

  /** Ends what the run left: nothing of a simulation may live on in the process. */
  private async dispose(): Promise<void> {
    this.cutting = false
    for (let round = 0; round < 3 && this.fibers.size > 0; round++) {
      this.exhausted = false
      this.uncaught = undefined
      this.spent = this.settings.maxOperations - 20_000
      for (const fiber of this.live()) fiber.raw.unsafeInterruptAsFork(FiberId.none)
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
/** Timers that are due go before any fiber, for those who go by priority. */
const timerPriority = 3
const noVisits: Map<string, number> = new Map()
const nothing = () => {}
const aPromise = () => "a promise"
