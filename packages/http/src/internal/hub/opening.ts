/**
 * How a session begins: its slot first, then what the application does with it, then its place in the log.
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import type { Lock } from "@holdfast/core/Lock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { OpenOptions, Options, Session, SessionRefused } from "../../HubOptions.js"
import type { Source } from "../../HubSource.js"
import type { EndReason } from "../../SessionSink.js"
import * as TopicWindow from "../../TopicWindow.js"
import type { CatchUp } from "./catchUp.js"
import type { FanOut } from "./fanOut.js"
import type { Farewell } from "./farewell.js"
import type { LiveSession, SessionTable } from "./sessionTable.js"

export interface Hub<R> {
  readonly name: string
  readonly table: SessionTable
  readonly fanOut: FanOut
  readonly catchUp: CatchUp
  readonly lock: Lock
  readonly endOne: Farewell["endOne"]
  readonly context: Context.Context<R>
  readonly retryMillis: number
  readonly options: Pick<Options<unknown, R>, "onOpen" | "onClose" | "source">
}

export const make = <R>(hub: Hub<R>): (given: OpenOptions) => Effect.Effect<Session, SessionRefused, Scope.Scope> => {
  const { context, name, options, table } = hub
  const { onClose, onOpen } = options
  const closing: Cleanup.Options = {
    label: `${name}: ${onClose?.label ?? "session closed"}`,
    ...(onClose?.budget === undefined ? {} : { budget: onClose.budget }),
    fallbacks: (onClose?.fallbacks ?? []).map((fallback) => ({
      ...fallback,
      run: (exit) => Effect.provide(fallback.run(exit), context)
    }))
  }

  return (given) =>
    Effect.gen(function*() {
      unsafeCheck(given)
      const session = yield* slot(table, given)
      if (onClose !== undefined) {
        yield* Cleanup.addFinalizer(closing, (exit) => {
          session.finishWith(reasonOf(exit), "abort")
          return Effect.provide(Effect.flatMap(Deferred.await(session.done), onClose.run), context)
        })
      }
      const handle = handleOf(hub, session)
      if (onOpen !== undefined) {
        yield* Effect.provide(onOpen(handle), context)
      }
      // asked when the turns that come are kept: one that came before is in the answer
      const following = Effect.isEffect(given.following)
        ? yield* Effect.tap(given.following, (windows) => windows.forEach(TopicWindow.unsafeCheck))
        : given.following
      yield* begin(hub, session, { ...given, following })
      return handle
    })
}

/**
 * Counts the session in. The slot belongs to the scope before anything else happens, as with `acquireRelease`, whose finalizer
 * would keep what the fiber of the request has for as long as the session is open: 5 KiB of 17.
 */
const slot = (table: SessionTable, given: OpenOptions): Effect.Effect<LiveSession, SessionRefused, Scope.Scope> =>
  Effect.uninterruptible(
    Effect.flatMap(
      Effect.scope,
      (scope) =>
        Effect.flatMap(Effect.suspend(() => table.admit(given)), (session) =>
          Effect.as(
            Scope.addFinalizerExit(scope, (exit) =>
              Effect.sync(() => {
                session.finishWith(reasonOf(exit), "abort")
                session.discard()
              })),
            session
          ))
    )
  )

/**
 * A grant comes from hooks of the application: an expiry that is `NaN` would be a permission without an end. Throws
 * `InvalidOption`.
 */
const unsafeCheck = ({ capacity, expiresAt, following, lastEventId }: OpenOptions): void => {
  if (capacity !== undefined) {
    InvalidOption.unsafeWhole("SseHub.open.capacity", capacity, { min: 1, infinite: true })
  }
  if (lastEventId !== undefined) {
    InvalidOption.unsafeWhole("SseHub.open.lastEventId", lastEventId)
  }
  unsafeExpiry(expiresAt)
  if (!Effect.isEffect(following)) {
    following.forEach(TopicWindow.unsafeCheck)
  }
}

const unsafeExpiry = (expiresAt: number | undefined): void => {
  if (expiresAt !== undefined) {
    InvalidOption.unsafeNumber("SseHub.open.expiresAt", expiresAt)
  }
}

/** Where in the log it begins, and what it is sent first. */
const begin = <R>(
  { catchUp, fanOut, options, retryMillis }: Hub<R>,
  session: LiveSession,
  { following, format, lastEventId }: OpenOptions & { readonly following: ReadonlyArray<TopicWindow.TopicWindow> }
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const position = fanOut.position
    let from = lastEventId ?? position
    let reset = false
    if (from > position) {
      // another hub of the same bus, or another node of the same log, may be ahead of this one
      const head = from === Number.MAX_SAFE_INTEGER ? 0 : yield* headOf(options.source)
      if (head === undefined) {
        session.finishWith("error", "farewell", retryMillis)
      }
      reset = head !== undefined && from > head
      from = reset ? position : from
    }
    const floor = lastEventId === undefined ? 0 : from
    session.windows = TopicWindow.windows(following, from, floor)
    session.turns?.forEach((turn) => {
      session.windows = turn(session.windows, from, floor)
    })
    session.turns = undefined
    session.cursor = from
    session.seen = floor
    session.offered = Math.min(
      position,
      lastEventId === undefined
        ? session.windows.reduce((least, window) => Math.min(least, window.after), from)
        : from
    )
    session.begin(
      format.opening({
        session: session.id,
        retryMillis,
        position: fanOut.wireId(Math.max(session.offered, session.seen))
      })
    )
    if (reset) {
      session.gap({ reason: "reset", firstId: 1, lastId: position })
    }
    yield* catchUp.run(session, yield* Effect.scope)
  })

/** The last id of the log. Unknown while the log cannot be asked: whether an id is one of it, nobody can say then. */
const headOf = (source: Source<unknown>): Effect.Effect<number | undefined> =>
  Effect.catchAllCause(
    source.head ?? source.lastId,
    (cause) =>
      Effect.as(
        Effect.logWarning("A session is told to come back later: the log that its id is of cannot be asked", cause),
        undefined
      )
  )

const handleOf = <R>({ catchUp, endOne, lock, table }: Hub<R>, session: LiveSession): Session => ({
  id: session.id,
  principal: session.principal,
  address: session.address,
  info: Effect.sync(() => session.info()),
  awaitEnd: Deferred.await(session.done),
  end: (reason) => reason === "drained" ? endOne(session) : Effect.sync(() => session.finishWith(reason, "farewell")),
  send: (bytes) => Effect.sync(() => session.control(bytes, true)),
  follow: (window) => lock.withLock(catchUp.follow(session, window)),
  unfollow: (given) => lock.withLock(Effect.sync(() => catchUp.unfollow(session, given))),
  expireAt: (at) =>
    Effect.sync(() => {
      unsafeExpiry(at)
      table.expire(session, at)
    })
})

const reasonOf = (exit: Exit.Exit<unknown, unknown>): EndReason =>
  exit._tag === "Failure" && !Exit.isInterrupted(exit) ? "error" : "client-left"
