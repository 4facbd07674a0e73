/**
 * One JSON shape for everything that can go wrong with a request:
 *
 * `{ "_tag": "InvalidRequest", "message": "…", "field": "name", "expected": "a non empty string" }`
 *
 * - `_tag` is stable and names the kind of the problem, `message` is for people, `field` is the path of the value at
 *   fault (`items.0.name`), `expected` says what would have been right.
 * - `handled` turns a router, or any `HttpApp`, into an app that never fails: unknown routes are 404, known routes with
 *   another method 405 with `Allow`, broken JSON and values that do not fit their schema 400, large bodies 413, other
 *   content types 415, other defects 500. What knows its response (`Respondable`, the platform's request errors) is
 *   answered with it, also as a defect. Interruption passes through: it belongs to the server.
 * - A defect is logged with its cause and answered without it: the response never shows a stack or an inner message.
 *
 * It is not for application errors as such: those become responses through their own `problem`, see `Respondable`.
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Multipart from "@effect/platform/Multipart"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { ParseOptions } from "effect/SchemaAST"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import { clip, leaf } from "./internal/errors/issue.js"
import { allowed, isRouter, type Pattern } from "./internal/errors/methods.js"

/**
 * The body of an error response. Fields beyond the first four are data of the kind, for example `limit` of `BodyTooLarge`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ErrorBody {
  readonly _tag: string
  readonly message: string
  readonly field?: string
  readonly expected?: string
  readonly [key: string]: unknown
}

/**
 * The schema of `ErrorBody`, for clients.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ErrorBody: Schema.Schema<ErrorBody> = Schema.Struct(
  {
    _tag: Schema.String,
    message: Schema.String,
    field: Schema.optionalWith(Schema.String, { exact: true }),
    expected: Schema.optionalWith(Schema.String, { exact: true })
  },
  { key: Schema.String, value: Schema.Unknown }
) as never

/**
 * An answer that says what went wrong.
 *
 * @since 0.1.0
 * @category models
 */
export interface Problem {
  readonly status: number
  readonly body: ErrorBody
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * An error that knows its response. `HttpError` is one; an application may give its own errors this method.
 *
 * @since 0.1.0
 * @category models
 */
export interface HasProblem {
  readonly problem: Problem
}

/**
 * The statuses that this library answers with, by the tag of the body.
 *
 * @since 0.1.0
 * @category models
 */
export const statuses = {
  InvalidJson: 400,
  InvalidRequest: 400,
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  RequestTimeout: 408,
  Conflict: 409,
  BodyTooLarge: 413,
  UnsupportedMediaType: 415,
  UpgradeRequired: 426,
  TooManyRequests: 429,
  HeadersTooLarge: 431,
  InternalError: 500,
  Unavailable: 503,
  ShuttingDown: 503
} as const

/**
 * The kinds of problems, each with a status of its own.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = keyof typeof statuses

/**
 * A failure that is a response: fail with it anywhere under `handled`.
 *
 * @example
 * ```ts
 * import { HttpErrors } from "@holdfast/http"
 *
 * const noSuchRoom = HttpErrors.make("NotFound", "there is no room named attic", { field: "room", expected: "a room" })
 * console.log(noSuchRoom.problem.status)
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class HttpError extends Data.TaggedError("HttpError")<{
  readonly kind: string
  readonly message: string
  readonly problem: Problem
  readonly cause?: unknown
}> implements HasProblem, HttpServerRespondable.Respondable {
  /** @since 0.1.0 */
  [HttpServerRespondable.symbol]() {
    return Effect.succeed(toResponse(this.problem))
  }
}

/**
 * `details` becomes part of the body; `headers` part of the response; `status` overrides the one of a known kind and is
 * 400 for an unknown one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  kind: Kind | (string & {}),
  message: string,
  details?: { readonly field?: string; readonly expected?: string; readonly [key: string]: unknown },
  options?: {
    readonly status?: number
    readonly headers?: Readonly<Record<string, string>>
    readonly cause?: unknown
  }
): HttpError =>
  new HttpError({
    kind,
    message,
    problem: {
      status: options?.status ?? (statuses as Record<string, number>)[kind] ?? 400,
      body: { _tag: kind, message, ...details },
      ...(options?.headers !== undefined ? { headers: options.headers } : {})
    },
    ...(options?.cause !== undefined ? { cause: options.cause } : {})
  })

/**
 * When to come back, as the header of an answer: whole seconds, 1 at least (RFC 9110, 10.2.3). None for a time that never
 * comes.
 *
 * @example
 * ```ts
 * import { HttpErrors } from "@holdfast/http"
 *
 * const tooFast = HttpErrors.make("TooManyRequests", "not so fast", {}, { headers: HttpErrors.retryAfter("1500 millis") })
 * console.log(tooFast.problem.headers)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const retryAfter = (duration: Duration.DurationInput): Readonly<Record<string, string>> =>
  Duration.isFinite(Duration.decode(duration))
    ? { "retry-after": String(Math.max(1, Math.ceil(Duration.toSeconds(duration)))) }
    : {}

/**
 * The body was larger than `limit` bytes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bodyTooLarge = (limit: number): HttpError =>
  make("BodyTooLarge", `the body is larger than ${limit} bytes`, { expected: `at most ${limit} bytes`, limit })

/**
 * A text was not JSON, in the parser's words.
 *
 * @since 0.1.0
 * @category constructors
 */
export const invalidJson = (cause: unknown): HttpError =>
  make("InvalidJson", `this is not JSON: ${clip(cause instanceof Error ? cause.message : String(cause))}`, {
    expected: "a JSON document"
  }, { cause })

/**
 * What the client is told of a failure that is not its business.
 *
 * @since 0.1.0
 * @category constructors
 */
export const internalError = make("InternalError", "the server failed to answer this request")

/**
 * A value did not fit its schema: the first issue's path and what was expected there.
 *
 * @since 0.1.0
 * @category constructors
 */
export const invalid = (error: ParseResult.ParseError): HttpError => {
  const found = leaf(error.issue, [])
  const field = found.path.map(String).join(".")
  const message = field === "" ? `the request is not valid: ${found.message}` : `${field}: ${found.message}`
  return make("InvalidRequest", message, {
    ...(field === "" ? {} : { field }),
    ...(found.expected === undefined ? {} : { expected: found.expected })
  }, { cause: error })
}

/**
 * The problem of any failure value, `None` when it is nothing that this module knows.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toProblem = (error: unknown): Option.Option<Problem> => {
  if (hasProblem(error)) {
    return Option.some(error.problem)
  }
  if (ParseResult.isParseError(error)) {
    return Option.some(invalid(error).problem)
  }
  if (Cause.isNoSuchElementException(error)) {
    return Option.some(make("NotFound", "there is no such thing").problem)
  }
  if (error instanceof Multipart.MultipartError) {
    return multipartProblem(error)
  }
  if (HttpServerError.isServerError(error)) {
    switch (error._tag) {
      case "RouteNotFound":
        return Option.some(notFound(error.request).problem)
      case "RequestError":
        return Option.some(requestProblem(error).problem)
      default:
        return Option.none()
    }
  }
  return Option.none()
}

/**
 * A JSON response that no cache may keep. With a status that has no content (204, 304) there is no body and no length.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toResponse = (problem: Problem): HttpServerResponse.HttpServerResponse => {
  const options = { status: problem.status, headers: { "cache-control": "no-store", ...problem.headers } }
  return problem.status === 204 || problem.status === 304
    ? HttpServerResponse.empty(options)
    : HttpServerResponse.unsafeJson(problem.body, options)
}

/**
 * How the application's own failures are answered.
 *
 * @since 0.1.0
 * @category options
 */
export interface HandledOptions<E> {
  /** Problems of the application's own errors, asked before anything else. */
  readonly problem?: ((error: E) => Option.Option<Problem>) | undefined
}

/**
 * An app that answers every failure in JSON. With a router, methods that a route does not have are 405 with `Allow`,
 * and `OPTIONS` of a route is 204 with `Allow`.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServerResponse } from "@effect/platform"
 * import { HttpErrors } from "@holdfast/http"
 *
 * const app = HttpErrors.handled(HttpRouter.empty.pipe(HttpRouter.get("/", HttpServerResponse.text("hello"))))
 * console.log(typeof app)
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const handled = <E, R>(
  app: HttpRouter.HttpRouter<E, R> | HttpApp.Default<E, R>,
  options?: HandledOptions<E>
): HttpApp.Default<never, R> => {
  const methods = isRouter(app) ? allowed(app) : undefined
  const custom = options?.problem as undefined | ((error: unknown) => Option.Option<Problem>)
  return Effect.catchAllCause(app as HttpApp.Default<E, R>, (cause) => {
    if (Cause.isInterrupted(cause) && !Cause.isDie(cause) && !Cause.isFailure(cause)) {
      return Effect.failCause(cause as Cause.Cause<never>)
    }
    const failure = Cause.failureOption(cause)
    if (failure._tag === "Some") {
      const error = failure.value
      const own = custom === undefined ? Option.none<Problem>() : custom(error)
      if (own._tag === "Some") {
        return Effect.succeed(toResponse(own.value))
      }
      if (methods !== undefined && HttpServerError.isServerError(error) && error._tag === "RouteNotFound") {
        return Effect.succeed(unmatched(methods, error.request))
      }
      const known = responseOf(error)
      if (known !== undefined) {
        return known
      }
    }
    // As the platform does: what knows its response is one, also when it was thrown. A value that does not fit its schema is
    // the client's fault only where the failure says so.
    for (const defect of Cause.defects(cause)) {
      const known = ParseResult.isParseError(defect) ? undefined : responseOf(defect)
      if (known !== undefined) {
        return known
      }
    }
    return Effect.as(
      Effect.annotateLogs(Effect.logError("A request failed with a defect", cause), { module: "HttpErrors" }),
      toResponse(internalError.problem)
    )
  })
}

/**
 * What a server runs for each request: the app with its failures answered, then the middleware, then `respond`. It never
 * fails with a response, as the platform's own does: a request that its client has left is no crash, and a failure that was
 * answered by the middleware is left as it is for the census.
 *
 * `NodeServer` and the harness in memory both run this, so that they answer alike.
 *
 * @since 0.1.0
 * @category combinators
 */
export const toHandled = <R, E2>(
  app: HttpApp.Default<unknown, R>,
  respond: (
    request: HttpServerRequest.HttpServerRequest,
    response: HttpServerResponse.HttpServerResponse
  ) => Effect.Effect<unknown, E2>,
  middleware?: HttpMiddleware.HttpMiddleware
): Effect.Effect<void, never, Exclude<R | HttpServerRequest.HttpServerRequest, Scope.Scope>> =>
  middleware === undefined
    ? Effect.flatMap(Scope.make(), (scope) =>
      Effect.provideService(toHandledScoped(app, respond), Scope.Scope, scope)) as never
    : throughPlatform(app, respond, middleware)

/**
 * `toHandled` for a server that has put a scope of its own into the context of each request. The scope is closed at the end.
 *
 * A request has a span where somebody keeps spans, or where it brought a trace that others will go on with; Effect's own
 * tracer keeps none.
 *
 * @since 0.1.0
 * @category combinators
 */
export const toHandledScoped = <R, E2>(
  app: HttpApp.Default<unknown, R>,
  respond: (
    request: HttpServerRequest.HttpServerRequest,
    response: HttpServerResponse.HttpServerResponse
  ) => Effect.Effect<unknown, E2>
): Effect.Effect<void, never, R | HttpServerRequest.HttpServerRequest | Scope.Scope> => {
  const self = handled(app)
  const withSpan = throughPlatform(app, respond, undefined)
  const run = Effect.withFiberRuntime<void, never, R | HttpServerRequest.HttpServerRequest | Scope.Scope>((fiber) => {
    const context = fiber.currentContext as Context.Context<HttpServerRequest.HttpServerRequest | Scope.Scope>
    const request = Context.get(context, HttpServerRequest.HttpServerRequest)
    if (isTraced(fiber, request)) {
      return withSpan as Effect.Effect<void>
    }
    const scope = Context.get(context, Scope.Scope) as Scope.CloseableScope
    const failed = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
      Effect.onExit(answered(cause, respond), () => Scope.close(scope, Exit.failCause(cause)))
    return Effect.matchCauseEffect(self, {
      onFailure: failed,
      onSuccess: (response) => {
        const handler = fiber.getFiberRef(HttpApp.currentPreResponseHandlers)
        const sent = handler._tag === "None"
          ? respond(request, response)
          : Effect.flatMap(handler.value(request, response), (other) => respond(request, other))
        return Effect.matchCauseEffect(sent, {
          onFailure: failed,
          onSuccess: () => ejected().has(scope) ? Effect.void : Scope.close(scope, Exit.succeed(response))
        })
      }
    })
  })
  // A fiber that was interrupted runs no handler of its cause where it can be interrupted.
  return Effect.uninterruptible(run)
}

/** The platform's way, with a span and for a middleware. */
const throughPlatform = <R, E2>(
  app: HttpApp.Default<unknown, R>,
  respond: (
    request: HttpServerRequest.HttpServerRequest,
    response: HttpServerResponse.HttpServerResponse
  ) => Effect.Effect<unknown, E2>,
  middleware: HttpMiddleware.HttpMiddleware | undefined
): Effect.Effect<void, never, Exclude<R | HttpServerRequest.HttpServerRequest, Scope.Scope>> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.catchAllCause(restore(HttpApp.toHandled(handled(app), respond, middleware)), withoutResponse)
  )

/** Responds to what went wrong, as the platform does. */
const answered = <E2>(
  cause: Cause.Cause<unknown>,
  respond: (
    request: HttpServerRequest.HttpServerRequest,
    response: HttpServerResponse.HttpServerResponse
  ) => Effect.Effect<unknown, E2>
): Effect.Effect<void> =>
  Effect.catchAllCause(HttpApp.toHandled(Effect.failCause(cause), respond), withoutResponse).pipe(
    HttpMiddleware.withTracerDisabledWhenEffect(() => true)
  ) as Effect.Effect<void>

const isTraced = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  request: HttpServerRequest.HttpServerRequest
): boolean => {
  const tracer = Context.get(fiber.getFiberRef(DefaultServices.currentServices), Tracer.Tracer)
  const isKept = tracer !== ownTracer || request.headers["traceparent"] !== undefined ||
    request.headers["b3"] !== undefined || request.headers["x-b3-traceid"] !== undefined
  return isKept && !fiber.getFiberRef(HttpMiddleware.currentTracerDisabledWhen)(request)
}

const ownTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** The scopes that `HttpApp.ejectDefaultScopeClose` was told of. */
const ejected = () => globalValue("@effect/platform/HttpApp/ejectedScopes", () => new WeakSet<Scope.Scope>())

/** The platform adds the response to the cause of a request that failed; the census is told of the failure alone. */
const withoutResponse = (cause: Cause.Cause<never>): Effect.Effect<void> => {
  const [, stripped] = HttpServerError.causeResponseStripped(cause)
  return stripped._tag === "Some" && !Cause.isEmpty(stripped.value) ? Effect.failCause(stripped.value) : Effect.void
}

const responseOf = (error: unknown): Effect.Effect<HttpServerResponse.HttpServerResponse> | undefined => {
  if (HttpServerResponse.isServerResponse(error)) {
    return Effect.succeed(error)
  }
  const known = toProblem(error)
  if (known._tag === "Some") {
    return Effect.succeed(toResponse(known.value))
  }
  return HttpServerRespondable.isRespondable(error)
    ? HttpServerRespondable.toResponseOrElse(error, toResponse(internalError.problem))
    : undefined
}

/**
 * Reads the body as JSON and decodes it: 415 for another content type (which also keeps cross-site forms out), 413 for
 * too many bytes (`HttpServerRequest.MaxBodySize`), 400 `InvalidJson` with the parser's words, 400 `InvalidRequest`
 * with the field and what was expected.
 *
 * @since 0.1.0
 * @category request
 */
export const bodyJson = <A, I, R>(
  schema: Schema.Schema<A, I, R>,
  options?: ParseOptions
): Effect.Effect<A, HttpError, R | HttpServerRequest.HttpServerRequest> => {
  const decode = Schema.decodeUnknown(schema, options)
  return Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const type = (request.headers["content-type"] ?? "").split(";", 1)[0].trim().toLowerCase()
    if (type !== "application/json" && !type.endsWith("+json")) {
      return Effect.fail(
        make("UnsupportedMediaType", type === "" ? "the request has no content-type" : `cannot read ${type}`, {
          field: "content-type",
          expected: "application/json"
        })
      )
    }
    return limitedText(request).pipe(
      Effect.flatMap((text) =>
        Effect.try({
          try: () => JSON.parse(text) as unknown,
          catch: invalidJson
        })
      ),
      Effect.flatMap((value) => Effect.mapError(decode(value), invalid))
    )
  })
}

/**
 * Decodes the query (`?a=1&b=2`, repeated keys as arrays), 400 with the field and what was expected.
 *
 * @since 0.1.0
 * @category request
 */
export const searchParams = <A, I extends Readonly<Record<string, string | ReadonlyArray<string> | undefined>>, R>(
  schema: Schema.Schema<A, I, R>,
  options?: ParseOptions
): Effect.Effect<A, HttpError, R | HttpServerRequest.ParsedSearchParams> =>
  Effect.mapError(HttpServerRequest.schemaSearchParams(schema, options), invalid)

/**
 * Decodes the path's parameters, 400 with the field and what was expected.
 *
 * @since 0.1.0
 * @category request
 */
export const pathParams = <A, I extends Readonly<Record<string, string | undefined>>, R>(
  schema: Schema.Schema<A, I, R>,
  options?: ParseOptions
): Effect.Effect<A, HttpError, R | HttpRouter.RouteContext> =>
  Effect.mapError(HttpRouter.schemaPathParams(schema, options), invalid)

/** The limit is checked here too, because not every platform's request does it. */
const limitedText = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string, HttpError> =>
  Effect.flatMap(HttpServerRequest.MaxBodySize, (maxBodySize) => {
    const limit = maxBodySize._tag === "Some" ? Number(maxBodySize.value) : Number.POSITIVE_INFINITY
    if (Number(request.headers["content-length"] ?? 0) > limit) {
      return Effect.fail(bodyTooLarge(limit))
    }
    return request.text.pipe(
      Effect.mapError(requestProblem),
      Effect.filterOrFail(
        (text) => text.length * 3 <= limit || new TextEncoder().encode(text).length <= limit,
        () => bodyTooLarge(limit)
      )
    )
  })

const hasProblem = (u: unknown): u is HasProblem =>
  Predicate.hasProperty(u, "problem") && Predicate.hasProperty(u.problem, "status") &&
  Predicate.hasProperty(u.problem, "body")

const pathOf = (request: HttpServerRequest.HttpServerRequest): string =>
  request.originalUrl.split("?", 1)[0].replace(/^https?:\/\/[^/]*/i, "")

const notFound = (request: HttpServerRequest.HttpServerRequest): HttpError =>
  make("NotFound", `there is no ${named(request)} ${clip(pathOf(request))}`)

/** The length of an answer to `HEAD` is that of the answer to `GET` (RFC 9110, 8.6), so both have the same words. */
const named = (request: HttpServerRequest.HttpServerRequest): string =>
  request.method === "HEAD" ? "GET" : request.method

const multipartProblem = (error: Multipart.MultipartError): Option.Option<Problem> => {
  switch (error.reason) {
    case "FileTooLarge":
    case "FieldTooLarge":
    case "BodyTooLarge":
      return Option.some(make("BodyTooLarge", "the multipart body is too large", { reason: error.reason }).problem)
    case "TooManyParts":
      return Option.some(
        make("BodyTooLarge", "the multipart body has too many parts", { reason: error.reason }).problem
      )
    case "Parse":
      return Option.some(
        make("BadRequest", "the body is not a multipart form", { expected: "multipart/form-data" }).problem
      )
    case "InternalError":
      // The stream that it reads failed: why is in there.
      return error.cause instanceof HttpError ? Option.some(error.cause.problem) : Option.none()
  }
}

const requestProblem = (error: HttpServerError.RequestError): HttpError => {
  if (error.cause instanceof HttpError) {
    return error.cause
  }
  if (error.cause instanceof SyntaxError) {
    return invalidJson(error.cause)
  }
  if (error.cause instanceof Error && error.cause.message === "maxBytes exceeded") {
    return make("BodyTooLarge", "the body is too large")
  }
  return make(
    "BadRequest",
    error.description ?? "the request could not be read",
    {},
    { cause: error.cause }
  )
}

const unmatched = (
  patterns: ReadonlyArray<Pattern>,
  request: HttpServerRequest.HttpServerRequest
): HttpServerResponse.HttpServerResponse => {
  const path = request.url.split("?", 1)[0]
  const methods = new Set<string>()
  for (const pattern of patterns) {
    if (pattern.matches(path)) {
      pattern.methods.forEach((method) => methods.add(method))
    }
  }
  if (methods.size === 0) {
    return toResponse(notFound(request).problem)
  }
  const allow = [...methods, "OPTIONS"].join(", ")
  if (request.method === "OPTIONS") {
    return HttpServerResponse.empty({ status: 204, headers: { allow } })
  }
  return toResponse(
    make("MethodNotAllowed", `${clip(path)} does not answer to ${named(request)}`, { expected: allow }, {
      headers: { allow }
    }).problem
  )
}
