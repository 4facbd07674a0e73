/** The requests of JetStream that this package needs, as they go over the wire. */
import type { Msg } from "@nats-io/nats-core"
import * as Effect from "effect/Effect"
import type { Connection, NoAnswer } from "./connection.js"
import { isNoAnswer } from "./connection.js"
import * as Live from "./live.js"

/** What the server refused. `code` is its `err_code`. */
export interface Refusal {
  readonly _tag: "Refusal"
  readonly code: number
  readonly details: string
}

export type ApiError = Refusal | NoAnswer

/** Codes of the server that mean something here. */
export const codes = {
  wrongLast: new Set([10071, 10164, 10070]),
  duplicateInBatch: 10201,
  noStream: 10059,
  noMessage: 10037,
  nameInUse: 10058,
  consumerExists: new Set([10013, 10105, 10148]),
  full: new Set([10047, 10077, 10023, 10002, 10028, 10123]),
  tooBig: new Set([10054, 10199]),
  offline: new Set([10008, 10009, 10118])
} as const

export const refusalOf = (body: { readonly error?: { readonly err_code?: number; readonly description?: string } }) =>
  body.error === undefined ? undefined : {
    _tag: "Refusal" as const,
    code: body.error.err_code ?? 0,
    details: body.error.description ?? "no description"
  }

/** `wrong last sequence: 12` says 12. */
export const lastOf = (details: string): number | undefined => {
  const found = /: (\d+)$/.exec(details)
  return found === null ? undefined : Number(found[1])
}

export const parse = (message: Msg): unknown => JSON.parse(Buffer.from(message.data).toString("utf8"))

/** One request, once. */
export const call = <A>(
  connection: Connection,
  operation: string,
  body?: unknown,
  timeout = 2000
): Effect.Effect<A, ApiError> =>
  Effect.async((resume) => {
    const cancel = connection.ask(
      `$JS.API.${operation}`,
      body === undefined ? "" : JSON.stringify(body),
      undefined,
      timeout,
      (answer) => {
        if (isNoAnswer(answer)) return resume(Effect.fail(answer))
        const parsed = parse(answer) as A & {
          readonly error?: { readonly err_code: number; readonly description: string }
        }
        const refusal = refusalOf(parsed)
        resume(refusal === undefined ? Effect.succeed(parsed) : Effect.fail(refusal))
      }
    )
    return Effect.sync(cancel)
  })

/** Waits until there is a connection, or there will be none. */
export const connected = (connection: Connection): Effect.Effect<void> =>
  Effect.async((resume) => {
    const ready = () => connection.state.current !== "away"
    if (ready()) return resume(Effect.void)
    const unlisten = connection.listen(() => {
      if (!ready()) return
      unlisten()
      resume(Effect.void)
    })
    return Effect.sync(unlisten)
  })

/**
 * One request, as often as it takes within `patience`: what only reads, or does nothing when it was done already. A server
 * that elects a leader answers nothing, or that nobody is there.
 */
export const ask = <A>(
  connection: Connection,
  operation: string,
  body?: unknown,
  patience = 10_000
): Effect.Effect<A, ApiError> =>
  Effect.suspend(() => {
    const end = Live.now() + patience
    const pauses = Live.backoff(50, 500)
    const again: Effect.Effect<A, ApiError> = Effect.catchAll(
      call<A>(connection, operation, body, Math.min(2000, patience)),
      (error) => {
        const left = connection.left(end)
        const final = error._tag === "Refusal" ? !codes.offline.has(error.code) : error._tag === "Denied"
        if (final || left <= 0) return Effect.fail(error)
        return Effect.zipRight(
          Live.either(
            Effect.zipRight(connected(connection), Live.sleep(Math.min(left, pauses.next()))),
            connection.until(end)
          ),
          again
        )
      }
    )
    return again
  })

export interface StreamInfo {
  readonly created: string
  readonly config: Readonly<Record<string, unknown>>
  readonly state: {
    readonly first_seq: number
    readonly last_seq: number
    readonly messages: number
    readonly subjects?: Readonly<Record<string, number>>
  }
}

export interface StoredMessage {
  readonly subject: string
  readonly seq: number
  readonly headers: string
  readonly data: Buffer
  readonly time: string
}

/** Asks the leader of the stream, not a replica that may be behind. */
export const message = (
  connection: Connection,
  stream: string,
  query: { readonly seq: number } | { readonly last_by_subj: string } | {
    readonly seq: number
    readonly next_by_subj: string
  },
  patience?: number
): Effect.Effect<StoredMessage | undefined, ApiError> =>
  ask<{ message: { subject: string; seq: number; hdrs?: string; data?: string; time: string } }>(
    connection,
    `STREAM.MSG.GET.${stream}`,
    query,
    patience
  ).pipe(
    Effect.map(({ message: { data = "", hdrs = "", seq, subject, time } }) => ({
      subject,
      seq,
      headers: Buffer.from(hdrs, "base64").toString("utf8"),
      data: Buffer.from(data, "base64"),
      time
    })),
    Effect.catchIf(
      (error) => error._tag === "Refusal" && error.code === codes.noMessage,
      () => Effect.succeed(undefined)
    )
  )

export const info = (connection: Connection, stream: string, patience?: number) =>
  ask<StreamInfo>(connection, `STREAM.INFO.${stream}`, undefined, patience)
