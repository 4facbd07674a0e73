/**
 * A WebSocket on the same hub as server-sent events: the same topics, policies, limits, resume and clean-up, and commands
 * inwards.
 *
 * In this order: a well-formed handshake (426, 400), the page's origin (403), then what `SseRoute` does: where to resume
 * (`?lastEventId=`, the id of the last event that the client has seen), authorisation, topics, admission. Whatever refuses
 * does so with an HTTP status and a JSON body; only then is the connection upgraded.
 *
 * - **Outwards**: the messages of `WebSocketFormat`. A reader that is behind is the hub's business, as everywhere.
 * - **Inwards**: each text message is JSON and goes through your schema. What does not fit is answered with an `error`
 *   message that names the field, and the connection is kept. A field `ref` is taken off first and comes back with the
 *   answer. Commands of one connection run one at a time, in order; when `queue` of them wait, reading stops. What the
 *   connection had already delivered then, one read of the socket (64 KiB at most), waits beside them.
 * - **Sizes and times**: a message over `maxMessageBytes` closes with 1009; a peer that gives no sign of life for two
 *   ping intervals is disconnected. While reading is stopped, no sign can come and none is asked for. A part of a long message
 *   is a sign, too, and so is what came while this process stood still: it is read before anybody is given up.
 * - **Close codes**: 1001 drained, 1011 error, 1013 slow, 4401 expired, 4403 kicked, 4409 replaced, else 1000. The
 *   reason goes with it, cut to the 123 bytes that a close frame has for it.
 * - **Shutdown**: the session, the command in progress and its fiber belong to the scope of the request. They are in the
 *   census with kind `session`.
 *
 * A page on another site can open a WebSocket with your cookies. Unless `origins` says otherwise, a handshake with an
 * `Origin` is taken from the site itself only.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as EventLoop from "@holdfast/core/EventLoop"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Inbox } from "@holdfast/core/Inbox"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Admission from "./Admission.js"
import * as HttpErrors from "./HttpErrors.js"
import { fromHandler, type Made } from "./internal/layerRoutes.js"
import type { Format } from "./SessionSink.js"
import * as SessionSink from "./SessionSink.js"
import type * as SseFormat from "./SseFormat.js"
import type * as SseHub from "./SseHub.js"
import * as WebSocketFormat from "./WebSocketFormat.js"
import * as WebSocketTransport from "./WebSocketTransport.js"

/**
 * What clients may say.
 *
 * @since 0.1.0
 * @category options
 */
export interface Commands<A, I, E, R> {
  readonly schema: Schema.Schema<A, I>
  /**
   * What it succeeds with is the `value` of the reply; `undefined` sends none, unless the command has a `ref`. Failures
   * that `HttpErrors.toProblem` knows are told to the client, others are logged and told as `InternalError`.
   */
  readonly handle: (command: A, session: SseHub.Session, grant: Admission.Grant) => Effect.Effect<unknown, E, R>
}

/**
 * The hub that is served, who is let in, and which commands come in.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<
  E = never,
  R = never,
  E2 = never,
  R2 = never,
  A = never,
  I = never,
  E3 = never,
  R3 = never
> extends Admission.Options<E, R, E2, R2> {
  readonly hub: SseHub.Service
  /** Without it, the connection is for reading, and every inbound message is answered with an error. */
  readonly commands?: Commands<A, I, E3, R3> | undefined
  /** Default: `WebSocketFormat.make()`. */
  readonly format?: Format<SseFormat.Envelope<never>> | undefined
  /** Whose pages may connect. Default: those of the host that the request names. */
  readonly origins?: "*" | ReadonlyArray<string> | ((origin: string) => boolean) | undefined
  /** Subprotocols, the preferred first. A client that asks for others only is given none. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** Bytes of an inbound message. Default 64 KiB. */
  readonly maxMessageBytes?: number | undefined
  /** Commands that wait for the one in progress. Default 32. */
  readonly queue?: number | undefined
  /** How often a peer is asked for a sign, if it gives none by itself. Default 20 seconds. */
  readonly pingInterval?: Duration.DurationInput | undefined
  /** How long a peer may take to answer a close. Default 2 seconds. */
  readonly closeTimeout?: Duration.DurationInput | undefined
}

/**
 * What holds where the options say nothing.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  /** Bytes. */
  maxMessageBytes: 64 * 1024,
  queue: 32,
  pingInterval: "20 seconds",
  closeTimeout: "2 seconds"
} as const

const acceptOptions = (
  options: Pick<Options, "maxMessageBytes" | "protocols" | "closeTimeout">
): WebSocketTransport.AcceptOptions => ({
  maxMessageBytes: InvalidOption.unsafeWhole(
    "WebSocketRoute.maxMessageBytes",
    options.maxMessageBytes ?? defaults.maxMessageBytes,
    { min: 1 }
  ),
  protocols: options.protocols ?? [],
  closeTimeout: InvalidOption.unsafeDuration(
    "WebSocketRoute.closeTimeout",
    options.closeTimeout ?? defaults.closeTimeout
  )
})

/**
 * The handler of a route, for `HttpRouter.get`. Throws `InvalidOption` for a number or a duration that makes no sense.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E = never, R = never, E2 = never, R2 = never, A = never, I = never, E3 = never, R3 = never>(
  options: Options<E, R, E2, R2, A, I, E3, R3>
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  HttpErrors.HttpError | E | E2,
  HttpServerRequest.HttpServerRequest | Scope.Scope | R | R2 | R3
> => {
  const format = (options.format ?? WebSocketFormat.make()) as Format<never>
  Admission.unsafeCheck(options)
  const accept = acceptOptions(options)
  const capacity = InvalidOption.unsafeWhole("WebSocketRoute.queue", options.queue ?? defaults.queue, { min: 1 })
  const pingInterval = InvalidOption.unsafeDuration(
    "WebSocketRoute.pingInterval",
    options.pingInterval ?? defaults.pingInterval
  )
  const decode = options.commands === undefined ? undefined : Schema.decodeUnknown(options.commands.schema)

  /** Everything up to an open session, in its scope. What it returns waits for the end. */
  const open = Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    yield* WebSocketTransport.checkHandshake(request)
    yield* checkOrigin(request, options.origins)
    const { grant, ...arrival } = yield* Admission.admit(request, options, options.hub.epoch)
    const peer = yield* WebSocketTransport.connect(request, accept)
    const inbound = new Inbound(peer, capacity)
    peer.listen(inbound)
    const session = yield* Effect.mapError(
      options.hub.open({
        sink: peer.sink,
        format,
        ...arrival,
        principal: grant.principal,
        policy: grant.policy,
        capacity: grant.capacity
      }),
      Admission.toHttpError
    )
    SessionSink.whenStopped(request, ending(session.end))
    yield* inbound.watch(pingInterval)
    if (options.commands === undefined) {
      inbound.answerAll(session.send)
    } else {
      const { handle } = options.commands
      const work = inbound.each(
        session.send,
        (value) => Effect.flatMap(decode!(value), (command) => handle(command, session, grant))
      )
      inbound.begin(yield* starter(work, `${session.id} commands`))
    }
    return { id: session.id, peer, until: untilClosed(peer, session.awaitEnd) }
  })

  // As with an event stream, the session may outlive the fiber of the request.
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Scope.make(), (scope) => {
      const close = closing(scope)
      return restore(Scope.extend(open, scope)).pipe(
        Effect.onExit((exit) => exit._tag === "Failure" ? close(exit) : Effect.void),
        Effect.flatMap(({ id, peer, until }) =>
          peer.handOver?.(id, until, close) === true
            ? Effect.void
            : Effect.onExit(Effect.interruptible(until), close)
        ),
        Effect.as(HttpServerResponse.empty({ status: 101 }))
      )
    })
  )
}

// Each in a function of its own: what stays with an open session has nothing else of its opening in reach.

const closing = (scope: Scope.CloseableScope) => <A, E>(exit: Exit.Exit<A, E>) => Scope.close(scope, exit)

const ending = (end: SseHub.Session["end"]) => () => Effect.runSync(end("drained"))

const untilClosed = (peer: WebSocketTransport.Peer, awaitEnd: SseHub.Session["awaitEnd"]) =>
  Effect.flatMap(awaitEnd, ({ reason }) => {
    peer.close(WebSocketTransport.closeCode(reason), reason)
    return peer.released
  })

/** Starts the fiber that works on commands, once, when there is one. */
const starter = <R>(
  work: Effect.Effect<never, never, R>,
  name: string
): Effect.Effect<() => void, never, R | Scope.Scope> =>
  Effect.map(Effect.runtime<R | Scope.Scope>(), (runtime) => {
    let start: (() => void) | undefined = () =>
      void Runtime.runSync(runtime)(
        FiberRegistry.forkScoped(Effect.interruptible(work), { name, kind: "session" })
      )
    return () => {
      start?.()
      start = undefined
    }
  })

/** What comes in, and the sign of life that it is. Most connections only listen: they have neither an inbox nor a fiber here. */
class Inbound implements WebSocketTransport.PeerHandlers {
  private inbox: Inbox<string | Uint8Array> | undefined
  private waiting = 0
  /** Reading has stopped: whatever sign the peer gives, it waits behind its commands. */
  private paused = false
  /** It was asked for a sign, and none has come since. */
  private asked = false
  /** Bytes that had come by then. */
  private heard = 0
  private onWork: (() => void) | undefined

  constructor(private readonly peer: WebSocketTransport.Peer, private readonly capacity: number) {}

  onSign(): void {
    this.asked = false
  }

  onMessage(data: string | Uint8Array): void {
    this.waiting++
    this.inbox ??= new Inbox()
    this.inbox.unsafeOffer(data)
    if (this.waiting >= this.capacity) {
      this.paused = this.peer.pause()
      if (!this.paused && this.waiting > this.capacity) {
        this.peer.close(1008, "too many messages at once")
      }
    }
    this.onWork?.()
  }

  /** Calls back whenever a message has come, and now if one has. */
  begin(onWork: () => void): void {
    this.onWork = onWork
    if (this.waiting > 0) {
      onWork()
    }
  }

  /** Answers each message on a connection that is for reading. */
  answerAll(send: SseHub.Session["send"]): void {
    this.begin(() => {
      for (const data of this.inbox!.unsafeTake()) {
        Effect.runSync(answered(data, send, undefined))
        this.settle()
      }
    })
  }

  /** Works on what comes, one after the other, for ever. */
  each<R>(send: SseHub.Session["send"], run: Run<R>): Effect.Effect<never, never, R> {
    return Effect.suspend(() =>
      this.inbox!.each(([data], restore) =>
        Effect.ensuring(restore(answered(data, send, run)), Effect.sync(() => this.settle()))
      )
    )
  }

  private settle(): void {
    this.waiting--
    if (this.waiting === this.capacity - 1) {
      this.paused = false
      this.asked = false
      this.peer.resume()
    }
  }

  /** Asks for a sign now and then, and gives a peer up that has not answered when it is time to ask again. */
  watch(interval: number): Effect.Effect<void, never, Scope.Scope> {
    return Effect.flatMap(Effect.scope, (scope) => {
      const pings = setInterval(() => this.ping(), interval)
      return Scope.addFinalizer(scope, Effect.sync(() => clearInterval(pings)))
    })
  }

  private ping(): void {
    if (this.asked) {
      EventLoop.unsafeAfterTurn(() => this.judge())
    } else {
      this.ask()
    }
  }

  private ask(): void {
    this.asked = !this.paused && this.peer.ping()
    this.heard = this.peer.received?.() ?? 0
  }

  private judge(): void {
    if (this.asked && !this.paused && (this.peer.received?.() ?? 0) === this.heard) {
      this.peer.sink.destroy()
    } else {
      this.ask()
    }
  }
}

/** Runs a command. */
type Run<R> = (command: unknown) => Effect.Effect<unknown, unknown, R>

/** Answers a message. On a connection that is for reading, there is nothing that runs it. */
const answered = <R = never>(
  data: string | Uint8Array,
  send: SseHub.Session["send"],
  run: Run<R> | undefined
): Effect.Effect<unknown, never, R> =>
  Effect.suspend(() => {
    const answer = (value: object) => send(WebSocketFormat.message(value))
    const { problem, ref, value } = parse(data)
    const tagged = ref === undefined ? {} : { ref }
    if (problem !== undefined) {
      return answer({ _tag: "error", ...tagged, error: problem.problem.body })
    }
    if (run === undefined) {
      return answer({ _tag: "error", ...tagged, error: readOnly.problem.body })
    }
    return Effect.matchCauseEffect(run(value), {
      onSuccess: (value) =>
        value === undefined && ref === undefined
          ? Effect.void
          : answer({ _tag: "reply", ...tagged, value: value === undefined ? null : value }),
      onFailure: (cause) => Effect.flatMap(problemOf(cause), (error) => answer({ _tag: "error", ...tagged, error }))
    })
  })

/**
 * Adds the route to a router.
 *
 * @since 0.1.0
 * @category combinators
 */
export const mount = <E = never, R = never, E2 = never, R2 = never, A = never, I = never, E3 = never, R3 = never>(
  path: HttpRouter.PathInput,
  options: Options<E, R, E2, R2, A, I, E3, R3>
) =>
<RE, RR>(router: HttpRouter.HttpRouter<RE, RR>) => HttpRouter.get(router, path, make(options))

/**
 * The route as a Layer for `HttpLayerRouter`. The options may be an effect, for those that come from a service: it runs
 * once, while the layer is built.
 *
 * @example
 * ```ts
 * import { SseHub, WebSocketRoute } from "@holdfast/http"
 * import { Effect, Layer } from "effect"
 *
 * const Chat = WebSocketRoute.layer(
 *   "/chat",
 *   Effect.map(SseHub.SseHub, (hub) => ({ hub, topics: { authorize: () => Effect.void } }))
 * )
 * console.log(Layer.isLayer(Chat))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <
  E = never,
  R = never,
  E2 = never,
  R2 = never,
  A = never,
  I = never,
  E3 = never,
  R3 = never,
  EX = never,
  RX = never
>(
  path: HttpRouter.PathInput,
  options: Made<Options<E, R, E2, R2, A, I, E3, R3>, EX, RX>
) => fromHandler("GET", path, options, make)

const readOnly = HttpErrors.make("MethodNotAllowed", "this connection takes no commands")

const checkOrigin = (
  request: HttpServerRequest.HttpServerRequest,
  origins: Options["origins"]
): Effect.Effect<void, HttpErrors.HttpError> => {
  const origin = request.headers["origin"]
  // Programs send none, browsers always do.
  if (origin === undefined || origins === "*") {
    return Effect.void
  }
  const known = origins === undefined
    ? sameHost(origin, request.headers["host"])
    : typeof origins === "function"
    ? origins(origin)
    : origins.includes(origin)
  return known
    ? Effect.void
    : HttpErrors.make("Forbidden", "pages of this origin may not connect", { field: "origin" })
}

const sameHost = (origin: string, host: string | undefined): boolean => {
  try {
    return host !== undefined && new URL(origin).host === new URL(`${new URL(origin).protocol}//${host}`).host
  } catch {
    return false
  }
}

interface Parsed {
  readonly ref?: string | number
  readonly value?: unknown
  readonly problem?: HttpErrors.HttpError
}

const parse = (data: string | Uint8Array): Parsed => {
  if (typeof data !== "string") {
    return {
      problem: HttpErrors.make("UnsupportedMediaType", "binary messages are not read", { expected: "a text message" })
    }
  }
  let value: unknown
  try {
    value = JSON.parse(data)
  } catch (cause) {
    return { problem: HttpErrors.invalidJson(cause) }
  }
  if (typeof value !== "object" || value === null || !("ref" in value)) {
    return { value }
  }
  const { ref, ...rest } = value
  return typeof ref === "string" || typeof ref === "number"
    ? { ref, value: rest }
    : {
      problem: HttpErrors.make("InvalidRequest", "ref: is not a text or a number", {
        field: "ref",
        expected: "a text or a number"
      })
    }
}

const problemOf = (cause: Cause.Cause<unknown>): Effect.Effect<HttpErrors.ErrorBody> => {
  const known = Option.flatMap(Cause.failureOption(cause), HttpErrors.toProblem)
  if (Option.isSome(known)) {
    return Effect.succeed(known.value.body)
  }
  return Cause.isInterruptedOnly(cause)
    ? Effect.failCause(cause as Cause.Cause<never>)
    : Effect.as(Effect.logError("A command failed", cause), HttpErrors.internalError.problem.body)
}
