/**
 * `TickerStore.Store` in a bucket of NATS: the state of a ticker that moves from node to node with its owner.
 *
 * **Guarantees**
 * - A save is accepted only over the state that this node loaded or saved last. A node that is no longer the owner, and has not
 *   noticed, cannot overwrite what its successor saved: its save fails.
 * - A save that got no answer is tried again, and done once.
 *
 * **Limits.** A ticker whose state was never loaded here is saved over whatever is there, the first time.
 *
 * @since 0.1.0
 */
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { check, fromConfig, unsafeCheck } from "@holdfast/core/InvalidOption"
import { Lock } from "@holdfast/core/Lock"
import * as TickerStore from "@holdfast/core/TickerStore"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"
import { Bucket } from "./internal/bucket.js"
import { NatsConnection, unsafeConnection } from "./NatsConnection.js"
import type * as NatsStream from "./NatsStream.js"
import { fromName } from "./NatsSubject.js"

/**
 * Where the state of tickers is kept.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The bucket is called `<name>_tickers`: 1 to 32 letters, digits, dashes or underscores. */
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

const Saved = Schema.parseJson(Schema.Struct({
  id: Schema.String,
  number: Schema.Number,
  elapsedMillis: Schema.Number,
  at: Schema.Number
}))
const decode = Schema.decodeUnknownOption(Saved)

interface Slot {
  readonly lock: Lock
  /** The revision that this node loaded or saved last. */
  revision: number | undefined
}

const failure = (ticker: string, operation: "load" | "save", reason: string) =>
  new TickerStore.StoreError({ ticker, operation, reason, cause: reason })

class Tickers {
  private readonly slots = new Map<string, Slot>()

  constructor(private readonly bucket: Bucket) {}

  private slot(name: string): Slot {
    const known = this.slots.get(name)
    if (known !== undefined) return known
    const made: Slot = { lock: new Lock(), revision: undefined }
    this.slots.set(name, made)
    return made
  }

  readonly load: TickerStore.Service["load"] = (name) =>
    Effect.suspend(() => {
      const slot = this.slot(name)
      return slot.lock.withLock(Effect.mapBoth(this.bucket.get(fromName(name)), {
        onFailure: ({ details }) => failure(name, "load", details),
        onSuccess: (entry) => {
          slot.revision = entry?.revision ?? 0
          if (entry?.value === undefined) return Option.none()
          return Option.map(
            decode(entry.value.toString("utf8")),
            ({ at, elapsedMillis, number }) => ({ number, elapsedMillis, at })
          )
        }
      }))
    })

  readonly save: TickerStore.Service["save"] = (name, state) =>
    Effect.suspend(() => {
      const slot = this.slot(name)
      const id = randomBytes(8).toString("hex")
      const key = fromName(name)
      const known = Effect.suspend(() =>
        slot.revision === undefined
          ? Effect.map(this.bucket.get(key), (entry) => entry?.revision ?? 0)
          : Effect.succeed(slot.revision)
      )
      return slot.lock.withLock(known.pipe(
        Effect.flatMap((expected) =>
          this.bucket.write(key, JSON.stringify({ id, ...state }), {
            id,
            expected,
            isMine: ({ value }) =>
              value !== undefined && Option.getOrUndefined(decode(value.toString("utf8")))?.id === id
          })
        ),
        Effect.mapBoth({
          onFailure: (error) =>
            failure(
              name,
              "save",
              error._tag === "Refusal" ? `another node has saved it since: ${error.details}` : error.details
            ),
          onSuccess: (revision) => {
            slot.revision = revision
          }
        })
      ))
    })
}

/**
 * The store, for as long as the scope is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  TickerStore.Service,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable,
  NatsConnection
> =>
  Effect.gen(function*() {
    const name = yield* check(() =>
      unsafeCheck(
        "NatsTickerStore.name",
        options.name,
        (text) => /^[A-Za-z0-9_-]{1,32}$/.test(text),
        "1 to 32 letters, digits, dashes or underscores"
      )
    )
    const bucket = yield* Bucket.ensure(unsafeConnection(yield* NatsConnection), {
      name: `${name}_tickers`,
      replicas: options.replicas ?? defaults.replicas,
      storage: options.storage ?? defaults.storage
    })
    const { load, save } = new Tickers(bucket)
    return { load, save }
  })

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { NatsConnection, NatsTickerStore } from "@holdfast/nats"
 * import { Layer } from "effect"
 *
 * const Built = NatsTickerStore.layer({ name: "world" }).pipe(
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
  TickerStore.Store,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable,
  NatsConnection
> => Layer.effect(TickerStore.Store, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<
  TickerStore.Store,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable | ConfigError.ConfigError,
  NatsConnection
> = fromConfig(layer)
