import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Admission from "@holdfast/http/Admission"
import * as SseHub from "@holdfast/http/SseHub"
import * as WebSocketFormat from "@holdfast/http/WebSocketFormat"
import { Effect } from "effect"
import { format, makeBus, settle, TestSink } from "./support/hub.js"

interface Case {
  readonly name: string
  readonly epoch?: string
  /** What the client comes back with. */
  readonly came: string
  /** The end of the whole log; this node is at 5. Absent: it cannot be asked. */
  readonly head?: number
  /** All frames up to event 9: `id event`, in their order. */
  readonly seen: ReadonlyArray<string>
}

const numbers = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)
const said = (first: number, last: number, epoch?: string) =>
  numbers(first, last).map((id) => `${epoch === undefined ? "" : `${epoch}.`}${id} Said`)

const cases: ReadonlyArray<Case> = [
  { name: "a number, where there is no epoch", came: "3", head: 5, seen: ["3 position", ...said(4, 9)] },
  {
    name: "an epoch, where there is none",
    came: "k1.3",
    head: 5,
    seen: ["5 position", "5 gap reset", ...said(6, 9)]
  },
  {
    name: "an id of this epoch",
    epoch: "k1",
    came: "k1.3",
    head: 5,
    seen: ["k1.3 position", ...said(4, 9, "k1")]
  },
  {
    name: "an id of another epoch, though its number is one of this one",
    epoch: "k1",
    came: "k0.3",
    head: 5,
    seen: ["k1.5 position", "k1.5 gap reset", ...said(6, 9, "k1")]
  },
  {
    name: "an epoch that begins like this one",
    epoch: "k1",
    came: "k1-1.3",
    head: 5,
    seen: ["k1.5 position", "k1.5 gap reset", ...said(6, 9, "k1")]
  },
  {
    name: "a number without an epoch, where there is one",
    epoch: "k1",
    came: "3",
    head: 5,
    seen: ["k1.5 position", "k1.5 gap reset", ...said(6, 9, "k1")]
  },
  {
    name: "an id that another node has shown it, and that is still to come here",
    epoch: "k1",
    came: "k1.7",
    head: 9,
    seen: ["k1.7 position", ...said(8, 9, "k1")]
  },
  {
    name: "the end of the log, from another node",
    epoch: "k1",
    came: "k1.9",
    head: 9,
    seen: ["k1.9 position"]
  },
  {
    name: "an id that nobody has given",
    epoch: "k1",
    came: "k1.10",
    head: 9,
    seen: ["k1.5 position", "k1.5 gap reset", ...said(6, 9, "k1")]
  },
  {
    name: "an id that may be of the log, which cannot be asked",
    epoch: "k1",
    came: "k1.7",
    seen: ["k1.7 position", " farewell error"]
  },
  {
    name: "an id of another epoch, which nobody has to be asked about",
    epoch: "k1",
    came: "k0.7",
    seen: ["k1.5 position", "k1.5 gap reset", ...said(6, 9, "k1")]
  }
]

const makeHub = ({ epoch, head }: Pick<Case, "epoch" | "head">) =>
  Effect.gen(function*() {
    const bus = makeBus()
    yield* Effect.forEach(numbers(1, 5), (id) => bus.publish("a", String(id)))
    const hub = yield* SseHub.make({
      source: {
        ...bus.source,
        epoch,
        head: head === undefined ? Effect.fail("away") : Effect.succeed(head)
      },
      heartbeat: "1 second"
    })
    return { bus, hub }
  })

const admit = (hub: SseHub.Service, came: string) =>
  Admission.admit<never, never, never, never>(
    HttpServerRequest.fromWeb(new Request("http://server/events", { headers: { "last-event-id": came } })),
    { authorize: () => Effect.succeed({ following: [{ topic: "a" }] }) },
    hub.epoch
  )

describe("SseHub on one of several nodes", () => {
  for (const { came, name, seen, ...log } of cases) {
    it.scoped(`takes ${name}`, () =>
      Effect.gen(function*() {
        const { bus, hub } = yield* makeHub(log)
        const sink = new TestSink()
        const { following, lastEventId } = yield* admit(hub, came)
        yield* hub.open({ sink, format, following, lastEventId })
        yield* Effect.forEach(numbers(6, 9), (id) => bus.publish("a", String(id)))
        yield* settle
        const frames = sink.received.flatMap((one) => {
          if (one._tag !== "Message") return []
          const reason = /"reason":"(\w+)"/.exec(one.data)?.[1]
          return [`${one.id ?? ""} ${one.event}${reason === undefined ? "" : ` ${reason}`}`]
        })
        assert.deepStrictEqual(frames, seen)
        const last = sink.received.flatMap((one) => one._tag === "Message" ? [one.lastEventId] : []).at(-1)
        assert.isFalse(last === undefined, "a client knows what to come back with")
      }))
  }

  it.scoped("writes ids into messages of a WebSocket as into server-sent events", () =>
    Effect.gen(function*() {
      const { bus, hub } = yield* makeHub({ epoch: "k1", head: 9 })
      assert.strictEqual(hub.idOf(5), "k1.5")
      const sink = new TestSink()
      yield* hub.open({
        sink,
        format: WebSocketFormat.make() as never,
        following: [{ topic: "a" }],
        lastEventId: Number.MAX_SAFE_INTEGER
      })
      yield* bus.publish("a", "6")
      yield* settle
      const messages = sink.payloads.flatMap(({ frames }) =>
        frames.map(({ bytes }) => JSON.parse(new TextDecoder().decode(bytes)))
      )
      assert.deepStrictEqual(messages.map(({ _tag, id }) => [_tag, id]), [
        ["open", "k1.5"],
        ["gap", "k1.5"],
        ["event", "k1.6"]
      ])
      assert.include(messages[1], { reason: "reset", firstId: 1, lastId: 5 })
    }))
})
