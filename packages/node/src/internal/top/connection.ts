/** The feed and the snapshot of a console, over HTTP. */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { Frame, Hello } from "@holdfast/http/ConsoleFeed"
import * as SseClient from "@holdfast/http/SseClient"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Options } from "./options.js"

/** There is nothing to look at, and trying again does not help. */
export class NoConsole extends Data.TaggedError("NoConsole")<{ readonly message: string }> {}

const refused = ({ token, url }: Options, status: number): NoConsole =>
  new NoConsole({
    message: status === 401
      ? token === undefined
        ? `${url} asks for a token: give it with --token, --token-file or HOLDFAST_TOKEN.`
        : `${url} does not accept this token.`
      : `${url} is no console: it answered ${status}.`
  })

const requestOf = ({ token, url }: Options, path: string, method: "GET" | "POST" = "GET") => {
  const request = HttpClientRequest.make(method)(`${url}/${path}`)
  return token === undefined ? request : HttpClientRequest.bearerToken(request, token)
}

/** What the network said, in one word where it has one. */
const why = (cause: unknown): string => {
  let said = "no answer"
  for (let one = cause; one instanceof Error; one = one.cause) {
    if ("code" in one && typeof one.code === "string") return one.code
    said = one.message
  }
  return said
}

const otherVersion = ({ url }: Options) => () =>
  new NoConsole({ message: `${url} speaks another version of the console's feed.` })

const Snapshot = Schema.Struct({ hello: Hello, frame: Frame })

/** All of it, once. */
export const snapshot = (options: Options): Effect.Effect<typeof Snapshot.Type, NoConsole> =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const { status, text } = yield* client.execute(requestOf(options, "snapshot")).pipe(
      Effect.flatMap((response) => Effect.map(response.text, (text) => ({ status: response.status, text }))),
      Effect.scoped,
      Effect.mapError((error) => new NoConsole({ message: `${options.url} cannot be reached: ${why(error)}.` }))
    )
    if (status !== 200) return yield* refused(options, status)
    return yield* Effect.mapError(Schema.decode(Schema.parseJson(Snapshot))(text), otherVersion(options))
  }).pipe(Effect.provide(FetchHttpClient.layer))

/** Says that a section is open, for the next half minute. The viewer's own sections are nothing to the process. */
export const watch = (options: Options, section: string): Effect.Effect<void> =>
  Effect.flatMap(
    HttpClient.HttpClient,
    (client) => client.execute(requestOf(options, `watch/${encodeURIComponent(section)}`, "POST"))
  ).pipe(Effect.scoped, Effect.ignore, Effect.provide(FetchHttpClient.layer))

const decodeHello = Schema.decode(Schema.parseJson(Hello))
const decodeFrame = Schema.decode(Schema.parseJson(Frame))

/** A frame comes every second. */
const idleTimeout = "8 seconds"

/** From a quarter of a second to two, for ever. */
const reconnect = Schedule.exponential("250 millis").pipe(Schedule.union(Schedule.spaced("2 seconds")))

const reasonOf = ({ cause, reason, status }: SseClient.SseDisconnected): string =>
  reason === "Transport"
    ? why(cause)
    : reason === "Status"
    ? `it answered ${status}`
    : reason === "Ended"
    ? "the stream ended"
    : "no answer"

/**
 * Follows the feed for ever. What is refused at the first time is refused; later only a token is: a proxy may answer 404
 * while the process behind it comes up again.
 */
export const follow = (
  options: Options,
  on: {
    readonly hello: (hello: Hello) => void
    readonly frame: (frame: Frame) => void
    readonly lost: (why: string, delayMillis: number) => void
  }
): Effect.Effect<never, NoConsole> =>
  Effect.gen(function*() {
    const client = yield* SseClient.make
    let connected = false
    const lost = (why: string, delay: Duration.DurationInput) =>
      Effect.sync(() => on.lost(why, Duration.toMillis(delay)))
    const messages = client.messages(requestOf(options, "feed"), {
      idleTimeout,
      reconnect,
      maxDelay: "10 seconds",
      maxFrameLength: 64 * 1024 * 1024,
      onDisconnect: (why, delay) => lost(reasonOf(why), delay)
    })
    const once = messages.pipe(
      Stream.runForEach(({ data, event }) =>
        event === "hello"
          ? Effect.map(Effect.mapError(decodeHello(data), otherVersion(options)), (hello) => {
            connected = true
            on.hello(hello)
          })
          : event === "frame"
          ? Effect.map(Effect.mapError(decodeFrame(data), otherVersion(options)), on.frame)
          : Effect.void
      ),
      Effect.catchTag("SseClientError", (error) =>
        error.status === undefined || !connected || error.status === 401
          ? Effect.fail(refusedBy(options, error))
          : Effect.zipRight(lost(error.message, pause), Effect.sleep(pause)))
    )
    return yield* Effect.forever(once)
  }).pipe(Effect.provide(FetchHttpClient.layer))

const pause = "2 seconds"

const refusedBy = (options: Options, error: SseClient.SseClientError): NoConsole =>
  error.reason === "Status" && error.status !== undefined
    ? refused(options, error.status)
    : new NoConsole({ message: `${error.message}.` })
