/**
 * `KeyValueStore` of `@effect/platform` in a bucket of NATS, with values of any size, and `once` for what only one node may make.
 *
 * **Guarantees**
 * - A value is replaced as a whole: a reader sees the old one or the new one. Large values go in chunks of 512 KiB that are
 *   written before anything points at them.
 * - `once` returns the same value on every node, whoever came first.
 *
 * **Limits**
 * - The last of two writers wins. `modify` of two nodes at once may lose one of the two.
 * - A reader that is still at the chunks of a value when a newer one was written reads that one from its beginning.
 * - A write that fails halfway leaves chunks that nothing points at; the next write of that key removes them.
 *
 * @since 0.1.0
 */
import { SystemError } from "@effect/platform/Error"
import type { PlatformError } from "@effect/platform/Error"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { check, fromConfig, unsafeCheck } from "@holdfast/core/InvalidOption"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import { Bucket } from "./internal/bucket.js"
import { NatsConnection, unsafeConnection } from "./NatsConnection.js"
import type * as NatsStream from "./NatsStream.js"
import { fromName } from "./NatsSubject.js"

/**
 * Where the entries are kept.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The bucket is called `<name>_entries`: 1 to 32 letters, digits, dashes or underscores. */
  readonly name: string
  /** On how many servers it is kept. Default 1. */
  readonly replicas?: 1 | 3 | 5 | undefined
  /** Default `"file"`. */
  readonly storage?: "file" | "memory" | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { replicas: 1, storage: "file" } as const satisfies Partial<Options>

/**
 * Entries by their keys, shared by all nodes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly store: KeyValueStore.KeyValueStore
  /** The value of the key; when there is none, `make` makes it, and what the first of all nodes made is returned. 512 KiB at most. */
  readonly once: <E, R>(key: string, make: Effect.Effect<string, E, R>) => Effect.Effect<string, E | PlatformError, R>
}

/**
 * Entries that all nodes share.
 *
 * @since 0.1.0
 * @category tags
 */
export class NatsEntries extends Context.Tag("@holdfast/nats/NatsEntries")<NatsEntries, Service>() {}

const chunkSize = 512 * 1024

/** The first byte of what lies under a key: the value itself as text, as JSON, as bytes, or where its chunks are. */
const kinds = { text: 0, json: 1, bytes: 2, chunks: 3 } as const

const loneSurrogate = /\p{Surrogate}/u

const encode = (value: string | Uint8Array): Buffer => {
  if (typeof value !== "string") return Buffer.concat([Buffer.from([kinds.bytes]), value])
  return loneSurrogate.test(value)
    ? Buffer.concat([Buffer.from([kinds.json]), Buffer.from(JSON.stringify(value))])
    : Buffer.concat([Buffer.from([kinds.text]), Buffer.from(value)])
}

/** Bytes as text are base64, as in the other stores. */
const textOf = (data: Buffer): string => {
  if (data[0] === kinds.json) return JSON.parse(data.toString("utf8", 1)) as string
  return data[0] === kinds.bytes ? data.toString("base64", 1) : data.toString("utf8", 1)
}

const bytesOf = (data: Buffer): Uint8Array =>
  data[0] === kinds.json ? new TextEncoder().encode(textOf(data)) : new Uint8Array(data.subarray(1))

const failed = (method: string, key: string) => (error: { readonly details: string }): PlatformError =>
  new SystemError({
    reason: "Unknown",
    module: "KeyValueStore",
    method,
    pathOrDescriptor: key,
    description: error.details
  })

class Entries {
  constructor(private readonly bucket: Bucket) {}

  private load(key: string, tries = 5): Effect.Effect<Buffer | undefined, { readonly details: string }> {
    return Effect.flatMap(
      this.bucket.get(key),
      (entry): Effect.Effect<Buffer | undefined, { readonly details: string }> => {
        if (entry?.value === undefined) return Effect.succeed(undefined)
        if (entry.value[0] !== kinds.chunks) return Effect.succeed(entry.value)
        const { id, parts } = JSON.parse(entry.value.toString("utf8", 1)) as { id: string; parts: number }
        return Effect.flatMap(
          Effect.forEach(
            Array.from({ length: parts }, (_, index) => `${key}.${id}.${index}`),
            (part) => this.bucket.get(part),
            { concurrency: 4 }
          ),
          (found) => {
            const values = found.flatMap((part) => part?.value === undefined ? [] : [part.value])
            if (values.length === parts) return Effect.succeed(Buffer.concat(values))
            return tries > 0
              ? this.load(key, tries - 1)
              : Effect.fail({ details: `${parts - values.length} of ${parts} chunks are missing` })
          }
        )
      }
    )
  }

  private readonly write = (key: string, value: Uint8Array, expected?: number) => {
    const id = randomBytes(8).toString("hex")
    return this.bucket.write(key, value, { id, expected })
  }

  private save(key: string, data: Buffer): Effect.Effect<void, { readonly details: string }> {
    if (data.length <= chunkSize) {
      return Effect.zipRight(this.write(key, data), this.bucket.purge(`${key}.>`))
    }
    const id = randomBytes(6).toString("hex")
    const parts = Math.ceil(data.length / chunkSize)
    const pointer = Buffer.concat([Buffer.from([kinds.chunks]), Buffer.from(JSON.stringify({ id, parts }))])
    const stale = Effect.flatMap(this.bucket.keys, (keys) => {
      const ids = new Set(keys.filter((one) => one.startsWith(`${key}.`)).map((one) => one.split(".")[1]))
      ids.delete(id)
      return Effect.forEach(ids, (old) => this.bucket.purge(`${key}.${old}.>`), { discard: true })
    })
    return Effect.forEach(
      Array.from({ length: parts }, (_, index) => index),
      (index) => this.write(`${key}.${id}.${index}`, data.subarray(index * chunkSize, (index + 1) * chunkSize)),
      { discard: true }
    ).pipe(Effect.zipRight(this.write(key, pointer)), Effect.zipRight(stale))
  }

  private readonly remove = (key: string) => Effect.zipRight(this.bucket.purge(key), this.bucket.purge(`${key}.>`))

  readonly store = (): KeyValueStore.KeyValueStore =>
    KeyValueStore.make({
      get: (key) =>
        Effect.mapBoth(this.load(fromName(key)), {
          onFailure: failed("get", key),
          onSuccess: (data) => Option.map(Option.fromNullable(data), textOf)
        }),
      getUint8Array: (key) =>
        Effect.mapBoth(this.load(fromName(key)), {
          onFailure: failed("getUint8Array", key),
          onSuccess: (data) => Option.map(Option.fromNullable(data), bytesOf)
        }),
      set: (key, value) => Effect.mapError(this.save(fromName(key), encode(value)), failed("set", key)),
      remove: (key) => Effect.mapError(this.remove(fromName(key)), failed("remove", key)),
      clear: Effect.mapError(this.bucket.purge(">"), failed("clear", "")),
      size: Effect.mapBoth(this.bucket.keys, {
        onFailure: failed("size", ""),
        onSuccess: (keys) => keys.filter((key) => !key.includes(".")).length
      })
    })

  readonly once: Service["once"] = (name, make) =>
    Effect.suspend(() => {
      const key = fromName(name)
      const found = Effect.mapError(this.load(key), failed("once", name))
      return Effect.flatMap(found, (data) =>
        data !== undefined ?
          Effect.succeed(textOf(data)) :
          Effect.flatMap(make, (value) =>
            this.write(key, encode(value), 0).pipe(
              Effect.as(value),
              // another node was faster, or a try of this one without an answer
              Effect.catchAll((error): Effect.Effect<string, PlatformError> =>
                Effect.flatMap(found, (other) =>
                  other === undefined ? Effect.fail(failed("once", name)(error)) : Effect.succeed(textOf(other)))
              )
            )))
    })
}

/**
 * The entries, for as long as the scope is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Service, InvalidOption | NatsStream.Unfit | NatsStream.Unavailable, NatsConnection> =>
  Effect.gen(function*() {
    const name = yield* check(() =>
      unsafeCheck(
        "NatsEntries.name",
        options.name,
        (text) => /^[A-Za-z0-9_-]{1,32}$/.test(text),
        "1 to 32 letters, digits, dashes or underscores"
      )
    )
    const bucket = yield* Bucket.ensure(unsafeConnection(yield* NatsConnection), {
      name: `${name}_entries`,
      replicas: options.replicas ?? defaults.replicas,
      storage: options.storage ?? defaults.storage
    })
    const entries = new Entries(bucket)
    return { store: entries.store(), once: entries.once }
  })

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { NatsConnection, NatsEntries } from "@holdfast/nats"
 * import { Layer } from "effect"
 *
 * const Built = NatsEntries.layer({ name: "world" }).pipe(
 *   Layer.provide(NatsConnection.layer({ servers: ["nats://127.0.0.1:4222"] }))
 * )
 * console.log(Layer.isLayer(Built))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  NatsEntries | KeyValueStore.KeyValueStore,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable,
  NatsConnection
> =>
  Layer.effectContext(
    Effect.map(make(options), (service) =>
      Context.make(NatsEntries, service).pipe(Context.add(KeyValueStore.KeyValueStore, service.store)))
  )

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<
  NatsEntries | KeyValueStore.KeyValueStore,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable | ConfigError.ConfigError,
  NatsConnection
> = fromConfig(layer)
