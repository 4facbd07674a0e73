/** A bucket of keys and values, as NATS tools know it: a stream `KV_<name>` with the subjects `$KV.<name>.<key>`. */
import * as Effect from "effect/Effect"
import type { Config, Unavailable, Unfit } from "../NatsStream.js"
import * as NatsStream from "../NatsStream.js"
import type { ApiError, Refusal } from "./api.js"
import * as Api from "./api.js"
import type { Connection } from "./connection.js"
import { headersOf, isNoAnswer } from "./connection.js"
import * as Live from "./live.js"

export interface Entry {
  readonly key: string
  readonly revision: number
  /** None when the key was deleted. */
  readonly value: Buffer | undefined
}

export interface BucketOptions {
  readonly name: string
  readonly replicas: 1 | 3 | 5
  readonly storage: "file" | "memory"
  /** Milliseconds until a key is forgotten that is not written again. */
  readonly ttl?: number | undefined
}

const configOf = ({ name, replicas, storage, ttl = 0 }: BucketOptions): Config => ({
  name: `KV_${name}`,
  subjects: [`$KV.${name}.>`],
  retention: "limits",
  discard: "new",
  storage,
  num_replicas: replicas,
  max_msgs: -1,
  max_bytes: -1,
  max_age: Math.round(ttl * 1e6),
  max_msgs_per_subject: 1,
  max_msg_size: -1,
  duplicate_window: Math.round((ttl === 0 ? 120_000 : Math.min(120_000, ttl)) * 1e6),
  deny_delete: true,
  deny_purge: false,
  allow_rollup_hdrs: true,
  allow_direct: true,
  no_ack: false,
  sealed: false,
  metadata: { holdfast: "1" }
})

/** What became of a write. `Unsure`: it may have been done. */
export interface Unsure {
  readonly _tag: "Unsure"
  readonly details: string
}

export class Bucket {
  readonly stream: string
  private readonly prefix: string

  constructor(readonly connection: Connection, readonly name: string) {
    this.stream = `KV_${name}`
    this.prefix = `$KV.${name}.`
  }

  static ensure(
    connection: Connection,
    options: BucketOptions,
    patience?: number
  ): Effect.Effect<Bucket, Unfit | Unavailable> {
    return Effect.as(
      NatsStream.ensure(connection, configOf(options), "if-missing", patience),
      new Bucket(connection, options.name)
    )
  }

  get(key: string, patience?: number): Effect.Effect<Entry | undefined, ApiError> {
    return Effect.map(
      Api.message(this.connection, this.stream, { last_by_subj: this.prefix + key }, patience),
      (found) =>
        found === undefined ? undefined : {
          key,
          revision: found.seq,
          value: /^KV-Operation: *(DEL|PURGE)/im.test(found.headers) ? undefined : found.data
        }
    )
  }

  /** One write, once. With `expected` only if that is the revision of the key, 0 for none. */
  private once(
    key: string,
    value: Uint8Array | string,
    lines: string,
    timeout: number
  ): Effect.Effect<number, ApiError> {
    return Effect.async((resume) => {
      const cancel = this.connection.ask(this.prefix + key, value, headersOf(lines), timeout, (answer) => {
        if (isNoAnswer(answer)) return resume(Effect.fail(answer))
        const body = Api.parse(answer) as { seq: number; error?: { err_code: number; description: string } }
        const refusal = Api.refusalOf(body)
        resume(refusal === undefined ? Effect.succeed(body.seq) : Effect.fail(refusal))
      })
      return Effect.sync(cancel)
    })
  }

  /**
   * Writes, as often as it takes within `patience`. A write that was done by a try without an answer is found by its
   * message id, or, where the server looks at the expectation first, by `isMine`.
   */
  write(
    key: string,
    value: Uint8Array | string,
    options: {
      readonly id: string
      readonly expected?: number | undefined
      readonly operation?: "DEL" | undefined
      readonly isMine?: ((entry: Entry) => boolean) | undefined
      readonly patience?: number | undefined
    }
  ): Effect.Effect<number, Refusal | Unsure> {
    return Effect.suspend(() => {
      const { expected, id, isMine, operation, patience = 10_000 } = options
      const end = Live.now() + patience
      const pauses = Live.backoff(50, 500)
      let unsure = false
      const lines = `Nats-Msg-Id: ${id}\r\n` +
        (expected === undefined ? "" : `Nats-Expected-Last-Subject-Sequence: ${expected}\r\n`) +
        (operation === undefined ? "" : `KV-Operation: ${operation}\r\n`)
      const attempt: Effect.Effect<number, Refusal | Unsure> = Effect.catchAll(
        this.once(key, value, lines, Math.min(2000, patience)),
        (error): Effect.Effect<number, Refusal | Unsure> => {
          if (error._tag === "Refusal") {
            if (!unsure || !Api.codes.wrongLast.has(error.code) || isMine === undefined) return Effect.fail(error)
            return Effect.flatMap(
              Effect.mapError(this.get(key, Math.max(0, end - Live.now())), (cause): Unsure => ({
                _tag: "Unsure",
                details: cause.details
              })),
              (entry) => entry !== undefined && isMine(entry) ? Effect.succeed(entry.revision) : Effect.fail(error)
            )
          }
          if (error._tag !== "NotSent") unsure = true
          const left = this.connection.left(end)
          if (left <= 0 || error._tag === "Denied") return Effect.fail({ _tag: "Unsure", details: error.details })
          return Effect.zipRight(Live.sleep(Math.min(left, pauses.next())), attempt)
        }
      )
      return attempt
    })
  }

  /** The keys that have a value or were deleted, with the number of their messages. */
  get keys(): Effect.Effect<ReadonlyArray<string>, ApiError> {
    return Effect.map(
      Api.ask<Api.StreamInfo>(this.connection, `STREAM.INFO.${this.stream}`, { subjects_filter: `${this.prefix}>` }),
      ({ state }) => Object.keys(state.subjects ?? {}).map((subject) => subject.slice(this.prefix.length))
    )
  }

  /** Forgets keys for good: those that `filter` matches. */
  purge(filter: string): Effect.Effect<void, ApiError> {
    return Effect.asVoid(Api.ask(this.connection, `STREAM.PURGE.${this.stream}`, { filter: this.prefix + filter }))
  }

  /** Calls back when anybody writes a key: `deleted` says what. The forgetting of old keys is not told. */
  watch(callback: (key: string, deleted: boolean, value: Buffer) => void) {
    return this.connection.subscribe(`${this.prefix}>`, (message) => {
      const operation = message.headers?.get("KV-Operation") ?? ""
      callback(message.subject.slice(this.prefix.length), operation !== "", Buffer.from(message.data))
    })
  }
}
