/** What fibers of a replay wait for, which lines their pipes have, and who interrupts whom: by doors of their own. */
import * as Hooks from "../hooks.js"
import type * as Place from "../place.js"
import type { FiberState } from "./types.js"

interface Handlers {
  [operation: string]: ((this: unknown, op: object) => unknown) | undefined
}

interface Telling {
  tell(message: { readonly _tag: string }): void
}

export interface Observer {
  readonly onPipe: (fiber: FiberState, place: Place.Place) => void
  readonly onInterrupt: (fiber: FiberState) => void
}

/** Operations that a pipe can end in. */
const piped = ["OnSuccess", "OnFailure", "OnSuccessAndFailure", "Sync", "Commit", "WithRuntime", "UpdateRuntimeFlags"]

const waiting = "a callback (a semaphore, a latch, or `Effect.async`)"

/** What the fiber waits for now, told by what its callback is given to. */
export const note = (what: () => string): void => {
  if (registering !== undefined) registering.noted = what()
}

let registering: FiberState | undefined = undefined

const registered = <A>(fiber: FiberState, body: () => A): A => {
  const before = registering
  registering = fiber
  try {
    return body()
  } finally {
    registering = before
  }
}

/** The fiber is about to call a function, which may be effect's own. */
export type OnCall = (fiber: FiberState, fn: unknown) => void

interface Operation {
  readonly _op: string
  readonly effect_instruction_i0?: unknown
  readonly effect_instruction_i1?: unknown
  readonly effect_instruction_i2?: unknown
}

interface Continuing {
  [handler: string]: ((this: unknown, op: Operation) => unknown) | undefined
}

/** Tells of the functions that the run loop of one fiber calls, before it does. */
const observeCalls = (fiber: FiberState, onCall: OnCall): void => {
  const raw = fiber.raw as unknown as Continuing & { [next in "getNextSuccessCont" | "getNextFailCont"]: () => unknown }
  for (const name of ["Sync", "Async", "WithRuntime"]) {
    const handler = raw[name]!
    raw[name] = function(op) {
      onCall(fiber, op.effect_instruction_i0)
      return handler.call(this, op)
    }
  }
  const watch = (name: "getNextSuccessCont" | "getNextFailCont", called: (frame: Operation) => unknown) => {
    const next = raw[name] as () => Operation | undefined
    raw[name] = function(this: unknown) {
      const frame = next.call(this)
      if (frame !== undefined) onCall(fiber, called(frame))
      return frame
    }
  }
  watch(
    "getNextSuccessCont",
    (frame) => frame._op === "OnSuccess" ? frame.effect_instruction_i1 : frame.effect_instruction_i2
  )
  watch("getNextFailCont", (frame) => frame.effect_instruction_i1)
}

/** Puts the doors on one fiber: those of others are as they were. */
export const observe = (fiber: FiberState, observer: Observer, onCall: OnCall | undefined): void => {
  const raw = fiber.raw as unknown as Handlers & Telling & Hooks.RawFiber
  const prototype = Object.getPrototypeOf(raw) as Handlers & Telling
  for (const name of piped) {
    const original = prototype[name]
    if (original === undefined) continue
    const isCommit = name === "Commit"
    raw[name] = function(op) {
      const place = Hooks.pipePlaceOf(op)
      if (place !== undefined) observer.onPipe(fiber, place)
      // `Effect.async` hands out its callback when it is committed, and waits some operations later
      return isCommit ? registered(fiber, () => original.call(this, op)) : original.call(this, op)
    }
  }
  const onAsync = prototype.Async!
  raw.Async = function(op) {
    const place = Hooks.pipePlaceOf(op)
    if (place !== undefined) observer.onPipe(fiber, place)
    const result = registered(fiber, () => onAsync.call(this, op))
    fiber.waits = fiber.noted ??
      (raw._asyncBlockingOn?._tag === "Runtime" ? "a `Deferred`, or a queue or pubsub" : waiting)
    fiber.noted = undefined
    return result
  }
  if (onCall !== undefined) observeCalls(fiber, onCall)
  const tell = prototype.tell
  raw.tell = function(message) {
    if (message._tag === "InterruptSignal") observer.onInterrupt(fiber)
    // who joins or awaits a fiber asks it to tell of its end
    if (message._tag === "Stateful") note(() => `the end of #${fiber.index}`)
    tell.call(this, message)
  }
}
