import type { Entry, Member, Node } from "@holdfast/core/Presence"
import { members } from "@holdfast/core/Presence"
import * as Race from "@holdfast/core/Race"
import { Signal } from "@holdfast/core/Signal"
import type { Msg, Subscription } from "@nats-io/nats-core"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import type { Connection } from "./connection.js"
import * as Live from "./live.js"

/** One part of a roster; `members` are ids with the milliseconds since they did something. */
interface Told {
  readonly node: string
  /** Another one for each life of a node. */
  readonly life: string
  readonly about: Readonly<Record<string, string>>
  readonly roster: number
  readonly part: number
  readonly parts: number
  readonly members: ReadonlyArray<readonly [id: string, idleMillis: number]>
}

interface Heard {
  readonly life: string
  about: Readonly<Record<string, string>>
  entries: ReadonlyArray<Entry>
  /** The parts of a roster that is not whole yet. */
  roster: number
  parts: Array<Told>
  /** On the clock of the connection, and on that of the machine. */
  at: number
  heardAt: number
}

/** The most that one message holds of a roster, in bytes. */
const partSize = 256 * 1024

/** How long a change waits for others to go with it, in milliseconds. */
const together = 100

const isTold = (value: unknown): value is Told => {
  const { life, members, node, part, parts, roster } = (value ?? {}) as Partial<Told>
  return typeof node === "string" && typeof life === "string" && Array.isArray(members) && typeof roster === "number" &&
    typeof part === "number" && typeof parts === "number"
}

export class Roll {
  private readonly life = randomBytes(6).toString("hex")
  private readonly rosters = new Set<Effect.Effect<ReadonlyArray<Entry>>>()
  private readonly others = new Map<string, Heard>()
  private readonly woken = new Signal()
  private readonly subscriptions: ReadonlyArray<Subscription>
  private readonly unlisten: () => void
  private dirty = true
  private roster = 0
  private twins: string | undefined
  /** Time in which others could be heard: what was counted, and since when it is counted again. */
  private counted = 0
  private countedFrom: number | undefined

  constructor(
    private readonly connection: Connection,
    private readonly subject: string,
    private readonly about: Readonly<Record<string, string>>,
    private readonly beat: number,
    private readonly expiry: number
  ) {
    this.countedFrom = connection.isConnected ? Live.now() : undefined
    this.subscriptions = [
      connection.subscribe(subject, (message) => this.receive(message)),
      connection.subscribe(`${subject}.who`, () => this.wake()),
      connection.subscribe(`${subject}.bye`, (message) => this.leave(message))
    ]
    this.unlisten = connection.listen(() => this.turned())
    connection.publish(`${subject}.who`, "")
  }

  close() {
    this.unlisten()
    for (const subscription of this.subscriptions) subscription.unsubscribe()
    this.connection.publish(`${this.subject}.bye`, JSON.stringify({ node: this.connection.node, life: this.life }))
  }

  readonly changed: Effect.Effect<void> = Effect.sync(() => this.wake())

  announce(roster: Effect.Effect<ReadonlyArray<Entry>>): Effect.Effect<void, never, Scope.Scope> {
    return Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => {
        this.rosters.add(roster)
        this.wake()
      }),
      () =>
        Effect.sync(() => {
          this.rosters.delete(roster)
          this.wake()
        })
    ))
  }

  private readonly own: Effect.Effect<ReadonlyArray<Entry>> = Effect.suspend(() =>
    Effect.map(Effect.all([...this.rosters]), (told) => told.flat())
  )

  readonly members: Effect.Effect<ReadonlyMap<string, Member>> = Effect.suspend(() =>
    Effect.map(Effect.zipRight(this.forget, this.own), (own) => {
      const now = Live.now()
      const others = Array.from(
        this.others,
        ([node, { entries, heardAt }]) =>
          [node, entries.map(({ id, idleMillis }) => ({ id, idleMillis: idleMillis + (now - heardAt) }))] as const
      )
      return members([[this.connection.node, own], ...others])
    })
  )

  readonly nodes: Effect.Effect<ReadonlyArray<Node>> = Effect.suspend(() =>
    Effect.map(this.forget, () => {
      const now = Live.now()
      return [
        { node: this.connection.node, heardMillisAgo: 0, about: this.about },
        ...Array.from(this.others, ([node, { about, heardAt }]) => ({ node, heardMillisAgo: now - heardAt, about }))
      ].sort((a, b) => a.node < b.node ? -1 : 1)
    })
  )

  readonly beats: Effect.Effect<never> = Effect.suspend(() =>
    Race.first(Live.sleep(this.beat), this.woken.wait(() => this.dirty)).pipe(
      Effect.zipRight(Effect.suspend(() => this.dirty ? Live.sleep(together) : Effect.void)),
      Effect.zipRight(this.reportTwins),
      Effect.zipRight(Effect.suspend(() => {
        this.dirty = false
        return Effect.map(this.own, (entries) => this.tell(entries))
      })),
      // a roster that dies is the fault of who announced it, and must not silence the node
      Effect.catchAllCause((cause) => Effect.logError("A roster of the presence cannot be told", cause)),
      Effect.forever
    )
  )

  private readonly reportTwins = Effect.suspend(() => {
    const { twins } = this
    this.twins = undefined
    return twins === undefined
      ? Effect.void
      : Effect.logError(`Another node calls itself "${twins}", too: give each node a name of its own`)
  })

  private wake() {
    this.dirty = true
    this.woken.wake()
  }

  private clock(): number {
    return this.counted + (this.countedFrom === undefined ? 0 : Live.now() - this.countedFrom)
  }

  private turned() {
    this.counted = this.clock()
    this.countedFrom = this.connection.isConnected ? Live.now() : undefined
    if (this.connection.publish(`${this.subject}.who`, "")) this.wake()
  }

  private tell(entries: ReadonlyArray<Entry>) {
    const parts: Array<Array<readonly [string, number]>> = [[]]
    let size = 0
    for (const { id, idleMillis } of entries) {
      if (size > partSize) {
        parts.push([])
        size = 0
      }
      parts[parts.length - 1].push([id, Math.round(idleMillis)])
      size += Buffer.byteLength(id) + 16
    }
    const roster = ++this.roster
    for (const [part, list] of parts.entries()) {
      const told: Told = {
        node: this.connection.node,
        life: this.life,
        about: this.about,
        roster,
        part,
        parts: parts.length,
        members: list
      }
      this.connection.publish(this.subject, JSON.stringify(told))
    }
  }

  private receive(message: Msg) {
    const told = parse(message)
    if (!isTold(told) || told.life === this.life) return
    if (told.node === this.connection.node) {
      this.twins = told.node
      return
    }
    let heard = this.others.get(told.node)
    if (heard === undefined || heard.life !== told.life) {
      heard = { life: told.life, about: told.about, entries: [], roster: 0, parts: [], at: 0, heardAt: 0 }
      this.others.set(told.node, heard)
    }
    heard.at = this.clock()
    heard.heardAt = Live.now()
    if (told.roster !== heard.roster) {
      heard.roster = told.roster
      heard.parts = []
    }
    heard.parts.push(told)
    if (heard.parts.length < told.parts) return
    heard.about = told.about
    heard.entries = heard.parts.flatMap((part) => part.members.map(([id, idleMillis]) => ({ id, idleMillis })))
    heard.parts = []
  }

  private leave(message: Msg) {
    const { life, node } = (parse(message) ?? {}) as { readonly node?: string; readonly life?: string }
    if (node !== undefined && this.others.get(node)?.life === life) this.others.delete(node)
  }

  private silent(): Array<string> {
    const now = this.clock()
    return Array.from(this.others).filter(([, { at }]) => now - at > this.expiry).map(([node]) => node)
  }

  /** Forgets those who have been silent for too long, unless a word of theirs lies in the socket. */
  private readonly forget: Effect.Effect<void> = Effect.suspend(() =>
    this.silent().length === 0 ? Effect.void : Effect.map(Live.turn, () => {
      for (const node of this.silent()) this.others.delete(node)
    })
  )
}

const parse = (message: Msg): unknown => {
  try {
    return JSON.parse(Buffer.from(message.data).toString("utf8"))
  } catch {
    return undefined
  }
}
