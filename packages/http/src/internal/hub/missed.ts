/** What a session that follows one more topic has missed of it. */
import * as Effect from "effect/Effect"
import type { History } from "../../HubSource.js"
import { isGap } from "../../HubSource.js"
import type { Frame } from "../../SessionSink.js"
import { Payload } from "../../SessionSink.js"
import type { Envelope } from "../../SseFormat.js"
import * as TopicWindow from "../../TopicWindow.js"
import type { FanOut } from "./fanOut.js"
import type { LiveSession } from "./sessionTable.js"

/** How many events are read from history at once. */
export const pageSize = 256

/** A session whose history cannot be read is told to come back. */
export const orFarewell = (session: LiveSession, reading: Effect.Effect<void, unknown>): Effect.Effect<void> =>
  Effect.catchAllCause(reading, (cause) =>
    Effect.zipRight(
      Effect.sync(() => session.finishWith("error", "farewell")),
      Effect.logError("A session could not be caught up from history", cause)
    ))

/** Events in `(from, upTo]` that only the new window includes, behind what the session has already seen. */
export const missed = (
  fanOut: FanOut,
  history: History<unknown> | undefined,
  session: LiveSession,
  window: TopicWindow.BoundedWindow,
  before: ReadonlyArray<TopicWindow.BoundedWindow>,
  from: number,
  upTo: number
): Effect.Effect<void> => {
  const deliver = (envelopes: ReadonlyArray<Envelope<unknown>>) => {
    const frames: Array<Frame> = []
    for (const envelope of envelopes) {
      const { id, topic } = envelope
      if (id > upTo || !TopicWindow.includes([window], topic, id) || TopicWindow.includes(before, topic, id)) {
        continue
      }
      // the client's last id must not go back: a resume would repeat what it has seen
      const bytes = fanOut.encode(session.format, envelope, Math.max(id, session.cursor))
      if (bytes !== undefined) {
        frames.push({ bytes, id })
      }
    }
    if (frames.length > 0) {
      session.deliver(new Payload(frames))
    }
  }
  const fromRing = Effect.suspend(() => {
    const reach = fanOut.reach
    if (from < reach) {
      session.gap({ reason: "history", firstId: from + 1, lastId: Math.min(reach, upTo) })
    }
    deliver(fanOut.slice(from, upTo))
    return Effect.void
  })
  if (from >= fanOut.reach || history === undefined) {
    return fromRing
  }
  const pages = (at: number): Effect.Effect<void, unknown> =>
    Effect.flatMap(
      history.after(at, { topics: [TopicWindow.patternOf(window.target)], limit: pageSize }),
      ({ cursor, items }) => {
        const envelopes: Array<Envelope<unknown>> = []
        for (const item of items) {
          if (!isGap(item)) {
            envelopes.push(item)
          } else if (item.firstId <= upTo) {
            session.gap({ reason: "history", firstId: item.firstId, lastId: Math.min(item.lastId, upTo) })
          }
        }
        deliver(envelopes)
        return cursor > at && cursor < upTo && session.state !== "ended" ? pages(cursor) : Effect.void
      }
    )
  return orFarewell(session, pages(from))
}
