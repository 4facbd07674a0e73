/**
 * What Effect 3.22 does not offer an observer for: the birth of every fiber, whoever forks it and on whatever runtime,
 * the life of every scope, and the line of user code that a fiber is at. A Supervisor sees neither bare `runFork` nor
 * runtimes captured earlier; these hooks do, because they sit on the prototypes that all of them share:
 *
 * - `FiberRuntime.prototype.refreshRefCache` is the last call of the fiber's constructor;
 * - `FiberRuntime.prototype.setExitValue` is its last act;
 * - `ScopeImplProto.addFinalizer | fork | close` are the only doors of a scope;
 * - `[Symbol.iterator]` of the effect prototypes is called by `yield*` with the user's generator on top of the JS stack,
 *   which is the only moment when a line number is to be had: the run loop evaluates the effect later, alone.
 *
 * Everything here is installed once per process, costs one comparison while nobody listens, and never changes what a
 * program does.
 */
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Scope from "effect/Scope"
import type { Place } from "./place.js"

/** The parts of the fiber's runtime that the hooks read. */
export interface RawFiber extends Fiber.RuntimeFiber<unknown, unknown> {
  readonly _asyncBlockingOn: FiberId.FiberId | null
  readonly _children: Set<RawFiber> | null
  readonly _queue: ReadonlyArray<unknown>
  refreshRefCache(): void
  setFiberRef<X>(fiberRef: FiberRef.FiberRef<X>, value: X): void
}

/** The parts of a scope that the hooks read. */
export interface RawScope extends Scope.CloseableScope {
  readonly state: { readonly _tag: "Open"; readonly finalizers: Map<object, unknown> } | { readonly _tag: "Closed" }
}

export interface Listener {
  /** a fiber was made by `parent` (undefined: from plain JavaScript); it has not run yet */
  readonly onFiber?: (fiber: RawFiber, parent: RawFiber | undefined) => void
  readonly onFiberEnd?: (fiber: RawFiber, exit: Exit.Exit<unknown, unknown>) => void
  /** a scope got its first known finalizer */
  readonly onScopeOpen?: (scope: RawScope, fiber: RawFiber | undefined) => void
  readonly onScopeClose?: (scope: RawScope) => void
  /** the fiber is at a `yield*`; only while places are noted */
  readonly onPlace?: (fiber: RawFiber, place: Place) => void
  /** a fault point was named (not evaluated yet), or evaluated */
  readonly onFault?: (point: string, evaluated: boolean, fires: boolean) => void
}

/** What the scheduler of a simulation has besides: it is told of each operation that can touch shared state. */
interface Stepping {
  readonly onStep?: (raw: RawFiber) => void
}

interface State {
  installed: boolean
  readonly listeners: Set<Listener>
  /** how many want places: a stack of one frame is captured at every `yield*` while above zero */
  placing: number
  readonly places: WeakMap<object, Place>
  /** how many want the places of pipes, too */
  piping: number
  readonly pipes: WeakMap<object, Place>
  /** ends at a scope that is being closed, so that it is announced once */
  readonly scopes: WeakSet<object>
  /** how fibers are called in reports: the first that knows a name wins */
  readonly namers: Set<(fiber: RawFiber) => string | undefined>
}

const state: State = globalValue("@holdfast/testing/hooks", () => ({
  installed: false,
  listeners: new Set<Listener>(),
  placing: 0,
  places: new WeakMap<object, Place>(),
  piping: 0,
  pipes: new WeakMap<object, Place>(),
  scopes: new WeakSet<object>(),
  namers: new Set<(fiber: RawFiber) => string | undefined>()
}))

/** Teaches reports a kind of name. */
export const addNamer = (namer: (fiber: RawFiber) => string | undefined): void => {
  state.namers.add(namer)
}

/** The name of a fiber: what a namer knows, else its span. */
export const nameOf = (fiber: RawFiber): string | undefined => {
  for (const namer of state.namers) {
    const name = namer(fiber)
    if (name !== undefined) return name
  }
  const span = fiber.currentSpan
  return span?._tag === "Span" ? span.name : undefined
}

/** The fiber that is being evaluated right now, if any. */
export const currentFiber = (): RawFiber | undefined =>
  (globalThis as { "effect/FiberCurrent"?: RawFiber })["effect/FiberCurrent"] ?? undefined

/** Makes another fiber, or none, the one that is being evaluated; returns the one before. */
export const setCurrentFiber = (fiber: RawFiber | undefined): RawFiber | undefined => {
  const before = currentFiber()
  ;(globalThis as { "effect/FiberCurrent"?: RawFiber | undefined })["effect/FiberCurrent"] = fiber
  return before
}

/** Set for fibers that are declared as background work; inherited by what they fork. */
export const isBackground: FiberRef.FiberRef<boolean> = globalValue(
  "@holdfast/testing/isBackground",
  () => FiberRef.unsafeMake(false)
)

/** Whether the fiber runs under the scheduler of a simulation, which looks after its own leaks. */
export const isSimulated = (fiber: RawFiber): boolean => simulation in fiber.currentScheduler

/** Marks the scheduler of a simulation; `"unplaced"` saves it the cost of places. */
export const simulation: unique symbol = Symbol.for("@holdfast/testing/simulation") as never

interface Simulated {
  readonly [simulation]?: "placed" | "unplaced"
}

/** The last `yield*` of the fiber that is known. */
export const placeOf = (fiber: object): Place | undefined => state.places.get(fiber)

/** Starts to note, for every fiber, the line of its last `yield*`. Call the result to stop. */
export const notePlaces = (): () => void => {
  state.placing++
  let stopped = false
  return () => {
    if (!stopped) {
      stopped = true
      state.placing--
    }
  }
}

/** Starts to note the lines of pipes. Call the result to stop. */
export const notePipes = (): () => void => {
  state.piping++
  let stopped = false
  return () => {
    if (!stopped) {
      stopped = true
      state.piping--
    }
  }
}

/** Where the effect was made, if a pipe made it while they were noted. */
export const pipePlaceOf = (effect: object): Place | undefined => state.pipes.get(effect)

/** Adds a listener. Call the result to remove it. */
export const listen = (listener: Listener): () => void => {
  install()
  state.listeners.add(listener)
  return () => {
    state.listeners.delete(listener)
  }
}

/** Tells whoever listens of a fault point. */
export const tellFault = (point: string, evaluated: boolean, fires: boolean): void => {
  for (const listener of state.listeners) {
    listener.onFault?.(point, evaluated, fires)
  }
}

const patchIterator = (prototype: Record<PropertyKey, unknown>) => {
  const original = prototype[Symbol.iterator] as (this: unknown) => Iterator<unknown>
  const iterator = function(this: unknown) {
    if (state.placing > 0) {
      const fiber = currentFiber()
      if (fiber !== undefined && (fiber.currentScheduler as Simulated)[simulation] !== "unplaced") {
        const limit = Error.stackTraceLimit
        Error.stackTraceLimit = 1
        const place: Place = {}
        Error.captureStackTrace(place, iterator)
        Error.stackTraceLimit = limit
        state.places.set(fiber, place)
        for (const listener of state.listeners) {
          listener.onPlace?.(fiber, place)
        }
      }
    }
    return original.call(this)
  }
  prototype[Symbol.iterator] = iterator
}

const patchPipe = (prototype: Record<PropertyKey, unknown>) => {
  const original = prototype.pipe as (this: unknown, ...args: Array<unknown>) => unknown
  const pipe = function(this: unknown, ...args: Array<unknown>) {
    const result = original.apply(this, args)
    if (state.piping > 0 && typeof result === "object" && result !== null) {
      const limit = Error.stackTraceLimit
      Error.stackTraceLimit = 1
      const place: Place = {}
      Error.captureStackTrace(place, pipe)
      Error.stackTraceLimit = limit
      state.pipes.set(result, place)
    }
    return result
  }
  prototype.pipe = pipe
}

/** Tells the scheduler of a simulation of each operation of this kind. */
const patchStep = (prototype: Record<PropertyKey, unknown>, operation: string) => {
  const original = prototype[operation] as (this: RawFiber, op: unknown) => unknown
  prototype[operation] = function(this: RawFiber, op: unknown) {
    const scheduler = this.currentScheduler as Stepping
    if (scheduler.onStep !== undefined) scheduler.onStep(this)
    return original.call(this, op)
  }
}

const prototypeWith = (value: object, key: PropertyKey): Record<PropertyKey, unknown> => {
  let prototype = Object.getPrototypeOf(value)
  while (prototype !== null && !Object.hasOwn(prototype, key)) {
    prototype = Object.getPrototypeOf(prototype)
  }
  if (prototype === null) {
    throw new Error(`this version of effect has no ${String(key)} where @holdfast/testing expects it`)
  }
  return prototype
}

const install = () => {
  if (state.installed) return
  state.installed = true

  const sample = Effect.runFork(Effect.void)
  const fiberPrototype = prototypeWith(sample, "refreshRefCache")
  const refresh = fiberPrototype.refreshRefCache as (this: RawFiber) => void
  fiberPrototype.refreshRefCache = function(this: RawFiber) {
    // the first call is the constructor's: nothing has been cached yet
    const born = this.currentScheduler === undefined
    refresh.call(this)
    if (born && state.listeners.size > 0) {
      const parent = currentFiber()
      for (const listener of state.listeners) {
        listener.onFiber?.(this, parent)
      }
    }
  }

  const setExitValue = fiberPrototype.setExitValue as (this: RawFiber, exit: Exit.Exit<unknown, unknown>) => void
  fiberPrototype.setExitValue = function(this: RawFiber, exit: Exit.Exit<unknown, unknown>) {
    setExitValue.call(this, exit)
    for (const listener of state.listeners) {
      listener.onFiberEnd?.(this, exit)
    }
  }

  const scopePrototype = prototypeWith(Effect.runSync(Scope.make()), "addFinalizer")
  const announce = (scope: RawScope) => {
    if (state.listeners.size > 0 && !state.scopes.has(scope) && scope.state._tag === "Open") {
      state.scopes.add(scope)
      const fiber = currentFiber()
      for (const listener of state.listeners) {
        listener.onScopeOpen?.(scope, fiber)
      }
    }
  }
  for (const door of ["addFinalizer", "fork"] as const) {
    const original = scopePrototype[door] as (this: RawScope, argument: unknown) => unknown
    scopePrototype[door] = function(this: RawScope, argument: unknown) {
      announce(this)
      return original.call(this, argument)
    }
  }
  const close = scopePrototype.close as (this: RawScope, exit: unknown) => Effect.Effect<void>
  scopePrototype.close = function(this: RawScope, exit: unknown) {
    const closing = close.call(this, exit)
    if (!state.scopes.has(this)) return closing
    return Effect.suspend(() => {
      for (const listener of state.listeners) {
        listener.onScopeClose?.(this)
      }
      return closing
    })
  }

  for (const effect of [Effect.sync(() => 0), Effect.succeed(0), Effect.fail(0)]) {
    const prototype = prototypeWith(effect, Symbol.iterator)
    patchIterator(prototype)
    patchPipe(prototype)
  }
  for (const prototype of [Effectable.EffectPrototype, Effectable.CommitPrototype]) {
    patchIterator(prototype as unknown as Record<PropertyKey, unknown>)
    patchPipe(prototype as unknown as Record<PropertyKey, unknown>)
  }
  for (const operation of ["Sync", "Async"]) patchStep(fiberPrototype, operation)
}

const isOfEffect = (key: string) => /^@?effect\//.test(key)

const references = () => globalValue("effect/Context/defaultValueCache", () => new Map<string, unknown>())

/**
 * Takes away the default values that `Context.Reference`s have made so far, and puts `other` in their place: a test, or a
 * simulation, has its own. Those of effect and of its packages are left alone: they were captured at import.
 */
export const swapReferences = (other: ReadonlyMap<string, unknown>): Map<string, unknown> => {
  const cache = references()
  const taken = new Map<string, unknown>()
  for (const [key, value] of cache) {
    if (!isOfEffect(key)) {
      taken.set(key, value)
      cache.delete(key)
    }
  }
  for (const [key, value] of other) cache.set(key, value)
  return taken
}

/** Fibers that the global scope still holds. */
export const globalRoots = (): Set<RawFiber> =>
  globalValue(Symbol.for("effect/FiberScope/Global"), () => ({ roots: new Set<RawFiber>() })).roots

/** The counter that numbers fibers; a simulation keeps its own value of it, so that ids are the same in every replay. */
export const fiberCounter = (): { current: number } =>
  globalValue(Symbol.for("effect/Fiber/Id/_fiberCounter"), () => ({ current: 0 }))
