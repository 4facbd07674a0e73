// edge: processes, sockets and their times are what is tested
/** Nodes of the world as processes over a real server, players that talk on all of them, and pages that hop between them. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { assert } from "@effect/vitest"
import { isLost, type Row } from "@holdfast/core/EventJournal"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import { Effect, Exit, Layer, Schedule, Scope } from "effect"
import { fileURLToPath } from "node:url"
import { sized } from "../../../../scripts/sized.js"
import * as WorldLoader from "../../src/data/WorldLoader.js"
import type { Facts } from "../../src/Nodes.js"
import { type EventStream, eventually, listen, request, type Server, sleep, start } from "./server.js"

const operatorToken = "the-operator-of-the-cluster"

/** Seconds. */
export const lease = 5

export const loadWorld = WorldLoader.load(fileURLToPath(new URL("../../world", import.meta.url))).pipe(
  Effect.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer))
)

export interface Cluster {
  readonly nodes: Map<string, Server>
  readonly start: (name: string) => Promise<void>
  readonly any: () => Promise<Server>
}

export const makeCluster = (nats: string, flags: ReadonlyArray<string> = []): Cluster => {
  const nodes = new Map<string, Server>()
  return {
    nodes,
    start: async (name) => {
      nodes.set(
        name,
        await start([
          ...`--nats ${nats} --node ${name} --lease ${lease} --tick 1`.split(" "),
          ...`--join-rate 1000 --per-address 2000 --max-players 2000`.split(" "),
          ...`--operator-token ${operatorToken} --log json`.split(" "),
          ...flags
        ])
      )
    },
    any: () => eventually("a node is up", () => [...nodes.values()][Math.floor(Math.random() * nodes.size)])
  }
}

/** What a node says of itself and the others. */
export const factsOf = async (server: Server): Promise<Facts> => {
  const { body, status } = await request(server, "GET", "/operator/snapshot", { token: operatorToken })
  if (status !== 200) throw new Error(`${server.url}: ${status} ${JSON.stringify(body)}`)
  return body.frame.sections.nodes.facts
}

/** All that was written to the log, with the moments at which it came. */
export const observe = async (nats: string, replicas: 1 | 3 = 1) => {
  const scope = Effect.runSync(Scope.make())
  const rows: Array<Row> = []
  const at: Array<number> = []
  const problems: Array<string> = []
  await Effect.runPromise(Scope.extend(
    Effect.gen(function*() {
      const connection = yield* NatsConnection.make({
        servers: nats.split(","),
        node: "observer",
        reconnect: Schedule.spaced("50 millis")
      })
      const { journal } = yield* Effect.provideService(
        NatsJournal.make({ name: "mud", maxEvents: 1_000_000, replicas }),
        NatsConnection.NatsConnection,
        connection
      )
      yield* Effect.forkScoped(Effect.catchAllCause(
        journal.follow(0, (found) => {
          for (const row of found) {
            if (isLost(row)) problems.push(`events ${row.firstId} to ${row.lastId} are lost`)
            else {
              rows.push(row)
              at.push(performance.now())
            }
          }
        }),
        (cause) => Effect.sync(() => problems.push(String(cause)))
      ))
    }),
    scope
  ))
  return {
    rows,
    problems,
    /** Milliseconds from a moment until the first event of this kind came. */
    next: async (tag: string, from: number): Promise<number> => {
      const index = await eventually(
        `an event ${tag}`,
        () => {
          const found = rows.findIndex((row, index) => row.tag === tag && at[index] > from)
          return found === -1 ? undefined : { found }
        }
      )
      return at[index.found] - from
    },
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const sounds = ["ba", "do", "fi", "gu", "ke", "lo", "mi", "nu", "pa", "re", "su", "ti", "vo", "za"]
const nameOf = (index: number) => {
  const text = sounds[index % 14] + sounds[(Math.floor(index / 14) + 5) % 14] + "r"
  return text[0].toUpperCase() + text.slice(1)
}

export interface Participant {
  readonly id: string
  readonly from: number
  readonly events: Map<number, string>
  readonly problems: Array<string>
  last: number
  /** What it said, and whether it was told that it did. */
  readonly said: Map<string, boolean>
}

const number = (id: string) => Number(id.slice(id.lastIndexOf(".") + 1))

/** What all participants go by, and what they are answered. */
export const makeControl = () => ({
  /** Nobody reads any more. */
  over: false,
  /** Nothing more is done to the nodes. */
  isCalm: false,
  /** When something that was said was accepted. */
  accepted: new Array<number>(),
  refused: new Map<string, number>()
})

export const makeParticipants = async (cluster: Cluster, count: number, control: ReturnType<typeof makeControl>) => {
  const participants: Array<Participant> = []
  const tokens = new Map<Participant, string>()
  const epochs = new Map<Participant, string>()
  for (let index = 0; index < count; index++) {
    const { body, status } = await request(await cluster.any(), "POST", "/api/join", { body: { name: nameOf(index) } })
    if (status !== 200) throw new Error(`join ${nameOf(index)}: ${status} ${JSON.stringify(body)}`)
    const participant: Participant = {
      id: body.player.id,
      from: number(body.after),
      events: new Map(),
      problems: [],
      last: number(body.after),
      said: new Map()
    }
    tokens.set(participant, body.token)
    epochs.set(participant, body.after.slice(0, body.after.lastIndexOf(".")))
    participants.push(participant)
  }

  const read = (one: Participant, stream: EventStream) => {
    for (const { data, event, id } of stream.frames) {
      if (event === "gap") one.problems.push(`gap ${JSON.stringify(data)}`)
      if (id === undefined) continue
      const isEvent = !["position", "gap", "farewell", "message"].includes(event)
      if (isEvent && number(id) <= one.last) one.problems.push(`event ${id} behind ${one.last}`)
      if (isEvent) one.events.set(number(id), JSON.stringify(data))
      one.last = Math.max(one.last, number(id))
    }
  }
  /** Reads here for a while, then there, with the last id that it has seen. */
  const hop = async (one: Participant, longest: number) => {
    while (!control.over) {
      const server = await cluster.any()
      try {
        const stream = await listen(server, "/events", {
          token: tokens.get(one)!,
          lastEventId: `${epochs.get(one)}.${one.last}`
        })
        await Promise.race([stream.closed, sleep(200 + Math.random() * longest)])
        stream.close()
        await stream.closed
        read(one, stream)
      } catch {
        await sleep(100)
      }
    }
  }
  /** Says `count` things at least, and until all is calm, each on any node; walks now and then. */
  const talk = async (one: Participant, count: number, pause: number) => {
    for (let index = 0; index < count || !control.isCalm; index++) {
      const text = `${one.id} ${index}`
      one.said.set(text, false)
      try {
        const { status } = await request(await cluster.any(), "POST", "/api/say", {
          token: tokens.get(one)!,
          body: { text }
        })
        if (status === 200) {
          one.said.set(text, true)
          control.accepted.push(performance.now())
        } else control.refused.set(String(status), (control.refused.get(String(status)) ?? 0) + 1)
        if (index % 8 === 7) {
          const direction = ["north", "south", "east", "west"][Math.floor(Math.random() * 4)]
          await request(await cluster.any(), "POST", "/api/move", { token: tokens.get(one)!, body: { direction } })
        }
      } catch (error) {
        const name = (error as { readonly code?: string }).code ?? String(error)
        control.refused.set(name, (control.refused.get(name) ?? 0) + 1)
      }
      await sleep(pause * (0.5 + Math.random()))
    }
  }
  const open = async (one: Participant) =>
    listen(await cluster.any(), "/events", { token: tokens.get(one)!, lastEventId: `${epochs.get(one)}.${one.last}` })
  const say = async (one: Participant, text: string) =>
    (await request(await cluster.any(), "POST", "/api/say", { token: tokens.get(one)!, body: { text } })).status
  return { participants, hop, talk, open, say }
}

const slack = sized(10, 1)

/**
 * What took how long, beside what is promised. At night it is held to that; a machine that does other things as well may take
 * longer in everyday runs. It is checked at the end, so that one late answer hides nothing else.
 */
export class Times {
  readonly lines: Array<string> = []
  private readonly late: Array<string> = []

  took(what: string, millis: number, promised: number) {
    const line = `${what} ${Math.round(millis)} ms of ${promised}`
    this.lines.push(line)
    if (millis > promised * slack) this.late.push(line)
  }

  check() {
    process.stdout.write(`${this.lines.join("; ")}\n`)
    assert.deepStrictEqual(this.late, [])
  }
}
