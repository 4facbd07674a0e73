/**
 * How a session comes from any place in the log to where the hub is, and follows other topics on the way: from the ring of
 * the last events in one turn, from history page by page before that, at its reader's pace.
 *
 * It is not for applications: see `SseHub`.
 */
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Unfollow } from "../../HubOptions.js"
import type { History } from "../../HubSource.js"
import { isGap } from "../../HubSource.js"
import type { Frame } from "../../SessionSink.js"
import { Payload } from "../../SessionSink.js"
import * as TopicWindow from "../../TopicWindow.js"
import type { FanOut } from "./fanOut.js"
import { missed, orFarewell, pageSize } from "./missed.js"
import type { LiveSession } from "./sessionTable.js"

const pageBytes = 64 * 1024

type Page = Effect.Effect.Success<ReturnType<History<unknown>["after"]>>["items"]

export interface CatchUp {
  /** Brings a session that is behind up, in a fiber in the scope where it cannot be done at once. */
  readonly run: (session: LiveSession, scope: Scope.Scope) => Effect.Effect<void>
  readonly follow: (session: LiveSession, following: TopicWindow.TopicWindow) => Effect.Effect<void>
  readonly unfollow: (session: LiveSession, given: Unfollow) => void
}

/** Waits until the reader has taken what it was sent, or the session has ended. */
const room = (session: LiveSession) =>
  Effect.async<void>((resume) => {
    if (session.stalledSince === undefined || session.state === "ended") {
      return resume(Effect.void)
    }
    session.onRoom = () => resume(Effect.void)
    return Effect.sync(() => {
      session.onRoom = undefined
    })
  })

const missing = (session: LiveSession, from: number, lastId: number) => {
  // what it has seen elsewhere is not missing
  const firstId = Math.max(from, session.seen + 1)
  if (firstId <= lastId) {
    session.gap({ reason: "history", firstId, lastId })
    session.cursor = Math.max(session.cursor, lastId)
    session.offered = Math.max(session.offered, lastId)
  }
}

const topicsOf = (session: LiveSession): ReadonlyArray<string> =>
  Array.from(
    new Set(
      session.windows.filter((window) => window.upTo > session.offered).map(({ target }) =>
        TopicWindow.patternOf(target)
      )
    )
  )

export const make = (fanOut: FanOut, history: History<unknown> | undefined): CatchUp => {
  /** Delivers what the ring has. True when the session has become live or has ended. */
  const catchUpNow = (session: LiveSession): boolean => {
    while (session.state === "catching-up" && session.stalledSince === undefined && session.offered >= fanOut.reach) {
      const page = fanOut.read(session, session.offered, pageBytes)
      session.offered = page.upTo
      if (page.frames.length > 0) {
        session.deliver(new Payload(page.frames))
      }
      if (session.state === "catching-up" && session.offered === fanOut.position) {
        fanOut.join(session)
      }
    }
    return session.state !== "catching-up"
  }

  /** Delivers what the session follows of a page of history, with a gap where the log has one. */
  const deliverPage = (session: LiveSession, items: Page, position: number) => {
    let frames: Array<Frame> = []
    for (const item of items) {
      if (isGap(item)) {
        if (frames.length > 0) {
          session.deliver(new Payload(frames))
          frames = []
        }
        missing(session, item.firstId, Math.min(item.lastId, position))
      } else if (item.id <= position && TopicWindow.includes(session.windows, item.topic, item.id)) {
        const bytes = fanOut.encode(session.format, item, item.id)
        if (bytes !== undefined) {
          frames.push({ bytes, id: item.id })
        }
      }
    }
    if (frames.length > 0) {
      session.deliver(new Payload(frames))
    }
  }

  const catchUp = (session: LiveSession): Effect.Effect<void, unknown> =>
    Effect.gen(function*() {
      while (!catchUpNow(session)) {
        if (session.stalledSince !== undefined) {
          yield* room(session)
          continue
        }
        const reach = fanOut.reach
        if (history === undefined) {
          missing(session, session.offered + 1, reach)
          continue
        }
        const { offered, windows } = session
        const { cursor, items } = yield* history.after(offered, { topics: topicsOf(session), limit: pageSize })
        if (session.windows !== windows) {
          // the page was read for other topics
          continue
        }
        const position = fanOut.position
        deliverPage(session, items, position)
        if (cursor <= offered) {
          // not as far as the bus: what is not there is missing
          missing(session, session.offered + 1, reach)
        }
        session.offered = Math.max(session.offered, Math.min(cursor, position))
      }
    })

  const run = (session: LiveSession, scope: Scope.Scope): Effect.Effect<void> =>
    Effect.suspend(() =>
      catchUpNow(session)
        ? Effect.void
        : Effect.asVoid(
          FiberRegistry.forkIn(orFarewell(session, catchUp(session)), scope, {
            name: `${session.id} catch-up`,
            kind: "session"
          })
        )
    )

  const follow = (
    session: LiveSession,
    window: TopicWindow.TopicWindow
  ): Effect.Effect<void> =>
    Effect.suspend(() => {
      TopicWindow.unsafeCheck(window)
      if (session.state === "ended") {
        return Effect.void
      }
      if (session.turns !== undefined) {
        session.turns.push((windows, start, floor) => [...windows, ...TopicWindow.windows([window], start, floor)])
        return Effect.void
      }
      const offered = fanOut.offered(session)
      const after = window.after ?? offered
      const bounded: TopicWindow.BoundedWindow = {
        target: TopicWindow.targetOf(window),
        // its client has seen more on another node, of this topic too: that node has turned it already
        after: session.seen > offered ? Math.max(after, session.seen) : after,
        upTo: window.upTo ?? Infinity
      }
      const before = session.windows
      // windows that have passed are kept while a late one may still overlap them
      session.windows = before.filter((one) => one.upTo > fanOut.reach)
      session.windows.push(bounded)
      if (session.state === "live") {
        fanOut.join(session)
      }
      const end = Math.min(bounded.upTo, offered)
      return bounded.after < end ? missed(fanOut, history, session, bounded, before, bounded.after, end) : Effect.void
    })

  const unfollow = (session: LiveSession, given: Unfollow) => {
    TopicWindow.unsafeCheck({ upTo: given.upTo })
    if (session.state === "ended") {
      return
    }
    const target = TopicWindow.targetOf(given)
    const end = (windows: ReadonlyArray<TopicWindow.BoundedWindow>, upTo: number) =>
      windows.map((window) =>
        TopicWindow.isSameTarget(window.target, target) && window.upTo > upTo ? { ...window, upTo } : window
      )
    if (session.turns !== undefined) {
      session.turns.push((windows, start) => end(windows, given.upTo ?? start))
      return
    }
    session.windows = end(session.windows, given.upTo ?? fanOut.offered(session))
    if (session.state === "live") {
      fanOut.join(session)
    }
  }

  return { run, follow, unfollow }
}
