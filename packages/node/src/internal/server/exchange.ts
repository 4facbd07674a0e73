/**
 * What the server keeps of one request until its fiber has ended and its response is flushed or lost, and the reading of
 * its body within a size and a time.
 *
 * - A body that is too large, or stops arriving, is a typed failure and the connection stays writable, so that the client
 *   reads its 413 or 408.
 * - A body of which more waits than may, and that nobody begins to read within the same time, is given up: the socket is read
 *   on, since it would not tell otherwise that the client has left.
 * - `100 Continue` is sent when the body is first wanted, so that a refusal costs no upload.
 */
import * as EventLoop from "@holdfast/core/EventLoop"
import { once } from "@holdfast/core/Lock"
import * as Monotonic from "@holdfast/core/Monotonic"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Http from "node:http"
import type { IncomingRequest } from "./incoming.js"
import type * as WebSocket from "./webSocket.js"

interface Limits {
  /** Milliseconds. */
  readonly bodyTimeout: number
  /** Milliseconds. */
  readonly lingerTimeout: number
  readonly webSocket: {
    readonly maxMessageBytes: number
    readonly protocols: ReadonlyArray<string> | undefined
    readonly closeTimeout: number
  }
}

/**
 * One request and its response, whatever became of them.
 */
export class Exchange {
  /** The fiber that answers. */
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** The fiber that took the exchange over, see `handOver`. */
  successor: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** Starts a fiber of the server's, uninterruptible, with the server's services alone. */
  fork: ((effect: Effect.Effect<unknown>, name: string) => Fiber.RuntimeFiber<unknown, unknown>) | undefined
  /** The client, or the server, gave the connection up. */
  closed = false
  /** The server ended this request because its time to drain was over. */
  cut = false
  /** An answer without an end of its own: an event stream or an upgraded connection. */
  longLived = false
  /** The response was handed over to the kernel. */
  flushed = false
  /** The kernel has taken the whole response already, and Node.js will soon say so. */
  taken = false
  /** Calls back when the response is flushed or the connection is gone. */
  whenFlushed: (() => void) | undefined
  /** The whole body was read, though the parser may not have said yet that it is complete. */
  allRead = false
  /** The connection speaks another protocol now, and no response is due. */
  upgraded = false
  /** The client waits for `100 Continue`. */
  expectsContinue = false
  /** The response must be the last one of its connection. */
  last = false
  /** The handler runs a socket of its own, and hears from it when the connection goes: it is not interrupted. */
  hasSocket = false
  /** Did the parser forget what came behind this request? Set where it may have. */
  mayHaveLostMore: (() => boolean) | undefined
  /** When it began, on the monotonic clock of the process, in milliseconds. */
  readonly since = Monotonic.unsafeOfProcess()
  /** Ends the stream in order. Undefined when there is none, or nobody to end it. */
  private endStream: (() => void) | undefined
  private stopping = false
  private bodyFailure: HttpErrors.HttpError | undefined
  private unreadTimer: NodeJS.Timeout | undefined
  private onBodyFailure: ((error: HttpErrors.HttpError) => void) | undefined
  // Made when needed: thousands of these are idle event streams.
  private onClosed: Set<() => void> | undefined
  private cachedBytes: Effect.Effect<Uint8Array, HttpErrors.HttpError> | undefined
  private cachedResponse: Http.ServerResponse | undefined

  constructor(
    readonly request: Http.IncomingMessage,
    private readonly evaluateResponse: () => Http.ServerResponse,
    readonly limits: Limits,
    /** Takes the first bytes after a request to upgrade the connection, undefined for any other request. */
    private takeEarly?: (() => Buffer) | undefined
  ) {}

  get response(): Http.ServerResponse {
    return this.cachedResponse ??= this.evaluateResponse()
  }

  /** What a WebSocket is made from, where the request asked for one. */
  get upgradable(): WebSocket.Upgrade | undefined {
    const { takeEarly } = this
    return takeEarly === undefined || this.upgraded ? undefined : {
      request: this.request,
      socket: this.request.socket,
      takeEarly,
      onUpgraded: () => {
        this.upgraded = true
        this.longLived = true
        this.flushed = true
        this.takeEarly = undefined
      }
    }
  }

  /** Was a response begun? */
  get responded(): boolean {
    return this.cachedResponse !== undefined && this.cachedResponse.headersSent
  }

  /** Calls back once, now or later, when the connection is gone. Returns what takes the callback back. */
  whenClosed(f: () => void): () => void {
    if (this.closed) {
      f()
      return () => {}
    }
    const callbacks = this.onClosed ??= new Set()
    callbacks.add(f)
    return () => callbacks.delete(f)
  }

  /** Waits until the response is flushed or the connection is gone. */
  awaitFlush(): Effect.Effect<void> {
    return Effect.async((resume) => {
      const { response } = this
      if (this.closed || this.flushed || response.destroyed) {
        return resume(Effect.void)
      }
      let forget = () => {}
      const done = () => {
        response.off("finish", done).off("close", done)
        forget()
        resume(Effect.void)
      }
      response.on("finish", done).on("close", done)
      forget = this.whenClosed(done)
    })
  }

  /** The response was flushed. */
  finish(): void {
    this.flushed = true
    clearTimeout(this.unreadTimer)
    this.whenFlushed?.()
  }

  /** Takes what ends the stream in order when the server stops. */
  onStop(endStream: () => void): void {
    this.endStream = endStream
    if (this.stopping) {
      endStream()
    }
  }

  /** Tells a stream to end in order. */
  stop(): void {
    if (!this.stopping) {
      this.stopping = true
      this.endStream?.()
    }
  }

  /** Has it an end that a drain may wait for? */
  get ends(): boolean {
    return !this.longLived || (this.stopping && this.endStream !== undefined)
  }

  /** Marks the connection as gone. */
  close(): void {
    if (!this.closed) {
      this.closed = true
      clearTimeout(this.unreadTimer)
      this.onClosed?.forEach((f) => f())
      this.onClosed = undefined
      this.whenFlushed?.()
    }
  }

  /** Fails the reading of the body, now or when it begins. */
  failBody(error: HttpErrors.HttpError): void {
    this.bodyFailure ??= error
    this.onBodyFailure?.(error)
  }

  /** The socket has stopped behind a body of which nobody may ever read a byte. */
  stoppedAt(request: IncomingRequest): void {
    this.unreadTimer ??= setTimeout(() => {
      if (!request.isRead && !this.closed && !this.flushed) {
        const error = HttpErrors.make(
          "RequestTimeout",
          `the body was given up: nobody had begun to read it ${this.limits.bodyTimeout} ms after the server stopped to receive it`
        )
        this.failBody(error)
        request.giveUp(error)
      }
    }, this.limits.bodyTimeout)
  }

  /** Why the body can no longer be read. */
  get unreadable(): HttpErrors.HttpError | undefined {
    return this.bodyFailure
  }

  /** The whole body, read once. */
  bytes(limit: number): Effect.Effect<Uint8Array, HttpErrors.HttpError> {
    return this.cachedBytes ??= this.arrivedBytes(limit) ?? once(
      Effect.map(Stream.runCollect(this.chunks(limit)), (chunks) => Buffer.concat([...chunks]))
    )
  }

  /** The whole body, where it has arrived already and nobody has begun to read it: read as a stream, a POST takes twice the time. */
  private arrivedBytes(limit: number): Effect.Effect<Uint8Array, HttpErrors.HttpError> | undefined {
    const { request } = this
    const size = request.readableLength
    // Node's parser says that the request is complete a turn after it has handed the last byte over.
    const isWhole = request.complete || (size > 0 && Number(request.headers["content-length"]) === size)
    if (
      !isWhole || request.destroyed || this.closed || this.expectsContinue || this.bodyFailure !== undefined ||
      this.onBodyFailure !== undefined
    ) {
      return undefined
    }
    if (size > limit) {
      return Effect.fail(HttpErrors.bodyTooLarge(limit))
    }
    this.allRead = true
    const chunk: Uint8Array | null = request.read()
    return Effect.succeed(chunk ?? new Uint8Array(0))
  }

  /** The body as it arrives, with back-pressure. */
  chunks(limit: number): Stream.Stream<Uint8Array, HttpErrors.HttpError> {
    return Stream.suspend(() => {
      let size = 0
      const declared = Number(this.request.headers["content-length"] ?? 0)
      if (declared > limit) {
        return Stream.fail(HttpErrors.bodyTooLarge(limit))
      }
      if (this.expectsContinue) {
        this.expectsContinue = false
        this.response.writeContinue()
      }
      return Stream.repeatEffectOption(
        Effect.flatMap(this.pull(), (chunk) => {
          size += chunk.length
          return size > limit ? Effect.fail(Option.some(HttpErrors.bodyTooLarge(limit))) : Effect.succeed(chunk)
        })
      )
    })
  }

  /** The next piece of the body. One reader at a time. */
  private pull(): Effect.Effect<Uint8Array, Option.Option<HttpErrors.HttpError>> {
    return Effect.async((resume) => {
      const request = this.request
      if (this.bodyFailure !== undefined) {
        return resume(Effect.fail(Option.some(this.bodyFailure)))
      }
      const take = () => {
        const chunk: Uint8Array | null = request.read()
        if (chunk !== null) {
          settle(Effect.succeed(chunk))
        } else if (request.readableEnded) {
          settle(Effect.fail(Option.none()))
        } else if (request.destroyed || this.closed) {
          settle(Effect.fail(Option.some(HttpErrors.make("BadRequest", "the connection ended before the body did"))))
        }
      }
      const fail = (error: HttpErrors.HttpError) => settle(Effect.fail(Option.some(error)))
      const late = () => {
        if (!settled) {
          this.failBody(
            HttpErrors.make("RequestTimeout", `the body stopped arriving for ${this.limits.bodyTimeout} ms`)
          )
        }
      }
      let settled = false
      let timer: NodeJS.Timeout | undefined
      const stop = () => {
        settled = true
        clearTimeout(timer)
        request.off("readable", take).off("end", take).off("error", take).off("close", take)
        this.onBodyFailure = undefined
      }
      const settle = (effect: Effect.Effect<Uint8Array, Option.Option<HttpErrors.HttpError>>) => {
        if (!settled) {
          stop()
          resume(effect)
        }
      }
      take()
      if (settled) {
        return
      }
      timer = setTimeout(() => EventLoop.unsafeAfterTurn(late), this.limits.bodyTimeout)
      request.on("readable", take).on("end", take).on("error", take).on("close", take)
      this.onBodyFailure = fail
      return Effect.sync(stop)
    })
  }
}
