/**
 * `Presence` over plain messages of NATS: each node tells its whole roster, again and again, and forgets what it has not heard.
 *
 * **Guarantees**
 * - A roster is told every `beat`, 100 ms after `changed`, and when a node that starts asks for it. A node that ends says so.
 * - A roster is forgotten when it was not heard for `expiry` of time in which this node was connected: an outage of NATS does
 *   not make everybody vanish. No wall clock is asked, and no two clocks are compared.
 * - Nothing is stored, so nothing has to be merged or cleaned up.
 *
 * **Limits**
 * - Each beat sends the whole roster to every node: ten thousand members are about 400 KB per node and beat.
 * - Two nodes of one name are told of in the log. Each sees its own roster, the others see both in turns.
 *
 * @since 0.1.0
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { check, fromConfig, unsafeCheck, unsafeDuration } from "@holdfast/core/InvalidOption"
import { Presence } from "@holdfast/core/Presence"
import type * as Port from "@holdfast/core/Presence"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Roll } from "./internal/roll.js"
import { NatsConnection, unsafeConnection } from "./NatsConnection.js"

/**
 * Where the nodes meet, and how often they tell of themselves.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Nodes of the same name hear one another: 1 to 32 letters, digits, dashes or underscores. */
  readonly name: string
  /** What the node says about itself, such as its version. */
  readonly about?: Readonly<Record<string, string>> | undefined
  /** How often a node tells its roster. Default 2 seconds. */
  readonly beat?: Duration.DurationInput | undefined
  /** After how long a node that is not heard is gone. Default 6 seconds. */
  readonly expiry?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  beat: Duration.seconds(2),
  expiry: Duration.seconds(6)
} as const satisfies Partial<Options>

/**
 * The port, for as long as the scope is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Port.Service, InvalidOption, NatsConnection | Scope.Scope> =>
  Effect.gen(function*() {
    const { beat, expiry, name } = yield* check(() => {
      const beat = unsafeDuration("NatsPresence.beat", options.beat ?? defaults.beat)
      const expiry = unsafeDuration("NatsPresence.expiry", options.expiry ?? defaults.expiry)
      return {
        beat,
        expiry: unsafeCheck(
          "NatsPresence.expiry",
          expiry,
          () => expiry > beat,
          `more than a beat, which is ${beat} ms`
        ),
        name: unsafeCheck(
          "NatsPresence.name",
          options.name,
          (text) => /^[A-Za-z0-9_-]{1,32}$/.test(text),
          "1 to 32 letters, digits, dashes or underscores"
        )
      }
    })
    const connection = unsafeConnection(yield* NatsConnection)
    const roll = yield* Cleanup.acquireRelease(
      Effect.sync(() => new Roll(connection, `_holdfast.${name}.presence`, options.about ?? {}, beat, expiry)),
      { label: "nats: presence farewell", budget: "500 millis" },
      (opened) => Effect.sync(() => opened.close())
    )
    yield* FiberRegistry.forkScoped(roll.beats, { name: "nats/presence", kind: "service" })
    return {
      node: connection.node,
      announce: (roster) => roll.announce(roster),
      changed: roll.changed,
      members: roll.members,
      nodes: roll.nodes
    }
  })

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { NatsConnection, NatsPresence } from "@holdfast/nats"
 * import { Layer } from "effect"
 *
 * const Built = NatsPresence.layer({ name: "world" }).pipe(
 *   Layer.provide(NatsConnection.layer({ servers: ["nats://127.0.0.1:4222"] }))
 * )
 * console.log(Layer.isLayer(Built))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Presence, InvalidOption, NatsConnection> =>
  Layer.scoped(Presence, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<Presence, InvalidOption | ConfigError.ConfigError, NatsConnection> = fromConfig(layer)
