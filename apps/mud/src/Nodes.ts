/**
 * What this node says of the cluster: to its operator, to who asks for its readiness, and when it is up.
 *
 * Two nodes that are at the same event have the same digest, or one of them is wrong.
 *
 * @since 0.1.0
 */
import * as Leadership from "@holdfast/core/Leadership"
import * as Presence from "@holdfast/core/Presence"
import * as ConsoleSection from "@holdfast/http/ConsoleSection"
import { Context, Effect, Layer, Option } from "effect"
import { createHash } from "node:crypto"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Facts {
  readonly node: string
  /** Empty while nobody drives the world, as far as this node knows. */
  readonly owner: string
  readonly term: number
  /** The last event that this node has folded. */
  readonly event: number
  readonly digest: string
  /** The nodes that were heard of lately, this one included. */
  readonly nodes: string
  /** How many players have a stream, on whatever node. */
  readonly connected: number
  /** Of a world on several nodes: the server, and whether it is there. */
  readonly nats?: string
}

/**
 * What connects a world on several nodes: a world alone has none, and loads none.
 *
 * @since 0.1.0
 * @category tags
 */
export class Connection extends Context.Tag("@holdfast/mud/Nodes/Connection")<Connection, {
  /** The server, and whether it is there. */
  readonly server: Effect.Effect<string>
  /** Fails while it is not. */
  readonly check: Effect.Effect<void, Error>
}>() {}

/**
 * @since 0.1.0
 * @category tags
 */
export class Nodes extends Context.Tag("@holdfast/mud/Nodes")<Nodes, {
  readonly facts: Effect.Effect<Facts>
  /** For readiness: fails while the servers of the log cannot be reached. */
  readonly check: Option.Option<Effect.Effect<void, Error>>
}>() {}

/** The keys of an object in one order, whoever made it. */
const sorted = (_: string, value: unknown) =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => one < other ? -1 : 1))
    : value

/**
 * A short text that is the same for two worlds exactly if they are the same.
 *
 * @since 0.1.0
 * @category digests
 */
export const digestOf = (world: World.World): string => {
  const { flags, players, ...rest } = World.toSnapshot(world)
  const parts = { ...rest, flags: [...flags].sort(), players: [...players].sort((a, b) => a.id < b.id ? -1 : 1) }
  return createHash("sha256").update(JSON.stringify(parts, sorted)).digest("hex").slice(0, 16)
}

const make = Effect.gen(function*() {
  const game = yield* Game
  const leadership = yield* Leadership.Leadership
  const presence = yield* Presence.Presence
  const connection = yield* Effect.serviceOption(Connection)
  // asked again and again while nothing happens
  let known: { readonly event: number; readonly digest: string } | undefined
  return Nodes.of({
    facts: Effect.gen(function*() {
      const { world } = yield* game.now
      if (known?.event !== world.lastId) known = { event: world.lastId, digest: digestOf(world) }
      const owner = yield* leadership.owner("world")
      const others = yield* presence.nodes
      const members = yield* presence.members
      return {
        node: leadership.node,
        owner: Option.match(owner, { onNone: () => "", onSome: ({ node }) => node }),
        term: world.term,
        event: world.lastId,
        digest: known.digest,
        nodes: others.map(({ node }) => node).sort().join(", "),
        connected: members.size,
        ...(Option.isSome(connection) ? { nats: yield* connection.value.server } : {})
      }
    }),
    check: Option.map(connection, ({ check }) => check)
  })
})

/**
 * What the operator sees of it.
 *
 * @since 0.1.0
 * @category sections
 */
export const section = Effect.map(Nodes, ({ facts }) =>
  ConsoleSection.facts({
    id: "nodes",
    title: "Nodes",
    facts: Effect.map(facts, (all) => ({ ...all }))
  }))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.effect(Nodes, make)
