/** What is left of a run, in words. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Hooks from "../hooks.js"
import * as Place from "../place.js"
import type { ArmedTimer } from "./globals.js"
import type { FiberState } from "./types.js"

/** The result of a program in which something threw where nobody could catch it. */
export const died = <A, E>(error: unknown, exit: Exit.Exit<A, E> | undefined): Exit.Exit<A, E> =>
  exit !== undefined && Exit.isFailure(exit)
    ? Exit.failCause(Cause.sequential(Cause.die(error), exit.cause))
    : Exit.die(error)

/** Where the fiber is, else where it was forked. */
export const placesOf = ({ forkedAt, raw, toldPlace }: FiberState): ReadonlyArray<string> => {
  const place = toldPlace ?? Place.show(Hooks.placeOf(raw), forkedAt)
  return place === undefined ? [] : [place]
}

const nameOf = (raw: Hooks.RawFiber): string => {
  const name = Hooks.nameOf(raw)
  return name === undefined ? "" : ` ${name}`
}

interface Left {
  readonly uncaught: string | undefined
  readonly live: ReadonlyArray<FiberState>
  readonly isReady: (fiber: FiberState) => boolean
  readonly scopes: ReadonlyArray<Hooks.RawScope>
  readonly timers: ReadonlyArray<ArmedTimer>
  /** what is awaited in the world outside */
  readonly outside: ReadonlyArray<string>
  /** whether the world outside was waited for */
  readonly awaits: boolean
}

const fiberLine = (fiber: FiberState, isReady: boolean): string => {
  const state = isReady
    ? "is ready"
    : fiber.waits !== ""
    ? `waits for ${fiber.waits}`
    : fiber.operations === 0
    ? "was made and never started"
    : "waits"
  const at = fiber.toldPlace ?? Place.show(Hooks.placeOf(fiber.raw))
  const forked = Place.show(fiber.forkedAt)
  return `#${fiber.index}${nameOf(fiber.raw)} ${state}${at === undefined ? "" : ` at ${at}`}${
    fiber.within === undefined ? "" : `, in ${fiber.within}`
  }${
    fiber.parent === undefined
      ? ""
      : `, forked by #${fiber.parent.index}${forked === undefined ? "" : ` at ${forked}`}`
  }`
}

const scopeLine = (scopes: ReadonlyArray<Hooks.RawScope>): string => {
  const finalizers = scopes.reduce((n, { state }) => n + (state._tag === "Open" ? state.finalizers.size : 0), 0)
  return `${scopes.length} open scope${scopes.length === 1 ? "" : "s"} with ${finalizers} finalizer${
    finalizers === 1 ? "" : "s"
  } that did not run`
}

export const dump = ({ awaits, isReady, live, outside, scopes, timers, uncaught }: Left): ReadonlyArray<string> => [
  ...(uncaught === undefined ? [] : [uncaught]),
  ...live.map((fiber) => fiberLine(fiber, isReady(fiber))),
  ...outside.map((what) =>
    `the world outside: ${what}${
      awaits ? ", did not come in time" : "; it is not waited for unless external: \"await\""
    }`
  ),
  ...timers.map(({ place, what }) => `${what}, made at ${place}`),
  ...(scopes.length === 0 ? [] : [scopeLine(scopes)])
]
