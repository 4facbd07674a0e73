import type { Row } from "@holdfast/core/EventJournal"
import type { Msg } from "@nats-io/nats-core"
import * as Effect from "effect/Effect"
import type { ApiError } from "./api.js"
import * as Api from "./api.js"
import type { Connection } from "./connection.js"
import { isNoAnswer } from "./connection.js"
import * as Live from "./live.js"
import * as Wire from "./wire.js"

export interface Page {
  readonly rows: ReadonlyArray<Row>
  /** How many messages were looked at. */
  readonly count: number
  /** The newest id that was looked at, also of what is not ours. */
  readonly lastId: number
  /** When the first of them was stored, in milliseconds since the epoch. */
  readonly storedAt: number
}

/** What the server sends at most as one answer, in messages. */
const most = 1000

/** What lies in the stream from `from` on: one request, `limit` messages at most. */
const once = (connection: Connection, stream: string, from: number, limit: number): Effect.Effect<Page, ApiError> =>
  Effect.async((resume) => {
    const rows: Array<Row> = []
    let count = 0
    let lastId = 0
    let storedAt = 0
    const take = (message: Msg): boolean => {
      const { data, headers } = message
      if (headers === undefined || headers.code !== 0) return false
      const id = Number(headers.get("Nats-Sequence"))
      if (lastId === 0) storedAt = Date.parse(headers.get("Nats-Time-Stamp"))
      lastId = id
      count++
      const row = Wire.decode(id, Buffer.from(data.buffer, data.byteOffset, data.byteLength))
      if (row !== undefined) rows.push(row)
      return true
    }
    const cancel = connection.ask(
      `$JS.API.DIRECT.GET.${stream}`,
      JSON.stringify({ seq: from, batch: limit }),
      undefined,
      10_000,
      (answer) => {
        if (isNoAnswer(answer)) return resume(Effect.fail(answer))
        const code = answer.headers?.code ?? 0
        if (code === 204 || code === 404) return resume(Effect.succeed({ rows, count, lastId, storedAt }))
        resume(Effect.fail<ApiError>({
          _tag: "Refusal",
          code,
          details: answer.headers?.description ?? "an answer that was not expected"
        }))
      },
      take
    )
    return Effect.sync(cancel)
  })

/**
 * What lies in the stream behind `after`. `known` is an id that is surely there: a replica that is behind it is asked again.
 */
export const page = (
  connection: Connection,
  stream: string,
  after: number,
  limit: number,
  known: number,
  patience = 10_000
): Effect.Effect<Page, ApiError> =>
  Effect.suspend(() => {
    const end = Live.now() + patience
    const pauses = Live.backoff(10, 500)
    const wanted = Math.min(known, after + Math.min(limit, most))
    const again = (failed: Effect.Effect<Page, ApiError>) =>
      connection.left(end) <= 0
        ? failed
        : Effect.zipRight(
          Live.either(Effect.zipRight(Live.sleep(pauses.next()), Api.connected(connection)), connection.until(end)),
          attempt
        )
    const attempt: Effect.Effect<Page, ApiError> = Effect.matchEffect(
      once(connection, stream, after + 1, Math.min(limit, most)),
      {
        onFailure: (error) =>
          error._tag === "Refusal" || error._tag === "Denied" ? Effect.fail(error) : again(Effect.fail(error)),
        onSuccess: (found) =>
          after < wanted && found.lastId < wanted && found.count < limit && Live.now() < end - patience + 2000
            ? again(Effect.succeed(found))
            : Effect.succeed(found)
      }
    )
    return attempt
  })
