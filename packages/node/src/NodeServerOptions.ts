/**
 * The limits and times of `NodeServer`, all with safe defaults.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Duration from "effect/Duration"

/**
 * The steps of a drain. By default they fit into the share that a `Lifecycle` with its default of 5 seconds gives to its
 * phase `draining`; give both more time together.
 *
 * @since 0.1.0
 * @category options
 */
export interface DrainOptions {
  /** How long requests in flight may go on, event streams too when something else tells them to end. */
  readonly requests?: Duration.DurationInput
  /** How long interrupted requests may take to clean up. */
  readonly interruption?: Duration.DurationInput
  /** How long sockets may take to go after they were destroyed. */
  readonly sockets?: Duration.DurationInput
}

/**
 * Every limit has a safe default, see `defaults`.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** 0 asks for a free port, which the server's `address` then tells. */
  readonly port?: number
  /** The address to bind. Loopback unless you say otherwise: `0.0.0.0` or `::` for every interface. */
  readonly host?: string
  /** A Unix socket instead of a port. */
  readonly path?: string
  /** Open connections. One more is answered 503; far more are dropped by the kernel. */
  readonly maxConnections?: number
  /** Requests that one connection may have in flight by pipelining. More are answered 503. */
  readonly maxPipelined?: number
  /** Bytes of the request line and all headers, 431 beyond. */
  readonly maxHeaderBytes?: number
  /** Bytes of a body, 413 beyond. `HttpServerRequest.withMaxBodySize` changes it for a route. */
  readonly maxBodyBytes?: number
  /** From the first byte of a request to the end of its header, 408 beyond. */
  readonly headersTimeout?: Duration.DurationInput
  /** From the first byte of a request to the end of its body, 408 beyond. */
  readonly requestTimeout?: Duration.DurationInput
  /** The longest pause within a body, 408 beyond. */
  readonly bodyTimeout?: Duration.DurationInput
  /** How long a connection may stay open between two requests. */
  readonly keepAliveTimeout?: Duration.DurationInput
  /** How long a peer may leave a response untaken before its connection is destroyed. */
  readonly sendTimeout?: Duration.DurationInput
  /** How long an upload that was refused is discarded so that the refusal can be read. */
  readonly lingerTimeout?: Duration.DurationInput
  /** How long a peer that shut its sending side down may wait for its answer. */
  readonly halfOpenTimeout?: Duration.DurationInput
  /** Requests with a span. By default all but event streams and upgrades, whose span would stay open with them. */
  readonly traced?: (request: HttpServerRequest.HttpServerRequest) => boolean
  readonly drain?: DrainOptions
}

/**
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
  drain: {
    requests: Duration.millis(1500),
    interruption: Duration.millis(500),
    sockets: Duration.millis(250)
  }
} as const

/**
 * The options with their defaults, times in milliseconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const settingsOf = (options: Options) => {
  const time = (name: keyof typeof defaults & keyof Options) =>
    Duration.toMillis((options[name] ?? defaults[name]) as Duration.DurationInput)
  const drain = (name: keyof DrainOptions) => Duration.toMillis(options.drain?.[name] ?? defaults.drain[name])
  return {
    port: options.port ?? defaults.port,
    host: options.host ?? defaults.host,
    path: options.path,
    maxConnections: options.maxConnections ?? defaults.maxConnections,
    maxPipelined: options.maxPipelined ?? defaults.maxPipelined,
    maxHeaderBytes: options.maxHeaderBytes ?? defaults.maxHeaderBytes,
    maxBodyBytes: options.maxBodyBytes ?? defaults.maxBodyBytes,
    headersTimeout: time("headersTimeout"),
    requestTimeout: time("requestTimeout"),
    bodyTimeout: time("bodyTimeout"),
    keepAliveTimeout: time("keepAliveTimeout"),
    sendTimeout: time("sendTimeout"),
    lingerTimeout: time("lingerTimeout"),
    halfOpenTimeout: time("halfOpenTimeout"),
    drain: {
      requests: drain("requests"),
      interruption: drain("interruption"),
      sockets: drain("sockets")
    }
  }
}
