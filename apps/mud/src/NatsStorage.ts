/**
 * Where the state of a world on several nodes is kept, and how they find one another: NATS JetStream.
 *
 * The entries hold the key that signs tokens: whoever may read them can act as anybody.
 *
 * @since 0.1.0
 */
import type * as KeyValueStore from "@effect/platform/KeyValueStore"
import type { EventJournal } from "@holdfast/core/EventJournal"
import type { Leadership } from "@holdfast/core/Leadership"
import type { Presence } from "@holdfast/core/Presence"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsEntries from "@holdfast/nats/NatsEntries"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import * as NatsLeadership from "@holdfast/nats/NatsLeadership"
import * as NatsPresence from "@holdfast/nats/NatsPresence"
import { Effect, Layer } from "effect"
import { Connection } from "./Nodes.js"
import type { Settings } from "./Settings.js"
import { TokenKey } from "./Tokens.js"

type Wanted = Pick<
  Settings,
  "nats" | "natsName" | "natsCredentials" | "natsCa" | "natsReplicas" | "node" | "lease"
>

/** The first of all nodes makes the key, and the others take it. */
const tokenKey = Layer.effect(
  TokenKey,
  Effect.map(NatsEntries.NatsEntries, ({ once }) => (make) => once("token-key", make))
)

const connected = Layer.effect(
  Connection,
  Effect.map(NatsConnection.NatsConnection, ({ check, state, stats }) => ({
    check,
    server: Effect.zipWith(state, stats, ({ current }, { server }) => `${server.name} ${server.version}, ${current}`)
  }))
)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Wanted & { readonly nats: ReadonlyArray<string> }) => {
  const { lease, nats, natsCa, natsCredentials, natsName: name, natsReplicas: replicas, node } = settings
  const parts: Layer.Layer<
    EventJournal | Leadership | Presence | KeyValueStore.KeyValueStore | NatsEntries.NatsEntries,
    Layer.Layer.Error<ReturnType<typeof NatsJournal.layer>>,
    NatsConnection.NatsConnection
  > = Layer.mergeAll(
    // A day of a busy world.
    NatsJournal.layer({ name, replicas, maxEvents: 1_000_000 }),
    NatsLeadership.layer({ name, replicas, ttl: lease }),
    NatsPresence.layer({ name }),
    NatsEntries.layer({ name, replicas })
  )
  const connection = NatsConnection.layer({
    servers: nats,
    node,
    ...(natsCredentials === undefined ? {} : { credentials: { file: natsCredentials } }),
    ...(natsCa === undefined ? {} : { tls: { caFile: natsCa } })
  })
  // The minute is part of the world: the ticker's own number is this node's alone.
  return Layer.provideMerge(tokenKey, Layer.mergeAll(parts, connected, TickerStore.layerStoreMemory)).pipe(
    Layer.provideMerge(connection)
  )
}
