/**
 * Who connects, what for and from where on: what server-sent events and WebSockets settle before they begin.
 *
 * In this order: where to resume (`Last-Event-ID`, else the `lastEventId` of the query), `authorize`, the topics of the
 * query with an authorization each. Admission by the hub's limits comes last, and only then does a response begin.
 *
 * It is not the HTTP side of either: see `SseRoute` and `WebSocketRoute`, whose options extend the ones here.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Topic from "@holdfast/core/Topic"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as HttpErrors from "./HttpErrors.js"
import type { SessionRefused } from "./HubOptions.js"
import { parseId } from "./internal/hub/wireId.js"
import type { Policy } from "./SseSession.js"
import type { TopicWindow } from "./TopicWindow.js"

/**
 * Who connects, and what for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grant {
  /** Counts against the limit per principal, and is what `SseHub.follow` and `kick` go by. */
  readonly principal?: string | undefined
  /** Followed whatever the query says. As an effect where it may change while the session opens: see `SseHub.open`. */
  readonly following?: ReadonlyArray<TopicWindow> | Effect.Effect<ReadonlyArray<TopicWindow>> | undefined
  /** The session ends with the reason `expired` then, milliseconds since the epoch. */
  readonly expiresAt?: number | undefined
  readonly policy?: Policy | undefined
  /** Bytes. */
  readonly capacity?: number | undefined
}

/**
 * A request for a stream, read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Incoming {
  readonly request: HttpServerRequest.HttpServerRequest
  /** Of the query, decoded. */
  readonly query: URLSearchParams
  /**
   * The last id that the client says it has seen, without the epoch of the log; `Number.MAX_SAFE_INTEGER` for one that is
   * none of this log, or of another epoch.
   */
  readonly lastEventId: number | undefined
}

/**
 * Topics that a client names in its query, and who may follow them.
 *
 * @since 0.1.0
 * @category options
 */
export interface Topics<E, R> {
  /** The query's parameter, which may be repeated. Default `topic`. */
  readonly parameter?: string | undefined
  /** Default 32, 400 beyond. */
  readonly max?: number | undefined
  /**
   * May this principal follow exactly this topic? Fail to refuse the whole request, for example with
   * `HttpErrors.make("Forbidden", …)`. What succeeds may name the topic that is meant, with a window, and a time at which
   * the permission ends: the earliest one ends the session. It never sees a pattern, so `topic.startsWith("room.")` is a
   * check that holds.
   */
  readonly authorize: (
    topic: string,
    grant: Grant,
    incoming: Incoming
  ) => Effect.Effect<TopicGrant | void, E, R>
  /**
   * May this principal follow every topic with this prefix? Without it, a topic of the query that ends in `*` is refused
   * with 400. `?topic=room.*` asks for the prefix `room.`, `?topic=*` for the empty one, which is everything.
   */
  readonly authorizePrefix?:
    | ((prefix: string, grant: Grant, incoming: Incoming) => Effect.Effect<TopicGrant | void, E, R>)
    | undefined
}

/**
 * What a client may follow of a topic, and until when.
 *
 * @since 0.1.0
 * @category models
 */
export interface TopicGrant {
  /** Default: the topic or the prefix of the query, from where the session begins. */
  readonly following?: ReadonlyArray<TopicWindow> | undefined
  readonly expiresAt?: number | undefined
}

/**
 * Who is let in, and to what.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<E = never, R = never, E2 = never, R2 = never> {
  /** Who is it? Without it, everybody is nobody, and only topics of the query are followed. */
  readonly authorize?: ((incoming: Incoming) => Effect.Effect<Grant, E, R>) | undefined
  /** Without it, the query has no say. */
  readonly topics?: Topics<E2, R2> | undefined
  /** Whose connection it is, for the limit per address. Default: the peer's address; behind a proxy, say so here. */
  readonly address?: ((request: HttpServerRequest.HttpServerRequest) => string | undefined) | undefined
}

/**
 * What a hub is asked to open.
 *
 * @since 0.1.0
 * @category models
 */
export interface Admitted {
  readonly grant: Grant
  readonly following: ReadonlyArray<TopicWindow> | Effect.Effect<ReadonlyArray<TopicWindow>>
  readonly lastEventId: number | undefined
  readonly expiresAt: number | undefined
  readonly address: string | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  parameter: "topic",
  max: 32
} as const

/**
 * Throws `InvalidOption` for a limit that makes no sense.
 *
 * @since 0.1.0
 * @category options
 */
export const unsafeCheck = (options: Options<unknown, unknown, unknown, unknown>): void => {
  InvalidOption.unsafeWhole("Admission.topics.max", options.topics?.max ?? defaults.max, { infinite: true, min: 1 })
}

/**
 * Everything that is settled before a hub is asked for a session. Failures of the hooks are given on as they are. `epoch` is
 * that of the hub.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
 * import { Admission } from "@holdfast/http"
 * import { Effect } from "effect"
 *
 * export const whatIsAskedFor = HttpRouter.empty.pipe(
 *   HttpRouter.get(
 *     "/topics",
 *     Effect.gen(function*() {
 *       const request = yield* HttpServerRequest.HttpServerRequest
 *       const { following } = yield* Admission.admit(request, { topics: { authorize: () => Effect.void } })
 *       return HttpServerResponse.unsafeJson({ topics: Effect.isEffect(following) ? yield* following : following })
 *     })
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const admit = <E, R, E2, R2>(
  request: HttpServerRequest.HttpServerRequest,
  options: Options<E, R, E2, R2>,
  epoch?: string
): Effect.Effect<Admitted, HttpErrors.HttpError | E | E2, R | R2> =>
  Effect.gen(function*() {
    const query = queryOf(request)
    const incoming: Incoming = { request, query, lastEventId: lastEventIdOf(request, query, epoch) }
    const grant: Grant = options.authorize === undefined ? {} : yield* options.authorize(incoming)
    const changing = Effect.isEffect(grant.following) ? grant.following : undefined
    const following = Effect.isEffect(grant.following) ? [] : Array.from(grant.following ?? [])
    let expiresAt = grant.expiresAt
    if (options.topics !== undefined) {
      const { authorize, authorizePrefix } = options.topics
      for (const pattern of yield* topicsOf(query, options.topics)) {
        const one = pattern._tag === "Exact"
          ? yield* authorize(pattern.topic, grant, incoming)
          : yield* authorizePrefix!(pattern.prefix, grant, incoming)
        const asked = pattern._tag === "Exact" ? { topic: pattern.topic } : { prefix: pattern.prefix }
        following.push(...(one?.following ?? [asked]))
        if (one?.expiresAt !== undefined) {
          expiresAt = Math.min(expiresAt ?? Infinity, one.expiresAt)
        }
      }
    }
    if (following.length === 0 && changing === undefined) {
      return yield* HttpErrors.make("InvalidRequest", "there is nothing to follow", {
        field: options.topics?.parameter ?? defaults.parameter,
        expected: "at least one topic"
      })
    }
    const address: string | undefined = options.address === undefined
      ? Option.getOrUndefined(request.remoteAddress)
      : options.address(request)
    return {
      grant,
      following: changing === undefined ? following : Effect.map(changing, (own) => [...own, ...following]),
      lastEventId: incoming.lastEventId,
      expiresAt,
      address
    }
  })

const tagOf = {
  draining: "ShuttingDown",
  sessions: "Unavailable",
  address: "TooManyRequests",
  principal: "TooManyRequests",
  banned: "Forbidden"
} as const

/**
 * What a client is told that the hub refuses: 503, 429 or, while it is banned, 403, with `Retry-After`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toHttpError = (error: SessionRefused): HttpErrors.HttpError =>
  HttpErrors.make(tagOf[error.reason], error.message, {}, {
    headers: HttpErrors.retryAfter(error.retryAfter),
    cause: error
  })

const queryOf = (request: HttpServerRequest.HttpServerRequest): URLSearchParams => {
  const at = request.url.indexOf("?")
  return new URLSearchParams(at === -1 ? "" : request.url.slice(at + 1))
}

/** The header comes first: a browser that reconnects sets it, and keeps the query of its first connection. */
const lastEventIdOf = (
  request: HttpServerRequest.HttpServerRequest,
  query: URLSearchParams,
  epoch: string | undefined
): number | undefined => {
  const text = request.headers["last-event-id"] || query.get("lastEventId") || ""
  return text === "" ? undefined : parseId(epoch, text)
}

const topicsOf = (
  query: URLSearchParams,
  { authorizePrefix, max = defaults.max, parameter = defaults.parameter }: Topics<unknown, unknown>
): Effect.Effect<ReadonlyArray<Topic.Pattern>, HttpErrors.HttpError> => {
  const topics = Array.from(new Set(query.getAll(parameter).filter((topic) => topic !== "")))
  if (topics.length > max) {
    return HttpErrors.make("InvalidRequest", `there are more than ${max} topics`, {
      field: parameter,
      expected: `at most ${max} topics`
    })
  }
  return topics.some(Topic.isPrefix) && authorizePrefix === undefined
    ? HttpErrors.make("InvalidRequest", "topics are followed one by one here, not by a pattern", {
      field: parameter,
      expected: "a topic that does not end in *"
    })
    : Effect.succeed(topics.map(Topic.parse))
}
