/**
 * A client of event streams that stays connected: over any `HttpClient`, as a `Stream` of messages.
 *
 * - When a connection ends, however it ends, it connects again with the `Last-Event-ID` of the last message that it gave
 *   on, or of a later block that had an `id:` alone. The delay is that of the `reconnect` schedule, and never less than what
 *   the server last asked for with `retry:` or `Retry-After`, as far as `maxDelay`. A connection that gave a message, other
 *   than the `position` with which a hub begins, starts the schedule anew.
 * - An id goes out as UTF-8. One that no header can carry (control characters) is passed over: the client comes back with
 *   the one before it, and gets again what came since.
 * - 204 ends the stream: the server has nothing more to say. 408, 425, 429 and every 5xx are tried again. Any other status,
 *   a content type other than `text/event-stream`, an event that is too large, and a schedule that is done, fail it.
 * - Nothing is buffered beyond a few chunks: a slow consumer slows the server down.
 * - Ending the stream closes the connection, and so does the end of every attempt, with what was not read of its body.
 *
 * It is not exactly-once: a message is given on before its id is acknowledged by anything, so a consumer that fails in the
 * middle and starts over passes the last id that it has dealt with itself.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { Inbox } from "@holdfast/core/Inbox"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Race from "@holdfast/core/Race"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Take from "effect/Take"
import * as Sse from "./Sse.js"
import * as SseFormat from "./SseFormat.js"

/**
 * Reads event streams, and reconnects.
 *
 * @since 0.1.0
 * @category tags
 */
export class SseClient extends Context.Tag("@holdfast/http/SseClient")<SseClient, {
  /** Connects when it is run. A string is a URL to `GET`. Throws `InvalidOption` for an option that makes no sense. */
  readonly messages: (
    request: HttpClientRequest.HttpClientRequest | string,
    options?: Options
  ) => Stream.Stream<Sse.Message, SseClientError>
}>() {}

/**
 * When to reconnect, and when to give up.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Behind which message to begin. */
  readonly lastEventId?: string | undefined
  /** The delays between connections; it sees why each one ended. Default: `defaultReconnect`. */
  readonly reconnect?: Schedule.Schedule<unknown, SseDisconnected> | undefined
  /** How long the head of a response may take. Default 30 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /**
   * A connection on which nothing comes for this long, not even a comment, is given up. What came while this process stood still
   * is read first. Default: never.
   */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /** Characters of one event. Default 1,048,576. */
  readonly maxFrameLength?: number | undefined
  /** The most that a server can ask for with `retry:` or `Retry-After`. Default 5 minutes. */
  readonly maxDelay?: Duration.DurationInput | undefined
  /** Called with every end of a connection and how long it takes until the next. */
  readonly onDisconnect?: ((why: SseDisconnected, delay: Duration.Duration) => Effect.Effect<unknown>) | undefined
}

/**
 * What holds where the options say nothing.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  connectTimeout: "30 seconds",
  maxDelay: "5 minutes",
  maxFrameLength: Sse.defaults.maxFrameLength
} as const

/**
 * A connection ended, or was not made.
 *
 * @since 0.1.0
 * @category errors
 */
export class SseDisconnected extends Data.TaggedError("SseDisconnected")<{
  readonly reason: "Ended" | "Transport" | "Status" | "Timeout" | "Idle"
  readonly status?: number | undefined
  readonly cause?: unknown
}> {}

/**
 * The stream is over, against the will of who reads it.
 *
 * - `Status`, `ContentType`: what answers there is no event stream.
 * - `FrameTooLarge`: the peer sent an event beyond `maxFrameLength`.
 * - `Exhausted`: the schedule is done. `cause` is the last `SseDisconnected`.
 *
 * @since 0.1.0
 * @category errors
 */
export class SseClientError extends Data.TaggedError("SseClientError")<{
  readonly reason: "Status" | "ContentType" | "FrameTooLarge" | "Exhausted"
  readonly url: string
  readonly status?: number | undefined
  readonly cause?: unknown
}> {
  /** @since 0.1.0 */
  override get message() {
    switch (this.reason) {
      case "Status":
        return `${this.url} answered ${this.status}`
      case "ContentType":
        return `${this.url} is no event stream`
      case "FrameTooLarge":
        return `${this.url} sent an event that is too large`
      case "Exhausted":
        return `${this.url} could not be reached any more`
    }
  }
}

/**
 * Doubles from half a second to 30 seconds, jittered, without an end.
 *
 * @since 0.1.0
 * @category options
 */
export const defaultReconnect: Schedule.Schedule<unknown, unknown> = Schedule.exponential("500 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.jittered
)

/**
 * A client over the `HttpClient` of the context.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<SseClient["Type"], never, HttpClient.HttpClient> = Effect.map(
  HttpClient.HttpClient,
  (client) => {
    // a body that nobody reads keeps its connection: with a scope, the end of an attempt is the end of its request
    const scoped = HttpClient.withScope(client)
    return {
      messages: (given, options = {}) => {
        unsafeCheck(options)
        const request = (typeof given === "string" ? HttpClientRequest.get(given) : given).pipe(
          HttpClientRequest.setHeaders({ accept: Sse.contentType, "cache-control": "no-cache" })
        )
        return Stream.unwrapScoped(
          Effect.gen(function*() {
            const inbox = new Inbox<Take.Take<Sse.Message, SseClientError>>(4)
            yield* Effect.forkScoped(
              connected(scoped, request, options, (messages) => inbox.offer(Take.chunk(messages))).pipe(
                Effect.matchCauseEffect({
                  onFailure: (cause) => inbox.offer(Take.failCause(cause)),
                  onSuccess: () => inbox.offer(Take.end)
                })
              )
            )
            return Stream.repeatEffectChunkOption(
              Effect.zipRight(inbox.filled, Effect.suspend(() => Take.done(inbox.unsafeTake(1)[0])))
            )
          })
        )
      }
    }
  }
)

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { FetchHttpClient } from "@effect/platform"
 * import { SseClient } from "@holdfast/http"
 * import { Effect, Layer, Stream } from "effect"
 *
 * export const follow = Effect.flatMap(SseClient.SseClient, (client) =>
 *   client.messages("http://127.0.0.1:3000/events?topic=news").pipe(
 *     Stream.runForEach((message) => Effect.log(message.data))
 *   )).pipe(Effect.provide(SseClient.layer.pipe(Layer.provide(FetchHttpClient.layer))))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SseClient, never, HttpClient.HttpClient> = Layer.effect(SseClient, make)

/**
 * Messages whose data is JSON of a schema. Those of other events than `events` are left out; without `events`, those that
 * the hub says itself (`SseFormat.reservedNames`).
 *
 * @since 0.1.0
 * @category decoding
 */
export const decoded = <A, I, R>(
  schema: Schema.Schema<A, I, R>,
  options?: { readonly events?: ReadonlyArray<string> | undefined }
): <E, R2>(messages: Stream.Stream<Sse.Message, E, R2>) => Stream.Stream<
  { readonly id: string; readonly event: string; readonly value: A },
  E | ParseResult.ParseError,
  R | R2
> => {
  const decode = Schema.decode(Schema.parseJson(schema))
  return (messages) =>
    messages.pipe(
      Stream.filter(({ event }) =>
        options?.events === undefined ? !control.has(event) : options.events.includes(event)
      ),
      Stream.mapEffect(({ data, event, lastEventId }) =>
        Effect.map(decode(data), (value) => ({ id: lastEventId, event, value }))
      )
    )
}

const control: ReadonlySet<string> = new Set(SseFormat.reservedNames)

const unsafeCheck = ({ connectTimeout, idleTimeout, maxDelay, maxFrameLength }: Options): void => {
  const { unsafeDuration, unsafeWhole } = InvalidOption
  unsafeDuration("SseClient.connectTimeout", connectTimeout ?? defaults.connectTimeout, { infinite: true })
  unsafeDuration("SseClient.idleTimeout", idleTimeout ?? Infinity, { infinite: true })
  unsafeDuration("SseClient.maxDelay", maxDelay ?? defaults.maxDelay, { infinite: true, zero: true })
  unsafeWhole("SseClient.maxFrameLength", maxFrameLength ?? defaults.maxFrameLength, { infinite: true, min: 1 })
}

/** Connects again and again; succeeds when the server says that there is no more. */
const connected = (
  client: HttpClient.HttpClient.With<HttpClientError.HttpClientError, Scope.Scope>,
  request: HttpClientRequest.HttpClientRequest,
  options: Options,
  give: (messages: Chunk.Chunk<Sse.Message>) => Effect.Effect<unknown>
): Effect.Effect<void, SseClientError> =>
  Effect.gen(function*() {
    let lastEventId = options.lastEventId ?? ""
    /** The last one that a header can carry. */
    let sent = headerOf(lastEventId) ?? ""
    const maxDelay = Duration.toMillis(options.maxDelay ?? defaults.maxDelay)
    const seen = (id: string) => {
      lastEventId = id
      sent = headerOf(id) ?? sent
    }
    /** Milliseconds that the server asked for: for every connection, and for the next one. */
    let retry = 0
    let retryAfter = 0
    let fresh = false
    const clock = yield* Effect.clock
    const now = () => clock.unsafeCurrentTimeMillis()
    let why = new SseDisconnected({ reason: "Ended" })

    const driver = yield* (options.reconnect ?? defaultReconnect).pipe(
      Schedule.modifyDelayEffect((_, delay) => {
        const least = Duration.max(delay, Duration.millis(Math.min(maxDelay, Math.max(retry, retryAfter))))
        return Effect.as(options.onDisconnect?.(why, least) ?? Effect.void, least)
      }),
      Schedule.driver
    )

    const open = Effect.suspend(() =>
      client.execute(sent === "" ? request : HttpClientRequest.setHeader(request, "last-event-id", sent))
    ).pipe(
      Effect.mapError((cause) => new SseDisconnected({ reason: "Transport", cause })),
      Race.timeoutFail({
        duration: options.connectTimeout ?? defaults.connectTimeout,
        onTimeout: () => new SseDisconnected({ reason: "Timeout" })
      })
    )

    const read = (response: HttpClientResponse.HttpClientResponse) => {
      const bytes = Stream.mapError(response.stream, (cause) => new SseDisconnected({ reason: "Transport", cause }))
      return (options.idleTimeout === undefined ? bytes : within(bytes, options.idleTimeout)).pipe(
        Sse.decode({ lastEventId, maxFrameLength: options.maxFrameLength ?? defaults.maxFrameLength }),
        Stream.runForEachChunk((incoming) => {
          const messages: Array<Sse.Message> = []
          let last = lastEventId
          for (const one of incoming) {
            if (one._tag === "Message") {
              messages.push(one)
              fresh ||= one.event !== "position"
              last = one.lastEventId
            } else if (one._tag === "Position") {
              last = one.lastEventId
            } else if (one._tag === "Retry") {
              retry = one.millis
            }
          }
          if (messages.length === 0) {
            seen(last)
            return Effect.void
          }
          return Effect.zipRight(give(Chunk.unsafeFromArray(messages)), Effect.sync(() => seen(last)))
        }),
        Effect.zipRight(new SseDisconnected({ reason: "Ended" }))
      )
    }

    /** True when there is no more. */
    const once = Effect.scoped(Effect.flatMap(
      open,
      (response): Effect.Effect<boolean, SseDisconnected | SseClientError | Sse.FrameTooLarge> => {
        const { status } = response
        if (status === 204) {
          return Effect.succeed(true)
        }
        if (status === 408 || status === 425 || status === 429 || status >= 500) {
          retryAfter = retryAfterOf(response.headers, now())
          return new SseDisconnected({ reason: "Status", status })
        }
        if (status !== 200) {
          return new SseClientError({ reason: "Status", url: request.url, status })
        }
        if ((response.headers["content-type"] ?? "").split(";")[0].trim().toLowerCase() !== Sse.contentType) {
          return new SseClientError({ reason: "ContentType", url: request.url, status })
        }
        return read(response)
      }
    ))

    while (true) {
      const ended = yield* Effect.either(once)
      if (ended._tag === "Right") {
        return
      }
      switch (ended.left._tag) {
        case "SseClientError":
          return yield* ended.left
        case "FrameTooLarge":
          return yield* new SseClientError({ reason: "FrameTooLarge", url: request.url, cause: ended.left })
        case "SseDisconnected":
          why = ended.left
      }
      if (fresh) {
        fresh = false
        yield* driver.reset
      }
      yield* Effect.mapError(driver.next(why), () =>
        new SseClientError({ reason: "Exhausted", url: request.url, status: why.status, cause: why }))
      retryAfter = 0
    }
  })

/** Fails when nothing arrives for so long. */
const within = (
  bytes: Stream.Stream<Uint8Array, SseDisconnected>,
  duration: Duration.DurationInput
): Stream.Stream<Uint8Array, SseDisconnected> =>
  Stream.fromPull(Effect.map(
    Stream.toPull(bytes),
    Race.timeoutFail({ duration, onTimeout: () => Option.some(new SseDisconnected({ reason: "Idle" })) })
  ))

/** Milliseconds. A date counts from the server's own clock where it says what that is. */
const retryAfterOf = (headers: Readonly<Record<string, string | undefined>>, now: number): number => {
  const value = headers["retry-after"]?.trim() ?? ""
  if (/^[0-9]+$/.test(value)) {
    return Number(value) * 1000
  }
  const at = Date.parse(value)
  const from = Date.parse(headers["date"] ?? "")
  return Number.isNaN(at) ? 0 : Math.max(0, at - (Number.isNaN(from) ? now : from))
}

/** The UTF-8 bytes of an id, as a header carries them. Undefined: no header can (RFC 9110, 5.5). */
const headerOf = (id: string): string | undefined => {
  let value = ""
  for (const byte of new TextEncoder().encode(id)) {
    if ((byte < 32 && byte !== 9) || byte === 127) {
      return undefined
    }
    value += String.fromCharCode(byte)
  }
  return value
}
