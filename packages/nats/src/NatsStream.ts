/**
 * The stream of JetStream that a journal or a store is kept in: created when it is missing, compared when it is there.
 *
 * **Guarantees**
 * - A stream that is there is never altered. Each field that is not as it has to be is named in `Unfit`, with what was expected
 *   and what was found.
 * - The answer to a creation is compared in the same way: an older server drops fields that it does not know, in silence.
 * - A server before 2.12 is refused: it has no atomic batches.
 *
 * **Limits.** Whether the server waits for its disk at every write (`sync_interval: always`) cannot be seen from a client.
 *
 * @since 0.1.0
 */
import { check, unsafeCheck, unsafeDuration, unsafeWhole } from "@holdfast/core/InvalidOption"
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ApiError, StreamInfo } from "./internal/api.js"
import * as Api from "./internal/api.js"
import type { Connection } from "./internal/connection.js"

/**
 * What the stream keeps, and how safely.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The stream is called so, and its subjects begin with it: 1 to 32 letters, digits, dashes or underscores. */
  readonly name: string
  /** On how many servers it is kept. Default 1. */
  readonly replicas?: 1 | 3 | 5 | undefined
  /** Default `"file"`. */
  readonly storage?: "file" | "memory" | undefined
  /** The oldest events go when there are more. Default: no limit. */
  readonly maxEvents?: number | undefined
  /** The oldest events go when there are more bytes. Default: no limit. */
  readonly maxBytes?: number | undefined
  /** Events go when they are older. Default: no limit. */
  readonly maxAge?: Duration.DurationInput | undefined
  /** For how long an attempt that is tried again is recognized. Default 2 minutes. */
  readonly duplicateWindow?: Duration.DurationInput | undefined
  /** What to do when there is no such stream, at start. Default `"if-missing"`. */
  readonly create?: "if-missing" | "never" | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  replicas: 1,
  storage: "file",
  duplicateWindow: Duration.minutes(2),
  create: "if-missing"
} as const satisfies Partial<Options>

/**
 * What is there is not what is needed: a field that differs, each with what was expected and found. The field `server` is its
 * version, the field `stream` whether there is one. Nothing was altered.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unfit extends Schema.TaggedError<Unfit>("@holdfast/nats/NatsStream/Unfit")("NatsUnfit", {
  stream: Schema.String,
  fields: Schema.Array(Schema.Struct({ field: Schema.String, expected: Schema.String, found: Schema.String }))
}) {
  override get message(): string {
    return `The stream ${this.stream} does not fit, and was not altered: ${
      this.fields.map(({ expected, field, found }) => `${field} is ${found}, expected ${expected}`).join("; ")
    }`
  }
}

/**
 * JetStream did not answer within the time that a start may take, or refused.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unavailable extends Schema.TaggedError<Unavailable>("@holdfast/nats/NatsStream/Unavailable")(
  "NatsUnavailable",
  { stream: Schema.String, denied: Schema.Boolean, details: Schema.String }
) {
  override get message(): string {
    return `JetStream does not give the stream ${this.stream}: ${this.details}`
  }
}

/**
 * A stream that fits.
 *
 * @since 0.1.0
 * @category models
 */
export interface Found {
  readonly name: string
  /** When it was created, as the server says. */
  readonly created: string
  readonly firstId: number
  readonly lastId: number
}

/**  * A stream as it should be.
 *
@internal */
export type Config = Readonly<Record<string, unknown>>

const nanos = (millis: number): number => Math.round(millis * 1_000_000)

/**  * The configuration of a stream out of its options. Throws `InvalidOption`.
 *
@internal */
export const unsafeConfig = (module: string, options: Options): Config => {
  const name = unsafeCheck(
    `${module}.name`,
    options.name,
    (text) => /^[A-Za-z0-9_-]{1,32}$/.test(text),
    "1 to 32 letters, digits, dashes or underscores"
  )
  const optional = (value: number | undefined, option: string) =>
    value === undefined ? -1 : unsafeWhole(`${module}.${option}`, value, { min: 1 })
  return {
    name,
    subjects: [`${name}.>`],
    retention: "limits",
    discard: "old",
    storage: unsafeCheck(
      `${module}.storage`,
      options.storage ?? defaults.storage,
      (given) => given === "file" || given === "memory",
      "\"file\" or \"memory\""
    ),
    num_replicas: unsafeCheck(
      `${module}.replicas`,
      options.replicas ?? defaults.replicas,
      (given) => [1, 3, 5].includes(given),
      "1, 3 or 5"
    ),
    max_msgs: optional(options.maxEvents, "maxEvents"),
    max_bytes: optional(options.maxBytes, "maxBytes"),
    max_age: options.maxAge === undefined ? 0 : nanos(unsafeDuration(`${module}.maxAge`, options.maxAge)),
    max_msgs_per_subject: -1,
    max_msg_size: -1,
    duplicate_window: nanos(
      unsafeDuration(`${module}.duplicateWindow`, options.duplicateWindow ?? defaults.duplicateWindow)
    ),
    deny_delete: true,
    deny_purge: false,
    allow_rollup_hdrs: false,
    allow_atomic: true,
    allow_direct: true,
    no_ack: false,
    sealed: false,
    metadata: { holdfast: "1" }
  }
}

/** What a stream of ours has not got. */
const absent = [
  "mirror",
  "sources",
  "republish",
  "subject_transform",
  "allow_msg_ttl",
  "allow_msg_counter",
  "subject_delete_marker_ttl",
  "first_seq",
  "discard_new_per_subject",
  "max_consumers"
]

const isAbsent = (value: unknown) =>
  value === undefined || value === null || value === false || value === 0 || value === -1

const show = (value: unknown): string => value === undefined ? "absent" : JSON.stringify(value)

const ownMetadata = (value: unknown): unknown =>
  typeof value !== "object" || value === null
    ? value
    : Object.fromEntries(Object.entries(value).filter(([key]) => !key.startsWith("_nats.")))

/**  * What is different between two configurations.
 *
@internal */
export const differences = (
  expected: Config,
  found: Config
): Array<{ field: string; expected: string; found: string }> => {
  const fields = Object.entries(expected).flatMap(([field, value]) => {
    const other = field === "metadata" ? ownMetadata(found[field]) : found[field]
    const same = JSON.stringify(value) === JSON.stringify(other) || (isAbsent(value) && isAbsent(other))
    return same ? [] : [{ field, expected: show(value), found: show(other) }]
  })
  const extra = absent.flatMap((field) =>
    field in expected || isAbsent(found[field]) ? [] : [{ field, expected: "absent", found: show(found[field]) }]
  )
  const persist = found["persist_mode"] === "async"
    ? [{ field: "persist_mode", expected: "absent", found: "\"async\"" }]
    : []
  return [...fields, ...extra, ...persist]
}

/** Whether the version is 2.12 or newer. */
const isRecent = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10))
  return major > 2 || (major === 2 && minor >= 12)
}

const unavailable = (stream: string) => (error: ApiError): Unavailable =>
  new Unavailable({ stream, denied: error._tag === "Denied", details: error.details })

/**  * Fails when the server is too old.
 *
@internal */
export const requireServer = (connection: Connection, stream: string): Effect.Effect<void, Unfit> =>
  Effect.suspend(() => {
    const { version } = connection.server
    return isRecent(version) ? Effect.void : new Unfit({
      stream,
      fields: [{ field: "server", expected: "2.12 or newer: atomic batches", found: version }]
    })
  })

/**
 * Finds the stream and compares it, or creates it and compares the answer.
 *
 * @internal
 */
export const ensure = (
  connection: Connection,
  config: Config,
  create: "if-missing" | "never",
  patience = 10_000
): Effect.Effect<Found, Unfit | Unavailable> => {
  const name = String(config["name"])
  const compared = ({ config: found, created, state }: StreamInfo): Effect.Effect<Found, Unfit> => {
    const fields = differences(config, found)
    return fields.length > 0
      ? new Unfit({ stream: name, fields })
      : Effect.succeed({ name, created, firstId: state.first_seq, lastId: state.last_seq })
  }
  const find = Api.info(connection, name, patience)
  const refusedWith = (code: number) => (error: ApiError) => error._tag === "Refusal" && error.code === code
  const created: Effect.Effect<StreamInfo, ApiError | Unfit> = create === "never"
    ? new Unfit({ stream: name, fields: [{ field: "stream", expected: "to be there", found: "absent" }] })
    // another node may be faster: then what it made is compared
    : Effect.catchIf(
      Api.ask<StreamInfo>(connection, `STREAM.CREATE.${name}`, config, patience),
      refusedWith(Api.codes.nameInUse),
      () => find
    )
  return requireServer(connection, name).pipe(
    Effect.zipRight(Effect.catchIf(find, refusedWith(Api.codes.noStream), () => created)),
    Effect.mapError((error) => error._tag === "NatsUnfit" ? error : unavailable(name)(error)),
    Effect.flatMap(compared)
  )
}

/**
 * Checks the options, as the modules do that take them.
 *
 * @since 0.1.0
 * @category checks
 */
export const validate = (options: Options): Effect.Effect<void, InvalidOption> =>
  Effect.asVoid(check(() => unsafeConfig("NatsStream", options)))
