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

/** Puts the doors on one fiber: those of others are as they were. */
export const observe = (fiber: FiberState, observer: Observer): void => {
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
  const tell = prototype.tell
  raw.tell = function(message) {
    if (message._tag === "InterruptSignal") observer.onInterrupt(fiber)
    // who joins or awaits a fiber asks it to tell of its end
    if (message._tag === "Stateful") note(() => `the end of #${fiber.index}`)
    tell.call(this, message)
  }
}
