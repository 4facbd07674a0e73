/**
 * `Leadership` by lease: a key in a bucket that whoever owns has to write again and again, or it is forgotten.
 *
 * **For** saying which node should try: tick, sweep, write snapshots. **Not for** mutual exclusion: a process that was stopped
 * and wakes up late may still do something. What an owner writes carries its term to a log that refuses an earlier one.
 *
 * **Guarantees**
 * - One owner at a time, as far as clocks that run at the same rate, within 5 %, can tell. No two clocks are compared: the
 *   owner counts its time from before it asked for it, and the server from when it had written it.
 * - An owner that cannot renew its lease is interrupted `budget` before the lease ends, and one that lost it at once.
 * - A renewal that was answered while the owner stood still counts, if its lease is not over.
 * - Closing the scope of `whileOwner` ends what is owned, then deletes the lease: another node begins within milliseconds.
 * - Terms are the sequences of the bucket. They grow for as long as the bucket is there.
 *
 * **Limits**
 * - After a crash of the owner the next one begins when the lease has run out: `ttl`, and about half a second more.
 * - A bucket that was deleted begins anew with its terms. What checks terms has to refuse them then, and an owner has to go on
 *   from the term that it finds there.
 *
 * @since 0.1.0
 */
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { check, fromConfig, unsafeCheck, unsafeDuration } from "@holdfast/core/InvalidOption"
import { Leadership } from "@holdfast/core/Leadership"
import type * as Port from "@holdfast/core/Leadership"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Bucket } from "./internal/bucket.js"
import { Leases } from "./internal/leases.js"
import { NatsConnection, unsafeConnection } from "./NatsConnection.js"
import type * as NatsStream from "./NatsStream.js"

/**
 * Where the nodes agree, and in which time.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The bucket is called `<name>_leases`: 1 to 32 letters, digits, dashes or underscores. */
  readonly name: string
  /** After how long the lease of an owner that is heard no more runs out. With replicas 8 seconds at least. Default 10 seconds. */
  readonly ttl?: Duration.DurationInput | undefined
  /** On how many servers the bucket is kept. Default 1. */
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
export const defaults = {
  ttl: Duration.seconds(10),
  replicas: 1,
  storage: "file"
} as const satisfies Partial<Options>

/**
 * The port, for as long as the scope is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  Port.Service,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable,
  NatsConnection | Scope.Scope
> =>
  Effect.gen(function*() {
    const replicas = options.replicas ?? defaults.replicas
    const ttl = yield* check(() => {
      unsafeCheck(
        "NatsLeadership.name",
        options.name,
        (name) => /^[A-Za-z0-9_-]{1,32}$/.test(name),
        "1 to 32 letters, digits, dashes or underscores"
      )
      const millis = unsafeDuration("NatsLeadership.ttl", options.ttl ?? defaults.ttl)
      const least = replicas > 1 ? 8000 : 300
      unsafeCheck("NatsLeadership.ttl", millis, () => millis >= least, `${least} ms at least with ${replicas} replicas`)
      return millis
    })
    const connection = unsafeConnection(yield* NatsConnection)
    const bucket = yield* Bucket.ensure(connection, {
      name: `${options.name}_leases`,
      replicas,
      storage: options.storage ?? defaults.storage,
      ttl
    })
    const leases = yield* Leases.open(bucket, ttl)
    return {
      node: connection.node,
      whileOwner: (given, owned) => leases.whileOwner(given, owned),
      owner: (name) => leases.owner(name)
    }
  })

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { NatsConnection, NatsLeadership } from "@holdfast/nats"
 * import { Layer } from "effect"
 *
 * const Built = NatsLeadership.layer({ name: "world" }).pipe(
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
  Leadership,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable,
  NatsConnection
> => Layer.scoped(Leadership, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<
  Leadership,
  InvalidOption | NatsStream.Unfit | NatsStream.Unavailable | ConfigError.ConfigError,
  NatsConnection
> = fromConfig(layer)
