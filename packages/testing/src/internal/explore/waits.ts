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
  readonly onWake: (fiber: FiberState) => void
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

/** Told of the calls of a replay that is written down. */
export interface Calls {
  readonly onCall: OnCall
  /** it goes past a function, being interrupted, that would have been called */
  readonly onSkip: OnCall
}

interface Operation {
  readonly _op: string
  readonly effect_instruction_i0?: unknown
  readonly effect_instruction_i1?: unknown
  readonly effect_instruction_i2?: unknown
  /** of `Effect.suspend` the user's function; of what effect makes of others, its own, which calls those above */
  readonly commit?: unknown
}

interface Continuing {
  [handler: string]: ((this: unknown, op: Operation) => unknown) | undefined
}

const isFunction = (value: unknown) => typeof value === "function"

/** The function of the user, as far as it is one, that an operation calls first. */
const calledBy = (op: Operation): unknown =>
  [op.effect_instruction_i0, op.effect_instruction_i1, op.effect_instruction_i2, op.commit].find(isFunction)

/** Tells of the functions that the run loop of one fiber calls, before it does. */
const observeCalls = (fiber: FiberState, { onCall, onSkip }: Calls): void => {
  const raw = fiber.raw as unknown as
    & Continuing
    & { [next in "getNextSuccessCont" | "getNextFailCont"]: () => unknown }
    & { readonly _stack: ReadonlyArray<Operation>; readonly isInterrupted: () => boolean }
  for (const name of ["Sync", "Async", "WithRuntime", "Commit"]) {
    const handler = raw[name]!
    raw[name] = function(op) {
      onCall(fiber, calledBy(op))
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
  const nextFail = raw.getNextFailCont
  raw.getNextFailCont = function(this: unknown) {
    const top = raw.isInterrupted() ? raw._stack.toReversed() : []
    const frame = nextFail.call(this) as Operation | undefined
    const next = frame === undefined ? top.length : top.indexOf(frame)
    for (const { _op, effect_instruction_i1: fn } of top.slice(0, next)) if (_op === "OnSuccess") onSkip(fiber, fn)
    if (frame !== undefined) onCall(fiber, frame.effect_instruction_i1)
    return frame
  }
}

/** Puts the doors on one fiber: those of others are as they were. */
export const observe = (fiber: FiberState, observer: Observer, calls: Calls | undefined): void => {
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
  if (calls !== undefined) observeCalls(fiber, calls)
  const tell = prototype.tell
  raw.tell = function(message) {
    if (message._tag === "InterruptSignal") observer.onInterrupt(fiber)
    if (message._tag === "Resume" && fiber.waits !== "") {
      observer.onWake(fiber)
      fiber.waits = ""
    }
    // who joins or awaits a fiber asks it to tell of its end
    if (message._tag === "Stateful") note(() => `the end of #${fiber.index}`)
    tell.call(this, message)
  }
}
