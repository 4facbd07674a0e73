/** Several nodes of the world over one journal, in one process: without sockets, servers and real time. */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import type { EventBus } from "@holdfast/core/EventBus"
import * as EventJournal from "@holdfast/core/EventJournal"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Leadership from "@holdfast/core/Leadership"
import * as Presence from "@holdfast/core/Presence"
import * as Race from "@holdfast/core/Race"
import { Signal } from "@holdfast/core/Signal"
import * as TickerStore from "@holdfast/core/TickerStore"
import type { Payload, Sink, SinkHandlers } from "@holdfast/http/SessionSink"
import * as Sse from "@holdfast/http/Sse"
import * as Faults from "@holdfast/testing/Faults"
import * as FaultyPorts from "@holdfast/testing/FaultyPorts"
import { Clock, Context, Duration, Effect, ExecutionStrategy, Exit, Layer, Option, Scope, Stream } from "effect"
import { CurrentWorldData } from "../../src/data/CurrentWorldData.js"
import type { WorldData } from "../../src/data/WorldData.js"
import type { WorldEvent } from "../../src/domain/WorldEvent.js"
import * as Game from "../../src/Game.js"
import * as PlayerStreams from "../../src/PlayerStreams.js"
import * as WorldBus from "../../src/WorldBus.js"
import * as WorldFold from "../../src/WorldFold.js"
import * as WorldOwner from "../../src/WorldOwner.js"
import * as WorldTicker from "../../src/WorldTicker.js"

/** Leases that run out: a node that is stalled neither renews its own nor notices that it is over. */
export class Leases {
  readonly stalled = new Set<string>()
  /** How often one was given. */
  granted = 0
  /** Nobody gets one any more. */
  closed = false
  private holder: { readonly node: string; readonly term: number; until: number } | undefined

  constructor(readonly ttl: number) {}

  get owner(): string | undefined {
    return this.holder?.node
  }

  join(node: string): Leadership.Service {
    const now = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)
    const acquire = Effect.map(now, (at) => {
      if (this.closed || (this.holder !== undefined && this.holder.until > at)) return undefined
      this.granted += 1
      return this.holder = { node, term: this.granted, until: at + this.ttl }
    })
    const renewals = (mine: NonNullable<typeof this.holder>) =>
      Effect.iterate(true, {
        while: (held) => held,
        body: () =>
          Effect.zipRight(
            Effect.sleep(Duration.millis(this.ttl / 4)),
            Effect.map(now, (at) => {
              if (this.stalled.has(node)) return true
              if (this.holder !== mine || mine.until <= at || this.closed) return false
              mine.until = at + this.ttl
              return true
            })
          )
      })
    return {
      node,
      owner: () =>
        Effect.succeed(
          Option.map(Option.fromNullable(this.holder), ({ node: owner, term }) => ({
            node: owner,
            term,
            mine: owner === node
          }))
        ),
      whileOwner: (_options, owned) => {
        const term = Effect.flatMap(acquire, (mine) =>
          mine === undefined
            ? Effect.sleep(Duration.millis(this.ttl / 5))
            : Effect.ensuring(
              Race.first(Effect.exit(Effect.scoped(owned(mine.term))), renewals(mine)),
              Effect.sync(() => {
                if (this.holder === mine) this.holder = undefined
              })
            ))
        return Effect.asVoid(
          FiberRegistry.forkScoped(Effect.forever(Effect.zipRight(term, Effect.yieldNow())), {
            name: "leadership/world",
            kind: "service"
          })
        ) as Effect.Effect<void>
      }
    }
  }
}

/** A bug that is put into every node. */
export interface Plant {
  readonly bus?: (bus: EventBus<WorldEvent>) => EventBus<WorldEvent>
  readonly game?: (game: Context.Tag.Service<typeof Game.Game>) => Context.Tag.Service<typeof Game.Game>
  readonly presence?: (presence: Presence.Service) => Presence.Service
  readonly entries?: (entries: KeyValueStore.KeyValueStore) => KeyValueStore.KeyValueStore
  readonly faults?: Readonly<Record<string, number>>
}

const decorated = <Self, Id, S>(
  tag: Context.Tag<Self, S> & { readonly key: Id },
  layer: Layer.Layer<Self, unknown, never>,
  decorate: ((service: S) => S) | undefined
): Layer.Layer<Self, unknown> =>
  decorate === undefined ? layer : Layer.provide(Layer.effect(tag, Effect.map(tag, decorate)), layer)

export interface Node {
  readonly name: string
  readonly game: Context.Tag.Service<typeof Game.Game>
  readonly streams: Context.Tag.Service<typeof PlayerStreams.PlayerStreams>
  readonly presence: Presence.Service
  /** Of the log that it follows. */
  readonly epoch: string
  /** Nothing leaves it any more, and then it ends. */
  readonly kill: Effect.Effect<void>
}

type Journal = EventJournal.EventJournal["Type"]

/** The log of the cluster: of several lives, when it has lost its end and went on. */
export class Log {
  private readonly changed = new Signal()

  private constructor(readonly lives: Array<Journal>) {}

  static readonly make = Effect.map(EventJournal.makeMemory({ epoch: "k1" }), (first) => new Log([first]))

  get current(): Journal {
    return this.lives[this.lives.length - 1]
  }

  /** Loses the last `count` events but never the first, as a server that comes back with its files of an earlier moment. */
  rollBack(count: number): Effect.Effect<void, EventJournal.JournalError> {
    return Effect.gen(this, function*() {
      const next = yield* EventJournal.makeMemory({ epoch: `k${this.lives.length + 1}` })
      const rows = yield* this.current.read({ after: 0, limit: Infinity })
      const kept = rows.slice(0, Math.max(1, rows.length - count))
      for (let index = 0; index < kept.length;) {
        const { attempt = "" } = kept[index]
        const same = kept.slice(index).findIndex((row) => row.attempt !== attempt)
        const end = same === -1 ? kept.length : index + same
        yield* next.append(kept.slice(index, end), { attempt })
        index = end
      }
      this.lives.push(next)
      this.changed.wake()
    })
  }

  /** As a node sees it that begins now: it fails with `Diverged` when the log goes on in another life. */
  get joined(): Journal {
    const mine = this.current
    const error = (operation: EventJournal.JournalError["operation"]) =>
      new EventJournal.JournalError({ operation, reason: "Diverged", details: "the log lost its end" })
    const still = <A>(
      operation: EventJournal.JournalError["operation"],
      self: Effect.Effect<A, EventJournal.JournalError>
    ) => Effect.suspend(() => this.current === mine ? self : error(operation))
    return {
      ...mine,
      append: (rows, options) => still("append", mine.append(rows, options)),
      read: (options) => still("read", mine.read(options)),
      bounds: still("bounds", mine.bounds),
      follow: (after, onRows) =>
        Race.first(
          mine.follow(after, (rows) => {
            if (this.current === mine) onRows(rows)
          }),
          Effect.zipRight(this.changed.wait(() => this.current !== mine), error("follow"))
        )
    }
  }
}

export interface Cluster {
  readonly leases: Leases
  readonly log: Log
  readonly faults: Faults.Service
  /** Starts a node, or starts it anew. */
  readonly start: (name: string) => Effect.Effect<Node, unknown>
}

const settings = { data: "memory", perAddress: 1_000, tick: Duration.seconds(2) }

export const make = (data: WorldData, plant: Plant = {}): Effect.Effect<Cluster, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const log = yield* Log.make
    const leases = new Leases(3_000)
    const meeting = new Presence.Meeting()
    const entries = Context.get(yield* Layer.build(KeyValueStore.layerMemory), KeyValueStore.KeyValueStore)
    const context = yield* Layer.build(Faults.layer({
      only: true,
      points: {
        "journal.append.lost": 0.05,
        "journal.append.unsure": 0.05,
        "journal.parts": 0.01,
        "journal.stalls": 0.02,
        "journal.tail.stalls": 0.05,
        ...plant.faults
      }
    }))
    const faults = Context.unsafeGet(context as Context.Context<never>, Faults.Faults) as Faults.Service
    const whole = yield* Effect.scope
    const start = (name: string): Effect.Effect<Node, unknown> =>
      Effect.gen(function*() {
        let dead = false
        const journal = log.joined
        const own: Journal = {
          ...journal,
          append: (rows, options) =>
            Effect.suspend(() =>
              dead
                ? new EventJournal.JournalError({ operation: "append", reason: "Unreachable", details: "killed" })
                : journal.append(rows, options)
            )
        }
        const ports = Layer.mergeAll(
          Layer.succeed(CurrentWorldData, { initial: data, changes: Stream.never }),
          TickerStore.layerStoreMemory,
          Layer.succeed(KeyValueStore.KeyValueStore, plant.entries?.(entries) ?? entries),
          Layer.succeed(Leadership.Leadership, leases.join(name)),
          decorated(Presence.Presence, Presence.layerMemory({ node: name, meeting }), plant.presence),
          decorated(
            WorldBus.WorldBus,
            Layer.provide(WorldBus.layerShared, [
              FaultyPorts.eventJournal.pipe(
                Layer.provide(Layer.succeed(EventJournal.EventJournal, own)),
                Layer.provide(Layer.succeedContext(context))
              )
            ]),
            plant.bus
          )
        )
        const world = Layer.provideMerge(
          PlayerStreams.layer(settings),
          Layer.provideMerge(WorldFold.layer(settings), ports)
        )
        const game = Layer.provideMerge(decoratedGame(plant), world)
        const layer = Layer.provideMerge(WorldOwner.layer, Layer.provideMerge(WorldTicker.layer(settings), game))
        const scope = yield* Scope.fork(whole, ExecutionStrategy.sequential)
        const built = yield* Layer.buildWithScope(layer, scope)
        const streams = Context.get(built, PlayerStreams.PlayerStreams)
        const presence = Context.get(built, Presence.Presence)
        yield* Scope.extend(
          presence.announce(Effect.map(streams.hub.sessions, (sessions) =>
            sessions.flatMap(({ principal }) =>
              principal === undefined ? [] : [{ id: principal, idleMillis: 0 }]
            ))),
          scope
        )
        // as the housekeeping of a node does
        yield* Scope.extend(
          Effect.forkScoped(Effect.forever(Effect.zipRight(Effect.sleep("1 second"), presence.members))),
          scope
        )
        return {
          name,
          epoch: journal.epoch,
          game: Context.get(built, Game.Game),
          streams,
          presence,
          kill: Effect.suspend(() => {
            dead = true
            return Scope.close(scope, Exit.void)
          })
        }
      })
    return { leases, log, faults, start }
  })

const decoratedGame = ({ game }: Plant) =>
  game === undefined
    ? Game.layer
    : Layer.flatMap(Game.layer, (context) => Layer.succeed(Game.Game, game(Context.get(context, Game.Game))))

/** A connection that remembers what it was sent. */
export class Memory implements Sink {
  readonly received: Array<Sse.Incoming> = []
  closed = false
  private readonly decoder = Sse.unsafeMakeDecoder()

  start(_handlers: SinkHandlers) {}
  write(payload: Payload) {
    this.received.push(...this.decoder.unsafeFeed(payload.bytes))
    return true
  }
  buffered() {
    return 0
  }
  end() {
    this.closed = true
  }
  destroy() {
    this.closed = true
  }
}
