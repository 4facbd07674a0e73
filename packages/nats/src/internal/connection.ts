import * as EventLoop from "@holdfast/core/EventLoop"
import type { Msg, MsgHdrs, NatsConnection as Client, Subscription } from "@nats-io/nats-core"
import {
  AuthorizationError,
  PermissionViolationError,
  TimeoutError,
  UserAuthenticationExpiredError
} from "@nats-io/nats-core"
import * as Effect from "effect/Effect"
import type * as Runtime from "effect/Runtime"
import * as RuntimeModule from "effect/Runtime"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as Intervals from "effect/ScheduleIntervals"
import { randomBytes } from "node:crypto"
import { now } from "./live.js"

export interface State {
  readonly current: "connected" | "away" | "failed"
  readonly since: number
  readonly details?: string | undefined
}

/**
 * Why there is no answer. `NotSent`: there was no connection. `Cut`, `TimedOut`: it was sent, and what became of it is not
 * known. `Nobody`: the server knows no one who takes it. `Denied`: the server said that it is not allowed.
 */
export interface NoAnswer {
  readonly _tag: "NotSent" | "Cut" | "TimedOut" | "Nobody" | "Denied"
  readonly details: string
}

export const isNoAnswer = (answer: Msg | NoAnswer): answer is NoAnswer => "_tag" in answer

interface Ask {
  readonly subject: string
  due: number
  readonly done: (answer: Msg | NoAnswer) => void
  /** Whether more answers come behind this one. */
  readonly more: ((answer: Msg) => boolean) | undefined
}

/** Header lines, as they go over the wire: the client's own object costs more than the rest of a publish. */
export const headersOf = (lines: string): MsgHdrs =>
  ({ encode: () => Buffer.from(`NATS/1.0\r\n${lines}\r\n`, "utf8") }) as unknown as MsgHdrs

/**
 * The pauses of a schedule, one after the other. When it ends, its last pause is repeated.
 *
 * The client asks how long to wait whenever it looks whether it has waited long enough, several times for one try to connect:
 * only a try ends a pause, or the pauses would grow and no try be made until they grow no more.
 */
export class Pauses {
  private state: unknown
  private last = 1000
  private isOver = true

  constructor(
    private readonly schedule: Schedule.Schedule<unknown, unknown>,
    private readonly runtime: Runtime.Runtime<never>
  ) {
    this.state = schedule.initial
  }

  reset() {
    this.state = this.schedule.initial
    this.isOver = true
  }

  /** A try to connect begins. */
  tried() {
    this.isOver = true
  }

  /** The pause before the next try. */
  readonly next = (): number => {
    if (!this.isOver) return this.last
    this.isOver = false
    const at = Date.now()
    const [state, , decision] = RuntimeModule.runSync(this.runtime)(this.schedule.step(at, undefined, this.state))
    this.state = state
    if (ScheduleDecision.isContinue(decision)) this.last = Math.max(0, Intervals.start(decision.intervals) - at)
    return this.last
  }
}

/** How long the answer of a server that is there may take when nobody wants to wait any longer, in milliseconds. */
const shortest = 250

const isDenied = (error: unknown): boolean =>
  error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError

const messageOf = (error: unknown): string => {
  // The client drops the alert of TLS 1.3 that says so: it comes behind the handshake.
  if (error instanceof TimeoutError) {
    return "no answer in time; over TLS this is also what comes of a client without a certificate, or with a certificate that it refuses"
  }
  return error instanceof Error ? error.message : String(error)
}

/**
 * A connection, as the modules of this package use it: nothing is handed to the client while there is none, so that nothing
 * waits in a buffer that is dropped in silence. Answers come by callback: one subscription and one timer serve all of them.
 */
export class Connection {
  state: State = { current: "connected", since: Date.now() }
  reconnects = 0
  asked = 0
  published = 0
  /** Whether it is being closed here. */
  private closing = false
  private readonly asks = new Map<string, Ask>()
  private readonly prefix = `_INBOX.${randomBytes(12).toString("hex")}.`
  private readonly listeners = new Set<() => void>()
  private count = 0
  private timer: NodeJS.Timeout | undefined
  /** From when on nobody waits for an answer that does not come, on the monotonic clock. */
  private over = Number.POSITIVE_INFINITY
  private overTimer: NodeJS.Timeout | undefined
  private readonly waits = new Set<() => void>()

  constructor(readonly node: string, private readonly client: Client, private readonly pauses: Pauses) {
    client.subscribe(`${this.prefix}*`, { callback: (_, message) => this.answer(message) })
    void this.watch()
    void client.closed().then((error) => this.closed(error))
  }

  get isConnected(): boolean {
    return this.state.current === "connected"
  }

  get server() {
    const info = this.client.info
    return {
      name: info?.server_name ?? "",
      version: info?.version ?? "0.0.0",
      maxPayload: info?.max_payload ?? 1_048_576
    }
  }

  /** Calls back whenever the state has changed. */
  listen(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Hands a message over. False when there is no connection: then nothing was done. */
  publish(subject: string, payload: Uint8Array | string, headers?: MsgHdrs, reply?: string): boolean {
    if (!this.isConnected) return false
    this.published++
    this.client.publish(subject, payload, {
      ...(headers === undefined ? {} : { headers }),
      ...(reply === undefined ? {} : { reply })
    })
    return true
  }

  /** Asks, and calls back once, never inside of this call. */
  ask(
    subject: string,
    payload: Uint8Array | string,
    headers: MsgHdrs | undefined,
    timeout: number,
    done: (answer: Msg | NoAnswer) => void,
    more?: (answer: Msg) => boolean
  ): () => void {
    if (!this.isConnected) {
      const details = this.state.current === "failed" ? "the connection has ended" : "there is no connection"
      queueMicrotask(() => done({ _tag: this.state.current === "failed" ? "Denied" : "NotSent", details }))
      return () => {}
    }
    const token = (++this.count).toString(36)
    const at = now()
    // what begins when it is over is asked once, not for long
    const due = Math.min(at + timeout, Math.max(this.over, at + shortest))
    this.asks.set(token, { subject, due, done, more })
    this.asked++
    this.timer ??= setInterval(() => EventLoop.unsafeAfterTurn(() => this.expire()), 20)
    this.client.publish(subject, payload, {
      reply: this.prefix + token,
      ...(headers === undefined ? {} : { headers })
    })
    return () => {
      this.asks.delete(token)
      this.rest()
    }
  }

  subscribe(subject: string, callback: (message: Msg) => void): Subscription {
    return this.client.subscribe(subject, {
      callback: (error, message) => {
        if (error === null) callback(message)
      }
    })
  }

  inbox(): string {
    return `_INBOX.${randomBytes(12).toString("hex")}`
  }

  /**
   * The application ends: in `within` milliseconds whatever waits for an answer, or for a connection, is told that there is none.
   * A server that answers is not hurried.
   */
  hurry(within: number) {
    this.over = Math.min(this.over, now() + within)
    for (const ask of this.asks.values()) ask.due = Math.min(ask.due, this.over)
    clearTimeout(this.overTimer)
    if (within === Number.POSITIVE_INFINITY) return
    this.overTimer = setTimeout(() => {
      for (const wait of this.waits) wait()
    }, Math.max(0, this.over - now()))
  }

  /** The milliseconds until `end`, or until nobody waits any longer. */
  left(end: number): number {
    return Math.min(end, this.over) - now()
  }

  /** Waits for that. */
  until(end: number): Effect.Effect<void> {
    return Effect.async((resume) => {
      const over = () => {
        clearTimeout(timer)
        this.waits.delete(over)
        resume(Effect.void)
      }
      const timer = setTimeout(over, Math.max(0, this.left(end)))
      this.waits.add(over)
      return Effect.sync(() => {
        clearTimeout(timer)
        this.waits.delete(over)
      })
    })
  }

  /** What was handed over is with the server. */
  flush(): Promise<void> {
    return this.client.flush()
  }

  async close(): Promise<void> {
    this.closing = true
    clearTimeout(this.overTimer)
    try {
      await this.client.close()
    } finally {
      this.end("Cut", "the connection was closed")
    }
  }

  private answer(message: Msg) {
    const token = message.subject.slice(this.prefix.length)
    const ask = this.asks.get(token)
    if (ask === undefined || ask.more?.(message) === true) return
    this.asks.delete(token)
    this.rest()
    if (message.data.length === 0 && message.headers?.code === 503) {
      ask.done({ _tag: "Nobody", details: `nobody answers on ${ask.subject}` })
    } else ask.done(message)
  }

  private expire() {
    const at = now()
    for (const [token, ask] of this.asks) {
      if (ask.due > at) continue
      this.asks.delete(token)
      ask.done({ _tag: "TimedOut", details: `no answer on ${ask.subject}` })
    }
    this.rest()
  }

  /** No timer runs while nobody waits. */
  private rest() {
    if (this.asks.size > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }

  private end(tag: NoAnswer["_tag"], details: string, subject?: string) {
    for (const [token, ask] of this.asks) {
      if (subject !== undefined && ask.subject !== subject) continue
      this.asks.delete(token)
      ask.done({ _tag: tag, details })
    }
    this.rest()
  }

  private enter(current: State["current"], details?: string) {
    if (this.state.current === "failed") return
    this.state = { current, since: Date.now(), details }
    for (const listener of this.listeners) listener()
  }

  private async watch() {
    for await (const status of this.client.status()) {
      switch (status.type) {
        case "disconnect": {
          this.enter("away", `lost ${status.server}`)
          this.end("Cut", `the connection to ${status.server} was lost`)
          break
        }
        case "reconnecting": {
          this.pauses.tried()
          break
        }
        case "reconnect": {
          this.pauses.reset()
          this.reconnects++
          this.enter("connected")
          break
        }
        case "error": {
          const { error } = status
          if (error instanceof PermissionViolationError) this.end("Denied", error.message, error.subject)
          break
        }
      }
    }
  }

  private closed(error: void | Error) {
    if (this.closing) return
    const details = isDenied(error)
      ? `the server refuses this client: ${messageOf(error)}`
      : `the client gave up: ${error === undefined ? "no reason was given" : messageOf(error)}`
    this.enter("failed", details)
    this.end("Denied", details)
  }
}

/** Why the first connect failed, in words of ours. */
export const connectFailure = (
  error: unknown
): { readonly reason: "Denied" | "Unreachable"; readonly details: string } =>
  isDenied(error)
    ? { reason: "Denied", details: messageOf(error) }
    : {
      reason: "Unreachable",
      details: error instanceof AggregateError ? error.errors.map(messageOf).join(", ") : messageOf(error)
    }
