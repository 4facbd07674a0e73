import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Envelope } from "../../Envelope.js"
import { Gap } from "../../Envelope.js"
import type { PublishError } from "../../Publishing.js"

/** What a subscriber takes. */
export type Item<A> = Envelope<A> | Gap

/** A stored event that the schema refuses: a gap for those who are interested in its topic and its tag. */
export class Unreadable extends Gap {
  constructor(id: number, readonly topic: string, readonly tag: string) {
    super(id, id, 1)
  }
}

/** An envelope before it has its id and its time. */
export type Draft<A> = { -readonly [K in keyof Envelope<A>]: Envelope<A>[K] }

/** A publisher that waits for acceptance. It has been resumed or interrupted when `done`. */
export interface Request<A> {
  readonly drafts: ReadonlyArray<Draft<A>>
  /** The events as JSON, when there is a store or a journal. */
  readonly payloads: ReadonlyArray<string>
  readonly clock: Clock.Clock
  /** Accepted only directly after this id. */
  readonly ifLast: number | undefined
  /** The name under which a journal knows it, when it was tried before. */
  readonly attempt: string | undefined
  readonly resume: (effect: Effect.Effect<ReadonlyArray<Envelope<A>>, PublishError>) => void
  done: boolean
}

/** Ends the wait of a publisher, once. */
export const respond = <A>(request: Request<A>, effect: Parameters<Request<A>["resume"]>[0]) => {
  if (request.done) return
  request.done = true
  request.resume(effect)
}

/** The clock that the fiber uses. */
export const clockOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Clock.Clock =>
  Context.get(fiber.currentDefaultServices, Clock.Clock)
