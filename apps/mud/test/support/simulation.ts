/** What happens to three nodes of the world in one seed of the simulation, and what has to be true of them afterwards. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { isGap } from "@holdfast/core/Envelope"
import type { Row } from "@holdfast/core/EventJournal"
import type * as Sse from "@holdfast/http/Sse"
import { Effect, Either, Fiber, Layer, Random, Schema } from "effect"
import { fileURLToPath } from "node:url"
import type { WorldData } from "../../src/data/WorldData.js"
import * as WorldLoader from "../../src/data/WorldLoader.js"
import * as Decide from "../../src/domain/Decide.js"
import * as Joining from "../../src/domain/Joining.js"
import * as World from "../../src/domain/World.js"
import { topicOf, WorldEvent } from "../../src/domain/WorldEvent.js"
import * as PlayerStreams from "../../src/PlayerStreams.js"
import * as Cluster from "./cluster.js"

/** With two characters, of whom one walks: more of them find no more, and each costs steps. */
export const loaded = WorldLoader.load(fileURLToPath(new URL("../../world", import.meta.url))).pipe(
  Effect.map((data) => ({ ...data, characters: Object.fromEntries(Object.entries(data.characters).slice(0, 2)) })),
  Effect.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer))
)

const fail = (what: string) => Effect.dieMessage(what)

const decodeEvent = Schema.decodeSync(Schema.parseJson(WorldEvent))

export interface Fact extends World.Fact {
  /** The node's life that wrote it. */
  readonly writer: string
}

export const factOf = (row: Row): Fact => ({
  id: row.id,
  at: row.at,
  event: decodeEvent(row.payload),
  writer: (row.attempt ?? "").replace(/-[^-]*$/, "")
})

/** What is true of a log, whatever happened to the nodes that wrote it. */
export const checkLog = (facts: ReadonlyArray<Fact>, granted: number, first: number) => {
  let led: { readonly term: number; readonly writer: string } | undefined
  let minute = first
  let terms = 0
  for (const { event, id, writer } of facts) {
    if (event._tag === "Led") {
      if (led !== undefined && event.term <= led.term) return `event ${id}: term ${event.term} after term ${led.term}`
      led = { term: event.term, writer }
      terms += 1
    }
    if (event._tag === "Ticked") {
      if (event.minute !== minute + 1) return `event ${id}: minute ${event.minute} after minute ${minute}`
      if (led?.writer !== writer) return `event ${id}: minute ${event.minute} is outside the term of who told it`
      minute = event.minute
    }
  }
  return terms > granted ? `${terms} terms, and ${granted} leases` : undefined
}

/** What a page was shown in one life of the log. */
export interface Shown {
  readonly epoch: string
  /** It was shown nothing up to here: it came later, or began anew with a reset. */
  readonly from: number
  /** The greatest id that it was told of. */
  upTo: number
  readonly events: Map<number, string>
}

/** A page of a player: it reads for a while on one node, then on another, and says what it has seen. */
const makePage = (id: string) => {
  const lives: Array<Shown> = []
  const problems: Array<string> = []
  let last = { epoch: "", id: 0 }
  const take = (one: Sse.Incoming) => {
    if (one._tag !== "Message" && one._tag !== "Position") return
    if (one.lastEventId === "") return
    const [epoch, text] = one.lastEventId.split(".")
    const number = Number(text)
    const isEvent = one._tag === "Message" && !["position", "gap", "farewell"].includes(one.event)
    if (one._tag === "Message" && one.event === "gap") {
      const gap = JSON.parse(one.data) as { readonly reason: string; readonly lastId: number }
      // the node says where it begins anew
      if (gap.reason === "reset" && lives.length > 0) {
        lives.push({ epoch, from: gap.lastId, upTo: 0, events: new Map() })
      } else problems.push(`gap ${one.data} behind ${last.epoch}.${last.id}`)
    }
    if (lives.length === 0) lives.push({ epoch, from: 0, upTo: 0, events: new Map() })
    const life = lives[lives.length - 1]
    if (isEvent) {
      if (life.epoch !== epoch) problems.push(`event ${epoch}.${number} in the life ${life.epoch}, without a reset`)
      if (life.events.has(number)) problems.push(`event ${epoch}.${number} twice`)
      if (epoch === last.epoch && number < last.id) problems.push(`back from ${last.id} to ${number}`)
      life.events.set(number, one.data)
    }
    if (life.epoch === epoch) life.upTo = Math.max(life.upTo, number)
    last = { epoch, id: number }
  }
  const read = (node: Cluster.Node, millis: number) =>
    Effect.scoped(Effect.gen(function*() {
      const { world } = yield* node.game.now
      if (World.playerById(world, id) === undefined) yield* node.game.current
      // Nobody of that name yet. No time passes while a fiber could run: who only asks again stops the clock for all.
      if ((yield* node.game.windows(id)).length === 0) return yield* Effect.sleep("100 millis")
      const sink = new Cluster.Memory()
      const { hub } = node.streams
      yield* hub.open({
        sink,
        format: PlayerStreams.format as never,
        following: node.game.windows(id),
        principal: id,
        // as a request is read: an id of another epoch is beyond every id
        lastEventId: last.epoch === "" || last.epoch === node.epoch ? last.id : Number.MAX_SAFE_INTEGER
      })
      yield* Effect.sleep(millis)
      sink.received.forEach(take)
    }))
  return { id, lives, problems, read }
}

/** The keys of an object in one order, whoever wrote it. */
const sorted = (_: string, value: unknown) =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => one < other ? -1 : 1))
    : value

/** What a page was shown of one life of the log, up to an id, beside what was for it. */
export const compare = (
  life: { readonly facts: ReadonlyArray<Fact>; readonly world: World.World },
  player: string,
  { epoch, events, from }: Shown,
  upTo: number
): string | undefined => {
  const windows = World.windowsOf(life.world, player)
  const wanted = new Map(
    life.facts.filter(({ event, id }) =>
      windows.some((window) => window.topic === topicOf(event) && id > window.after && id <= (window.upTo ?? Infinity))
    ).map(({ at, event, id }) => [id, JSON.stringify({ ...event, at }, sorted)])
  )
  const missed = Array.from(wanted.keys()).filter((id) => id > from && id <= upTo && !events.has(id))
  if (missed.length > 0) return `missed ${missed.join()} of ${epoch}`
  const strange = Array.from(events.keys()).filter((id) => !wanted.has(id))
  if (strange.length > 0) return `was shown ${strange.join()} of ${epoch}, which are not for it`
  const other = Array.from(events).find(([id, text]) => JSON.stringify(JSON.parse(text), sorted) !== wanted.get(id))
  return other === undefined
    ? undefined
    : `was shown ${other[1]} as ${epoch}.${other[0]}, which is ${wanted.get(other[0])}`
}

/** The state, written so that two that are the same are the same text. */
const picture = (world: World.World): Record<string, string> => {
  const { players, ...rest } = World.toSnapshot(world)
  const parts = { ...rest, flags: [...rest.flags].sort(), players: [...players].sort((a, b) => a.id < b.id ? -1 : 1) }
  return Object.fromEntries(Object.entries(parts).map(([key, part]) => [key, JSON.stringify(part, sorted)]))
}

/** The first part of the state in which two worlds differ. */
const difference = (one: World.World, other: World.World): string | undefined => {
  const [first, second] = [picture(one), picture(other)]
  const key = Object.keys(first).find((key) => first[key] !== second[key])
  return key === undefined ? undefined : `${key} ${first[key]} for ${second[key]}`
}

const names = ["a", "b", "c"]

/** Three nodes, three players that talk and walk on all of them, pages that hop; nodes are killed, stalled and started anew. */
export const scenario = (data: WorldData, plant: Cluster.Plant = {}) =>
  Effect.gen(function*() {
    const cluster = yield* Cluster.make(data, plant)
    const live = new Map<string, Cluster.Node>()
    const start = (name: string) =>
      Effect.retry(cluster.start(name), { while: (error) => String(error).includes("Unreachable"), times: 50 }).pipe(
        Effect.tap((node) => Effect.sync(() => live.set(name, node)))
      )
    yield* Effect.forEach(names, start, { concurrency: 3 })
    const any: Effect.Effect<Cluster.Node> = Effect.flatMap(
      Effect.suspend(() => Random.nextIntBetween(0, Math.max(1, live.size))),
      (index) => {
        const node = [...live.values()][index % Math.max(1, live.size)]
        return node === undefined ? Effect.zipRight(Effect.sleep("100 millis"), any) : Effect.succeed(node)
      }
    )
    const phase = { over: false }

    const acknowledged = new Map<string, { readonly epoch: string; readonly id: number }>()
    const tried = new Set<string>()
    const player = (name: string) =>
      Effect.gen(function*() {
        const id = name.toLowerCase()
        const known = (node: Cluster.Node) =>
          Effect.map(node.game.current, ({ world }) => World.playerById(world, id) !== undefined)
        while (true) {
          const node = yield* any
          const joined = yield* Effect.either(
            node.game.transact<unknown>((now, world) => Joining.join(now, world, { id, name }))
          )
          if (Either.isRight(joined) || (yield* Effect.orElseSucceed(known(node), () => false))) break
          yield* Effect.sleep("300 millis")
        }
        for (let index = 0; index < 4; index++) {
          const word = `${id}-${index}`
          tried.add(word)
          const { epoch, game } = yield* any
          const spoken = yield* Effect.either(
            game.transact<unknown>((now, world) =>
              Decide.decide(now, world, { id, admin: false }, { _tag: "Say", text: word })
            )
          )
          if (Either.isRight(spoken)) acknowledged.set(word, { epoch, id: spoken.right.facts[0].id })
          const { game: other } = yield* any
          const { world } = yield* other.now
          const self = World.playerById(world, id)
          const exits = self === undefined
            ? []
            : World.knownExits(data, world, self.room, id).filter(({ open }) => open)
          if (exits.length > 0) {
            const { direction } = exits[yield* Random.nextIntBetween(0, exits.length)]
            yield* Effect.either(
              other.transact<unknown>((now, world) =>
                Decide.decide(now, world, { id, admin: false }, { _tag: "Go", direction })
              )
            )
          }
          yield* Effect.sleep(yield* Random.nextIntBetween(100, 2_000))
        }
      })
    const restart = (name: string, pause: number) =>
      Effect.gen(function*() {
        const node = live.get(name)
        live.delete(name)
        yield* node?.kill ?? Effect.void
        yield* Effect.sleep(pause)
        yield* start(name)
      })
    // Every node that saw what was lost ends, each when it notices, and is started anew.
    const rollBack = Effect.gen(function*() {
      yield* cluster.log.rollBack(yield* Random.nextIntBetween(1, 11))
      yield* Effect.forEach(Array.from(live.keys()), (name) =>
        Effect.gen(function*() {
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 1_000))
          yield* restart(name, yield* Random.nextIntBetween(100, 2_000))
        }), { concurrency: "unbounded", discard: true })
    })
    const chaos = Effect.gen(function*() {
      for (let index = 0; index < 3; index++) {
        yield* Effect.sleep(yield* Random.nextIntBetween(500, 3_000))
        const owner = cluster.leases.owner
        const name = owner !== undefined && (yield* Random.nextBoolean) ? owner : (yield* any).name
        const what = yield* Random.nextIntBetween(0, 5)
        if (what < 2) {
          cluster.leases.stalled.add(name)
          yield* Effect.sleep(yield* Random.nextIntBetween(3_000, 9_000))
          cluster.leases.stalled.delete(name)
        } else if (what < 4) {
          yield* restart(name, yield* Random.nextIntBetween(100, 4_000))
        } else {
          yield* rollBack
        }
      }
    })
    const people = ["Ada", "Bo", "Cy"]
    const acting = yield* Effect.forkScoped(Effect.all([...people.map(player), chaos], { concurrency: "unbounded" }))
    const pages = people.map((name) => makePage(name.toLowerCase()))
    const hopping = yield* Effect.forkScoped(Effect.forEach(pages, (page) =>
      Effect.gen(function*() {
        while (!phase.over) {
          const node = yield* any
          yield* Effect.catchAll(
            page.read(node, yield* Random.nextIntBetween(200, 3_000)),
            () => Effect.sleep("100 millis")
          )
        }
      }), { concurrency: "unbounded" }))
    yield* Fiber.join(acting)

    // All is well again, and nobody drives the world: it comes to rest.
    yield* cluster.faults.disable
    yield* Effect.sleep("10 seconds")
    cluster.leases.closed = true
    yield* Effect.sleep("30 seconds")
    phase.over = true
    yield* Fiber.join(hopping)
    // the last one is that of today
    const lives = yield* Effect.forEach(cluster.log.lives, (journal) =>
      Effect.map(journal.read({ after: 0, limit: Infinity }), (rows) => {
        const facts = rows.map(factOf)
        return {
          epoch: journal.epoch,
          facts,
          world: facts.reduce<World.World>(World.evolve, World.initial(data))
        }
      }))
    const { facts, world } = lives[lives.length - 1]
    const wrong = checkLog(facts, cluster.leases.granted, World.initial(data).minute)
    if (wrong !== undefined) {
      return yield* fail(wrong)
    }

    for (const { game, name } of live.values()) {
      const { world: own } = yield* game.now
      const other = difference(own, world)
      if (other === undefined) {
        continue
      }
      return yield* fail(
        `the world of ${name} is another one: it is at event ${own.lastId} of ${world.lastId}, ${other}`
      )
    }
    const spokenIn = (facts: ReadonlyArray<Fact>) =>
      facts.flatMap(({ event, id }) =>
        event._tag === "Said" && event.actor.kind === "player" ? [{ text: event.text, id }] : []
      )
    const spoken = spokenIn(facts)
    for (const word of tried) {
      const found = spoken.filter(({ text }) =>
        text === word
      )
      if (found.length > 1) return yield* fail(`"${word}" was said ${found.length} times`)
      const known = acknowledged.get(word)
      const life = lives.find(({ epoch }) => epoch === known?.epoch)
      if (known === undefined || life === undefined) continue
      if (!spokenIn(life.facts).some(({ id, text }) => text === word && id === known.id)) {
        return yield* fail(`"${word}" was acknowledged as ${known.epoch}.${known.id} and is not there`)
      }
    }
    for (const page of pages) {
      yield* page.read([...live.values()][0], 2_000)
      if (page.problems.length > 0) return yield* fail(`${page.id}: ${page.problems.join(", ")}`)
      for (const [index, shown] of page.lives.entries()) {
        const life = lives.find(({ epoch }) => epoch === shown.epoch)
        if (life === undefined) return yield* fail(`${page.id} was shown a life ${shown.epoch}, which there is not`)
        const isLast = index === page.lives.length - 1
        // a player who joined in what was lost is nobody
        const isKnown = World.playerById(world, page.id) !== undefined
        if (isLast && isKnown && life.epoch !== lives[lives.length - 1].epoch) {
          return yield* fail(`${page.id} does not know of the life after ${life.epoch}`)
        }
        const wrong = compare(life, page.id, shown, isLast && isKnown ? Infinity : shown.upTo)
        if (wrong !== undefined) return yield* fail(`${page.id} ${wrong}`)
      }
    }
    for (const { name, presence } of live.values()) {
      const members = yield* presence.members
      if (members.size > 0) {
        return yield* fail(`${name} says that ${[...members.keys()].join()} are there, and nobody is`)
      }
    }
  }).pipe(Effect.scoped)

export const options = {
  maxOperations: 5_000_000,
  maxTime: "10 minutes",
  settle: "1 minute",
  // one seed is many hundred thousand operations: the search for fewer moves takes longer than a person
  shrink: false
} as const

/** What finds each of them, and within how many seeds. */
export const plants: ReadonlyArray<readonly [bug: string, seeds: number, finds: RegExp, plant: Cluster.Plant]> = [
  [
    "a lease that is trusted without a fence",
    10,
    /outside the term/,
    {
      game: (game) => ({
        ...game,
        own: (node, term) =>
          Effect.map(game.own(node, term), (owned) => ({
            ...owned,
            publish: game.publish,
            superseded: Effect.never
          }))
      })
    }
  ],
  [
    "a retry without its attempt",
    10,
    /was said 2 times|acknowledged|is another one|minute/,
    {
      bus: (bus) => ({
        ...bus,
        publishAll: (events, { attempt: _, ...given } = {}) => bus.publishAll(events, given)
      })
    }
  ],
  [
    "a hole that is skipped",
    10,
    // whoever does not know of a hole shows another world, or plays on in it
    /is another one|missed|minute \d+ after minute|does not end/,
    {
      faults: { "journal.tail.loses": 0.05 },
      bus: (bus) => ({
        ...bus,
        log: {
          ...bus.log,
          subscribeAfter: (id, options) =>
            Effect.map(bus.log.subscribeAfter(id, options), (subscription) => ({
              ...subscription,
              takeBatch: (max?: number) =>
                Effect.repeat(
                  Effect.map(subscription.takeBatch(max), (items) => items.filter((item) => !isGap(item))),
                  { until: (items) => items.length > 0 }
                ) as never
            }))
        }
      })
    }
  ],
  [
    "presence that is merged back in",
    10,
    /are there, and nobody is/,
    {
      presence: (presence) => {
        const known = new Map<string, { readonly nodes: ReadonlyArray<string>; readonly idleMillis: number }>()
        return {
          ...presence,
          announce: (roster) =>
            presence.announce(Effect.map(roster, (entries) => {
              for (const { id, idleMillis } of entries) known.set(id, { nodes: [presence.node], idleMillis })
              return Array.from(known, ([id, { idleMillis }]) => ({ id, idleMillis }))
            }))
        }
      }
    }
  ],
  [
    "a snapshot that is ahead of its log",
    10,
    /is another one|minute|missed|cannot be read/,
    {
      entries: (entries) =>
        KeyValueStore.make({
          ...entries,
          set: (key, value) =>
            entries.set(
              key,
              key === "world"
                ? String(value).replace(
                  /"lastId":(\d+),"lastAt":\d+/,
                  (_, id) => `"lastId":${Number(id) + 3},"lastAt":0`
                )
                : value
            )
        })
    }
  ],
  [
    "an owner that goes on after its term",
    10,
    /leases/,
    {
      game: (game) => ({
        ...game,
        own: (node, term) =>
          Effect.map(game.own(node, term), (owned) => {
            let current = owned
            return {
              ...owned,
              publish: (decide) =>
                Effect.catchTag(
                  Effect.suspend(() => current.publish(decide)),
                  "Superseded",
                  () =>
                    Effect.flatMap(Effect.scoped(game.own(node, term)), (again) => {
                      current = again
                      return again.publish(decide)
                    })
                ),
              superseded: Effect.never
            }
          })
      })
    }
  ]
]
