/**
 * The limits and times of `NodeServer`, all with safe defaults.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { unsafeCheck, unsafeDuration, unsafeWhole } from "@holdfast/core/InvalidOption"
import * as Duration from "effect/Duration"
import * as Http from "node:http"

/**
 * The steps of a drain. By default they fit into the share that a `Lifecycle` with its default of 5 seconds gives to its
 * phase `draining`; give both more time together.
 *
 * @since 0.1.0
 * @category options
 */
export interface DrainOptions {
  /** How long requests in flight may go on, event streams too when something else tells them to end. */
  readonly requests?: Duration.DurationInput | undefined
  /** How long interrupted requests may take to clean up. */
  readonly interruption?: Duration.DurationInput | undefined
  /** How long sockets may take to go after they were destroyed. */
  readonly sockets?: Duration.DurationInput | undefined
}

/**
 * WebSockets that a handler runs by itself, through `HttpServerRequest.upgrade`.
 *
 * @since 0.1.0
 * @category options
 */
export interface WebSocketOptions {
  /** Bytes of a message, 1009 beyond. Default 1 MiB. */
  readonly maxMessageBytes?: number | undefined
  /** Subprotocols in the order of preference. Without them the first that a client offers is taken, as the platform does. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** How long a peer may take to answer a close frame. Default 2 seconds. */
  readonly closeTimeout?: Duration.DurationInput | undefined
}

/**
 * Every limit has a safe default, see `defaults`.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** 0 asks for a free port, which the server's `address` then tells. */
  readonly port?: number | undefined
  /** The address to bind. Loopback unless you say otherwise: `0.0.0.0` or `::` for every interface. */
  readonly host?: string | undefined
  /** A Unix socket instead of a port. */
  readonly path?: string | undefined
  /** Open connections. One more is answered 503; far more are dropped by the kernel. */
  readonly maxConnections?: number | undefined
  /** Requests that one connection may have in flight by pipelining. More are answered 503. */
  readonly maxPipelined?: number | undefined
  /** Bytes of the request line and all headers, 431 beyond. */
  readonly maxHeaderBytes?: number | undefined
  /** Bytes of a body, 413 beyond. `HttpServerRequest.withMaxBodySize` changes it for a route. */
  readonly maxBodyBytes?: number | undefined
  /** From the first byte of a request to the end of its header, 408 beyond. */
  readonly headersTimeout?: Duration.DurationInput | undefined
  /** From the first byte of a request to the end of its body, 408 beyond. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** The longest pause within a body, 408 beyond. */
  readonly bodyTimeout?: Duration.DurationInput | undefined
  /** How long a connection may stay open between two requests. */
  readonly keepAliveTimeout?: Duration.DurationInput | undefined
  /** How long a peer may leave a response untaken before its connection is destroyed. */
  readonly sendTimeout?: Duration.DurationInput | undefined
  /** How long an upload that was refused is discarded so that the refusal can be read. */
  readonly lingerTimeout?: Duration.DurationInput | undefined
  /** How long a peer that shut its sending side down may wait for its answer. */
  readonly halfOpenTimeout?: Duration.DurationInput | undefined
  /** For `HttpServerRequest.upgrade`; `WebSocketRoute` has options of its own. */
  readonly webSocket?: WebSocketOptions | undefined
  /**
   * Requests with a span. By default all but event streams and upgrades, whose span would stay open with them. Effect's own
   * tracer keeps no spans: under it only a request that brings a trace (`traceparent`, `b3`) has one.
   */
  readonly traced?: ((request: HttpServerRequest.HttpServerRequest) => boolean) | undefined
  readonly drain?: DrainOptions | undefined
  /**
   * Makes the server, for TLS and whatever else Node's servers can: `(options) => Https.createServer({ ...options, key, cert })`.
   * What it is given are the limits above, and has to be handed on. It must return a fresh server each time, which neither
   * listens nor answers requests yet. By default it is `Http.createServer`.
   */
  readonly server?: ((options: Http.ServerOptions) => Http.Server) | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  port: 3000,
  host: "127.0.0.1",
  maxConnections: 16_384,
  maxPipelined: 16,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: 1024 * 1024,
  headersTimeout: Duration.seconds(10),
  requestTimeout: Duration.seconds(30),
  bodyTimeout: Duration.seconds(10),
  keepAliveTimeout: Duration.seconds(5),
  sendTimeout: Duration.seconds(30),
  lingerTimeout: Duration.seconds(1),
  halfOpenTimeout: Duration.seconds(5),
  webSocket: { maxMessageBytes: 1024 * 1024, closeTimeout: Duration.seconds(2) },
  drain: {
    requests: Duration.millis(1500),
    interruption: Duration.millis(500),
    sockets: Duration.millis(250)
  }
} as const

/** Event streams and upgrades are not traced: their span would stay open as long as they do. */
const shortLived = (request: HttpServerRequest.HttpServerRequest): boolean =>
  request.headers["upgrade"] === undefined && !(request.headers["accept"] ?? "").includes("text/event-stream")

/** Node's timers fire at once beyond 2^31 - 1 milliseconds, which is 24 days. */
const timer = (option: string, value: Duration.DurationInput, zero = false): number =>
  Math.min(unsafeDuration(option, value, { zero, infinite: true }), 2 ** 31 - 1)

/**
 * The options with their defaults, times in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export type Settings = ReturnType<typeof settingsOf>

/**
 * Fills in the defaults. Throws `InvalidOption`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const settingsOf = (options: Options) => {
  const time = (name: keyof typeof defaults & keyof Options) =>
    timer(`NodeServer.${name}`, (options[name] ?? defaults[name]) as Duration.DurationInput)
  const drain = (name: keyof DrainOptions) =>
    timer(`NodeServer.drain.${name}`, options.drain?.[name] ?? defaults.drain[name], true)
  const count = (name: "maxConnections" | "maxPipelined" | "maxHeaderBytes" | "maxBodyBytes") =>
    unsafeWhole(`NodeServer.${name}`, options[name] ?? defaults[name], { min: name === "maxBodyBytes" ? 0 : 1 })
  return {
    port: unsafeCheck(
      "NodeServer.port",
      options.port ?? defaults.port,
      (port) => Number.isInteger(port) && port >= 0 && port <= 65_535,
      "a port from 0 to 65535; 0 is a free one"
    ),
    host: options.host ?? defaults.host,
    path: options.path,
    traced: options.traced ?? shortLived,
    server: options.server ?? ((given: Http.ServerOptions) => Http.createServer(given)),
    maxConnections: count("maxConnections"),
    maxPipelined: count("maxPipelined"),
    maxHeaderBytes: count("maxHeaderBytes"),
    maxBodyBytes: count("maxBodyBytes"),
    headersTimeout: unsafeCheck(
      "NodeServer.headersTimeout",
      time("headersTimeout"),
      (millis) => millis <= time("requestTimeout"),
      "milliseconds, no more than requestTimeout"
    ),
    requestTimeout: time("requestTimeout"),
    bodyTimeout: time("bodyTimeout"),
    keepAliveTimeout: time("keepAliveTimeout"),
    sendTimeout: time("sendTimeout"),
    lingerTimeout: time("lingerTimeout"),
    halfOpenTimeout: time("halfOpenTimeout"),
    webSocket: {
      maxMessageBytes: unsafeWhole(
        "NodeServer.webSocket.maxMessageBytes",
        options.webSocket?.maxMessageBytes ?? defaults.webSocket.maxMessageBytes,
        { min: 1 }
      ),
      protocols: options.webSocket?.protocols,
      closeTimeout: timer(
        "NodeServer.webSocket.closeTimeout",
        options.webSocket?.closeTimeout ?? defaults.webSocket.closeTimeout
      )
    },
    drain: {
      requests: drain("requests"),
      interruption: drain("interruption"),
      sockets: drain("sockets")
    }
  }
}
