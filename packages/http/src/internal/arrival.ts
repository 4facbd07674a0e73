import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Following from "../Following.js"
import * as HttpErrors from "../HttpErrors.js"
import type * as SseHub from "../SseHub.js"
import type { Grant, Incoming, Options, Topics } from "../SseRoute.js"

/**
 * Who connects, what for and from where on: what server-sent events and WebSockets have in common before they begin.
 *
 * @internal
 */
export const arrive = <E, R, E2, R2>(
  request: HttpServerRequest.HttpServerRequest,
  options: Pick<Options<E, R, E2, R2>, "address" | "authorize" | "topics">
) =>
  Effect.gen(function*() {
    const query = queryOf(request)
    const incoming: Incoming = { request, query, lastEventId: lastEventIdOf(request, query) }
    const grant: Grant = options.authorize === undefined ? {} : yield* options.authorize(incoming)
    const following = Array.from(grant.following ?? [])
    let expiresAt = grant.expiresAt
    if (options.topics !== undefined) {
      for (const topic of yield* topicsOf(query, options.topics)) {
        const one = yield* options.topics.authorize(topic, grant, incoming)
        following.push(...(one?.following ?? [{ topic }]))
        if (one?.expiresAt !== undefined) {
          expiresAt = Math.min(expiresAt ?? Infinity, one.expiresAt)
        }
      }
    }
    if (following.length === 0) {
      return yield* HttpErrors.make("InvalidRequest", "there is nothing to follow", {
        field: options.topics?.parameter ?? "topic",
        expected: "at least one topic"
      })
    }
    const address: string | undefined = options.address === undefined
      ? Option.getOrUndefined(request.remoteAddress)
      : options.address(request)
    return {
      grant,
      following: following as ReadonlyArray<Following.Following>,
      lastEventId: incoming.lastEventId,
      expiresAt,
      address
    }
  })

/** @internal */
export const refused = (error: SseHub.Refused): HttpErrors.HttpError =>
  HttpErrors.make(
    error.reason === "draining" ? "ShuttingDown" : error.reason === "sessions" ? "Unavailable" : "TooManyRequests",
    error.message,
    {},
    { headers: { "retry-after": String(Math.max(1, Math.ceil(Duration.toSeconds(error.retryAfter)))) }, cause: error }
  )

const queryOf = (request: HttpServerRequest.HttpServerRequest): URLSearchParams => {
  const at = request.url.indexOf("?")
  return new URLSearchParams(at === -1 ? "" : request.url.slice(at + 1))
}

/** The header comes first: a browser that reconnects sets it, and keeps the query of its first connection. */
const lastEventIdOf = (
  request: HttpServerRequest.HttpServerRequest,
  query: URLSearchParams
): number | undefined => {
  const text = request.headers["last-event-id"] || query.get("lastEventId") || ""
  if (text === "") {
    return undefined
  }
  // an id that is none of ours is beyond every id: the hub says so with a gap
  return /^\d{1,15}$/.test(text) ? Number(text) : Number.MAX_SAFE_INTEGER
}

const topicsOf = (query: URLSearchParams, { max = 32, parameter = "topic" }: Topics<unknown, unknown>) => {
  const topics = Array.from(new Set(query.getAll(parameter).filter((topic) => topic !== "")))
  return topics.length > max
    ? HttpErrors.make("InvalidRequest", `there are more than ${max} topics`, {
      field: parameter,
      expected: `at most ${max} topics`
    })
    : Effect.succeed(topics)
}
