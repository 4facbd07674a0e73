import { assert, describe, it } from "@effect/vitest"
import * as Admission from "@holdfast/http/Admission"
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import type * as TopicWindow from "@holdfast/http/TopicWindow"
import { Cause, Duration, Effect, Exit, Fiber, Random, Scope, TestClock } from "effect"
import type { Said } from "./support/hub.js"
import { format, makeBus, settle, TestSink } from "./support/hub.js"

const openWith = (
  hub: SseHub.Service,
  options: Partial<SseHub.OpenOptions> & { readonly stalled?: boolean } = {}
) =>
  Effect.gen(function*() {
    const sink = new TestSink()
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const session = yield* Scope.extend(
      hub.open({ sink, format, following: [{ topic: "a" }], ...options }),
      scope
    )
    sink.stalled = options.stalled ?? false
    return { sink, session, scope }
  })

describe("SseHub", () => {
  it.scoped("hands each session the events of its topics, in order", () =>
    Effect.gen(function*() {
      const bus = makeBus()
      const hub = yield* SseHub.make({ source: bus.source })
      const a = yield* openWith(hub)
      const b = yield* openWith(hub, { following: [{ topic: "b" }] })
      const both = yield* openWith(hub, { following: [{ topic: "a" }, { topic: "b" }] })
      const all = yield* openWith(hub, { following: [{ prefix: "" }, { topic: "a" }] })
      yield* bus.publish("a", "1")
      yield* bus.publish("b", "2")
      yield* settle
      yield* bus.publish("a", "3")
      yield* settle
      assert.deepStrictEqual(a.sink.seen, ["1", "3"])
      assert.deepStrictEqual(b.sink.seen, ["2"])
      assert.deepStrictEqual(both.sink.seen, ["1", "2", "3"])
      assert.deepStrictEqual(all.sink.seen, ["1", "2", "3"])
      assert.deepStrictEqual(all.sink.ids, [1, 2, 3])
    }))

  it.scoped("makes one write of one wake-up, and shares its bytes", () =>
    Effect.gen(function*() {
      const bus = makeBus()
      const hub = yield* SseHub.make({ source: bus.source })
      const one = yield* openWith(hub)
      const two = yield* openWith(hub)
      const other = yield* openWith(hub, { following: [{ topic: "a" }, { topic: "x" }] })
      const before = one.sink.writes
      yield* Effect.forEach([1, 2, 3, 4], (i) => bus.publish("a", String(i)))
      yield* settle
      assert.strictEqual(one.sink.writes, before + 1)
      assert.deepStrictEqual(one.sink.seen, ["1", "2", "3", "4"])
      assert.strictEqual(one.sink.payloads.at(-1), two.sink.payloads.at(-1))
      assert.strictEqual(one.sink.payloads.at(-1), other.sink.payloads.at(-1))
    }))

  it.scoped("says something at once, with the retry", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({ source: makeBus().source, retry: "3 seconds" })
      const { sink } = yield* openWith(hub)
      assert.deepStrictEqual(sink.received, [
        { _tag: "Comment", comment: "session sse-1" },
        { _tag: "Retry", millis: 3000 },
        { _tag: "Message", event: "position", data: `{"id":0}`, id: "0", lastEventId: "0" }
      ])
    }))

  it.scoped("says why, behind the head and never before it, when a session ends while it is being opened", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({
        source: makeBus().source,
        onOpen: (session) => session.end("replaced")
      })
      const { session, sink } = yield* openWith(hub)
      assert.isDefined(sink.handlers)
      assert.deepStrictEqual(sink.received.map((one) => one._tag), ["Comment", "Retry", "Message", "Message"])
      assert.match(sink.seen[0]!, /^!farewell .*replaced/)
      assert.strictEqual(sink.closed, "end")
      assert.strictEqual((yield* session.awaitEnd).reason, "replaced")
    }))

  it.scoped("gives the slot back when the scope closes, and records why", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({ source: makeBus().source, limits: { sessions: 1 } })
      const first = yield* openWith(hub, { address: "1.2.3.4", principal: "p" })
      const refused = yield* Effect.flip(openWith(hub))
      assert.strictEqual(refused.reason, "sessions")
      yield* Scope.close(first.scope, Exit.void)
      const second = yield* openWith(hub)
      second.sink.leave()
      assert.deepStrictEqual((yield* hub.ended).map((ended) => ended.reason), ["client-left", "client-left"])
      assert.strictEqual((yield* hub.stats).open, 0)
      assert.strictEqual((yield* second.session.awaitEnd).reason, "client-left")
    }))

  it.scoped("limits sessions per address and per principal", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({ source: makeBus().source, limits: { perAddress: 2, perPrincipal: 1 } })
      yield* openWith(hub, { address: "x", principal: "p" })
      assert.strictEqual((yield* Effect.flip(openWith(hub, { address: "y", principal: "p" }))).reason, "principal")
      yield* openWith(hub, { address: "x" })
      assert.strictEqual((yield* Effect.flip(openWith(hub, { address: "x" }))).reason, "address")
    }))

  it.scoped("keeps a banned principal out for as long as it was told, whatever the clock of the machine says", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({ source: makeBus().source })
      const first = yield* openWith(hub, { principal: "p" })
      assert.strictEqual(yield* hub.ban("p", "1 minute"), 1)
      assert.strictEqual((yield* first.session.awaitEnd).reason, "banned")
      const refused = yield* Effect.flip(openWith(hub, { principal: "p" }))
      assert.strictEqual(refused.reason, "banned")
      assert.strictEqual(Duration.toMillis(refused.retryAfter), 60_000)
      const { problem } = Admission.toHttpError(refused)
      assert.strictEqual(problem.status, 403)
      yield* openWith(hub, { principal: "q" })
      yield* openWith(hub, {})
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* Effect.flip(hub.check({ principal: "p" }))).reason, "banned")
      assert.deepStrictEqual(yield* hub.bans, [{ principal: "p", remainingMillis: 1000 }])
      assert.deepStrictEqual(yield* hub.banned("p"), { principal: "p", remainingMillis: 1000 })
      assert.isUndefined(yield* hub.banned("q"))
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(yield* hub.bans, [])
      assert.isUndefined(yield* hub.banned("p"))
      yield* openWith(hub, { principal: "p" })
      // A later one takes the place of an earlier one, and an operator may think better of it.
      yield* hub.ban("p", "1 minute")
      yield* hub.ban("p", Infinity)
      yield* TestClock.adjust("10 minutes")
      const forever = yield* Effect.flip(openWith(hub, { principal: "p" }))
      assert.notProperty(Admission.toHttpError(forever).problem.headers ?? {}, "retry-after")
      assert.isTrue(yield* hub.unban("p"))
      assert.isFalse(yield* hub.unban("p"))
      yield* openWith(hub, { principal: "p" })
      for (const duration of [0, -1, Number.NaN]) {
        const cause = yield* Effect.flip(Effect.sandbox(hub.ban("p", duration)))
        assert.include(Cause.pretty(cause), "SseHub.ban.duration")
      }
      yield* openWith(hub, { principal: "p" })
    }))

  it.scoped("replaces the oldest session of a principal where asked to", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({
        source: makeBus().source,
        limits: { perPrincipal: 1, onPrincipalLimit: "replace" }
      })
      const old = yield* openWith(hub, { principal: "p" })
      const young = yield* openWith(hub, { principal: "p" })
      assert.strictEqual((yield* old.session.awaitEnd).reason, "replaced")
      assert.deepStrictEqual(old.sink.seen, [`!farewell {"reason":"replaced"}`])
      assert.strictEqual(old.sink.closed, "end")
      assert.strictEqual(young.sink.closed, undefined)
    }))

  describe("resume", () => {
    it.scoped("goes on behind the last id, from history and then live", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        for (let i = 1; i <= 1000; i++) {
          yield* bus.publish(i % 2 === 0 ? "a" : "b", String(i))
        }
        const hub = yield* SseHub.make({ source: bus.source, recent: 10 })
        const { sink } = yield* openWith(hub, { lastEventId: 100 })
        const read = yield* Effect.fork(
          Effect.forEach(Array.from({ length: 50 }, (_, i) => 1001 + i), (i) =>
            Effect.zipRight(Effect.yieldNow(), bus.publish("a", String(i))), { discard: true })
        )
        yield* Fiber.join(read)
        yield* settle
        const expected = bus.log.filter(({ id, topic }) =>
          id > 100 && topic === "a"
        ).map(({ id }) => id)
        assert.deepStrictEqual(sink.ids, expected)
      }))

    it.scoped("is served from the ring when history is not needed", () =>
      Effect.gen(function*() {
        const bus = makeBus({ history: false })
        const hub = yield* SseHub.make({ source: bus.source, recent: 10 })
        for (let i = 1; i <= 10; i++) {
          yield* bus.publish("a", String(i))
        }
        yield* settle
        const { sink } = yield* openWith(hub, { lastEventId: 4 })
        assert.deepStrictEqual(sink.ids, [5, 6, 7, 8, 9, 10])
      }))

    it.scoped("announces what history no longer has", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        for (let i = 1; i <= 100; i++) {
          yield* bus.publish("a", String(i))
        }
        bus.first = 91
        const hub = yield* SseHub.make({ source: bus.source, recent: 5 })
        const { sink } = yield* openWith(hub, { lastEventId: 10 })
        yield* settle
        assert.strictEqual(sink.seen[0], `!gap {"reason":"history","firstId":11,"lastId":90}`)
        assert.strictEqual(sink.messages[0].id, "90")
        assert.deepStrictEqual(sink.ids, [91, 92, 93, 94, 95, 96, 97, 98, 99, 100])
      }))

    it.scoped("announces each hole of history once, also at the end of a page", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        for (let i = 1; i <= 100; i++) {
          yield* bus.publish("a", String(i))
        }
        const history = bus.source.history!
        const hub = yield* SseHub.make({
          source: {
            ...bus.source,
            history: {
              after: (id, options) =>
                id === 10
                  ? Effect.succeed({ items: [{ _tag: "Gap", firstId: 11, lastId: 20 }], cursor: 20 })
                  : history.after(id, options)
            }
          },
          recent: 5
        })
        const { sink } = yield* openWith(hub, { lastEventId: 10 })
        yield* settle
        assert.strictEqual(sink.seen[0], `!gap {"reason":"history","firstId":11,"lastId":20}`)
        assert.deepStrictEqual(sink.ids, Array.from({ length: 80 }, (_, i) => 21 + i))
      }))

    it.scoped("begins anew, and says so, with an id that was never given", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        yield* bus.publish("a", "1")
        const hub = yield* SseHub.make({ source: bus.source })
        const { sink } = yield* openWith(hub, { lastEventId: 77 })
        yield* bus.publish("a", "2")
        yield* settle
        assert.deepStrictEqual(sink.seen, [`!gap {"reason":"reset","firstId":1,"lastId":1}`, "2"])
      }))

    it.scoped("goes at the reader's pace", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        for (let i = 1; i <= 2000; i++) {
          yield* bus.publish("a", String(i))
        }
        const hub = yield* SseHub.make({ source: bus.source, recent: 10 })
        const { sink } = yield* openWith(hub, { lastEventId: 0, stalled: true })
        yield* settle
        const first = sink.ids.length
        assert.isBelow(first, 600)
        while (sink.ids.length < 2000) {
          sink.handlers!.onReady()
          yield* settle
        }
        sink.resume()
        yield* bus.publish("a", "2001")
        yield* settle
        assert.deepStrictEqual(sink.ids, Array.from({ length: 2001 }, (_, i) => i + 1))
      }))

    it.scoped("recovers from history what its own subscription has lost", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        const hub = yield* SseHub.make({ source: bus.source })
        const { sink } = yield* openWith(hub)
        yield* bus.publish("a", "1")
        yield* bus.publishLost("a", "2")
        yield* bus.publish("a", "3")
        yield* settle
        assert.deepStrictEqual(sink.seen, ["1", "2", "3"])
      }))

    it.scoped("ends the session when history fails", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        yield* bus.publish("a", "1")
        yield* bus.publish("a", "2")
        const hub = yield* SseHub.make({ source: bus.source, recent: 1 })
        bus.onRead = Effect.fail("disk")
        const { session } = yield* openWith(hub, { lastEventId: 0 })
        assert.strictEqual((yield* session.awaitEnd).reason, "error")
      }))
  })

  describe("the opening", () => {
    /** What a client that gets nothing but the opening comes back with, and what it then gets. */
    const comesBack = (given: Partial<SseHub.OpenOptions>) =>
      Effect.gen(function*() {
        const bus = makeBus()
        for (let i = 1; i <= 10; i++) {
          yield* bus.publish(i % 2 === 0 ? "a" : "b", String(i))
        }
        const hub = yield* SseHub.make({ source: bus.source, recent: 2 })
        const first = yield* openWith(hub, { following: [{ topic: "a" }], ...given })
        const opening = first.sink.received.find((one) => one._tag === "Message")
        first.sink.leave()
        yield* bus.publish("a", "11")
        const place = Number(opening?._tag === "Message" ? opening.lastEventId : Number.NaN)
        const again = yield* openWith(hub, { following: [{ topic: "a" }], ...given, lastEventId: place })
        yield* settle
        return { place, seen: again.sink.seen }
      })

    it.scoped("says where the session begins, so that who loses it before the first event misses nothing", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* comesBack({}), { place: 10, seen: ["11"] })
        assert.deepStrictEqual(yield* comesBack({ lastEventId: 7 }), { place: 7, seen: ["8", "10", "11"] })
        // a window that begins in the past: its events are still to come
        assert.deepStrictEqual(yield* comesBack({ following: [{ topic: "a", after: 5 }] }), {
          place: 5,
          seen: ["6", "8", "10", "11"]
        })
      }))
  })

  describe("following", () => {
    it.scoped("takes a topic that ends in an asterisk for exactly that topic", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        yield* bus.publish("room.secret", "1")
        yield* bus.publish("room.*", "2")
        const hub = yield* SseHub.make({ source: bus.source, recent: 1 })
        const exact = yield* openWith(hub, { principal: "p", following: [{ topic: "room.*" }], lastEventId: 0 })
        const prefix = yield* openWith(hub, { following: [{ prefix: "room." }], lastEventId: 0 })
        yield* settle
        yield* bus.publish("room.secret", "3")
        yield* bus.publish("room.*", "4")
        yield* settle
        yield* hub.follow("p", { topic: "*", after: 0 })
        yield* bus.publish("attic", "5")
        yield* settle
        yield* hub.unfollow("p", { prefix: "room." })
        yield* bus.publish("room.*", "6")
        yield* settle
        yield* hub.unfollow("p", { topic: "room.*" })
        yield* settle
        yield* bus.publish("room.*", "7")
        yield* settle
        assert.deepStrictEqual(exact.sink.seen, ["2", "4", "6"])
        assert.deepStrictEqual(prefix.sink.seen, ["1", "2", "3", "4", "6", "7"])
      }))

    it.scoped("changes exactly at an id", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        const hub = yield* SseHub.make({ source: bus.source })
        const { sink } = yield* openWith(hub, { principal: "p", following: [{ topic: "a" }] })
        yield* bus.publish("a", "a1")
        yield* bus.publish("b", "b2")
        const { id } = yield* bus.publish("a", "leaves")
        yield* hub.unfollow("p", { topic: "a", upTo: id })
        yield* hub.follow("p", { topic: "b", after: id })
        yield* bus.publish("a", "a4")
        yield* bus.publish("b", "b5")
        yield* settle
        yield* bus.publish("a", "a6")
        yield* bus.publish("b", "b7")
        yield* settle
        assert.deepStrictEqual(sink.seen, ["a1", "leaves", "b5", "b7"])
        const [info] = yield* hub.sessions
        assert.strictEqual(info.state, "live")
      }))

    for (
      const [when, seen] of [
        ["before it has its slot", ["leaves", "b3"]],
        ["while it is announced", ["leaves", "b3"]],
        ["before the answer", ["leaves", "b3"]],
        ["behind the answer", ["leaves", "b3"]],
        ["while the end of the log is asked for", ["b3"]]
      ] as const
    ) {
      it.scoped(`loses no change that comes while a session opens: ${when}`, () =>
        Effect.gen(function*() {
          const bus = makeBus()
          let windows: ReadonlyArray<TopicWindow.TopicWindow> = [{ topic: "a", after: 0 }]
          const turn = (at: typeof when): Effect.Effect<void> =>
            at !== when || windows.length > 1 ? Effect.void : Effect.gen(function*() {
              const { id } = yield* bus.publish("a", "leaves")
              windows = [{ topic: "a", after: 0, upTo: id }, { topic: "b", after: id }]
              yield* hub.unfollow("p", { topic: "a", upTo: id })
              yield* hub.follow("p", { topic: "b", after: id })
            })
          const hub: SseHub.Service = yield* SseHub.make({
            source: {
              ...bus.source,
              head: Effect.as(turn("while the end of the log is asked for"), 1)
            },
            onOpen: () => turn("while it is announced")
          })
          yield* turn("before it has its slot")
          const { sink } = yield* openWith(hub, {
            principal: "p",
            following: Effect.zipRight(
              turn("before the answer"),
              Effect.zipLeft(Effect.sync(() => windows), turn("behind the answer"))
            ),
            ...(when === "while the end of the log is asked for" ? { lastEventId: 1 } : {})
          })
          yield* bus.publish("a", "a2")
          yield* bus.publish("b", "b3")
          yield* settle
          assert.deepStrictEqual(sink.seen, [...seen])
          assert.strictEqual((yield* hub.sessions)[0].state, "live")
        }))
    }

    it.scoped("a topic that is followed late is caught up once, without moving the last id back", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        const hub = yield* SseHub.make({ source: bus.source })
        const { sink } = yield* openWith(hub, { principal: "p" })
        yield* bus.publish("a", "a1")
        yield* bus.publish("b", "b2")
        yield* bus.publish("b", "b3")
        yield* bus.publish("a", "a4")
        yield* settle
        yield* hub.follow("p", { topic: "b", after: 2 })
        yield* hub.follow("p", { topic: "b", after: 2 })
        yield* bus.publish("b", "b5")
        yield* settle
        assert.deepStrictEqual(sink.seen, ["a1", "a4", "b3", "b5"])
        assert.deepStrictEqual(sink.ids, [1, 4, 4, 5])
      }))

    it.scoped("resumes through the windows that the client lived in", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        for (let i = 1; i <= 40; i++) {
          yield* bus.publish(i % 2 === 0 ? "a" : "b", String(i))
        }
        const hub = yield* SseHub.make({ source: bus.source, recent: 5 })
        const { sink } = yield* openWith(hub, {
          lastEventId: 10,
          following: [{ topic: "a", upTo: 20 }, { topic: "b", after: 20, upTo: 31 }, { topic: "a", after: 31 }]
        })
        yield* settle
        assert.deepStrictEqual(sink.ids, [12, 14, 16, 18, 20, 21, 23, 25, 27, 29, 31, 32, 34, 36, 38, 40])
      }))

    it.scoped("begins in the past where a window says so", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        for (let i = 1; i <= 10; i++) {
          yield* bus.publish(i % 2 === 0 ? "a" : "b", String(i))
        }
        const hub = yield* SseHub.make({ source: bus.source })
        const { sink } = yield* openWith(hub, { following: [{ topic: "a", after: 5 }, { topic: "b" }] })
        yield* bus.publish("b", "11")
        yield* settle
        assert.deepStrictEqual(sink.ids, [6, 8, 10, 11])
      }))
  })

  describe("a slow reader", () => {
    it.scoped("is cut off after the send time-out, at nobody's cost", () =>
      Effect.gen(function*() {
        const bus = makeBus()
        const hub = yield* SseHub.make({ source: bus.source, sendTimeout: "10 seconds" })
        const slow = yield* openWith(hub, { stalled: true })
        const other = yield* openWith(hub)
        yield* bus.publish("a", "1")
        yield* settle
        yield* TestClock.adjust("9 seconds")
        yield* bus.publish("a", "2")
        yield* settle
        assert.strictEqual(slow.sink.closed, undefined)
        assert.strictEqual((yield* hub.stats).stalled, 1)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(slow.sink.closed, "destroy")
        assert.strictEqual((yield* slow.session.awaitEnd).reason, "slow")
        assert.deepStrictEqual(other.sink.seen, ["1", "2"])
        assert.strictEqual((yield* hub.stats).stalled, 0)
      }))

    const overrun = (policy: "disconnect" | "sliding" | "dropping") =>
      Effect.gen(function*() {
        const bus = makeBus()
        // three frames of 54 bytes
        const hub = yield* SseHub.make({ source: bus.source, capacity: 170, policy: { _tag: policy } })
        const { session, sink } = yield* openWith(hub, { stalled: true })
        for (let i = 1; i <= 9; i++) {
          yield* bus.publish("a", String(i))
          yield* settle
        }
        const { dropped } = yield* session.info
        sink.resume()
        yield* bus.publish("a", "last")
        yield* settle
        return { sink, dropped, hub }
      })

    it.scoped("is disconnected when its buffer is full", () =>
      Effect.gen(function*() {
        const { hub, sink } = yield* overrun("disconnect")
        assert.strictEqual(sink.closed, "destroy")
        assert.strictEqual((yield* hub.ended)[0].reason, "slow")
      }))

    it.scoped("loses the oldest events under sliding, and is told which", () =>
      Effect.gen(function*() {
        const { dropped, sink } = yield* overrun("sliding")
        assert.strictEqual(dropped, 5)
        assert.deepStrictEqual(sink.seen, [
          "1",
          `!gap {"reason":"overflow","firstId":2,"lastId":6,"count":5}`,
          "7",
          "8",
          "9",
          "last"
        ])
      }))

    it.scoped("loses the newest events under dropping, and is told which", () =>
      Effect.gen(function*() {
        const { dropped, sink } = yield* overrun("dropping")
        assert.strictEqual(dropped, 5)
        assert.deepStrictEqual(sink.seen, [
          "1",
          "2",
          "3",
          "4",
          `!gap {"reason":"overflow","firstId":5,"lastId":9,"count":5}`,
          "last"
        ])
      }))
  })

  it.scoped("sends a heartbeat to the quiet ones, and their place with it", () =>
    Effect.gen(function*() {
      const bus = makeBus()
      const hub = yield* SseHub.make({ source: bus.source, heartbeat: "15 seconds" })
      const { sink } = yield* openWith(hub, { following: [{ topic: "quiet" }] })
      yield* bus.publish("a", "1")
      yield* settle
      yield* TestClock.adjust("31 seconds")
      const comments = sink.received.filter((one) => one._tag === "Comment")
      assert.isAtLeast(comments.length, 2)
      assert.include(new TextDecoder().decode(sink.payloads.at(-1)!.bytes), "id: 1\n")
    }))

  it.scoped("closes a session whose authorisation has expired", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({ source: makeBus().source })
      const { session, sink } = yield* openWith(hub, { expiresAt: 5000 })
      const later = yield* openWith(hub, { expiresAt: 5000 })
      yield* later.session.expireAt(undefined)
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual((yield* session.awaitEnd).reason, "expired")
      assert.deepStrictEqual(sink.seen, [`!farewell {"reason":"expired"}`])
      assert.strictEqual(later.sink.closed, undefined)
    }))

  it.scoped("drains in waves, with jitter, and refuses who comes later", () =>
    Effect.gen(function*() {
      const hub = yield* SseHub.make({ source: makeBus().source })
      const sinks = yield* Effect.forEach(Array.from({ length: 30 }), () => openWith(hub))
      const draining = yield* Effect.fork(hub.drain({ perSecond: 200, retry: "1 second", jitter: "9 seconds" }))
      yield* settle
      assert.strictEqual(sinks.filter(({ sink }) => sink.closed === "end").length, 10)
      assert.strictEqual((yield* Effect.flip(openWith(hub))).reason, "draining")
      yield* TestClock.adjust("200 millis")
      const report = yield* Fiber.join(draining)
      assert.strictEqual(report.sessions, 30)
      const retries = sinks.map(({ sink }) => {
        const retry = sink.received.filter((one) => one._tag === "Retry").at(-1)!
        assert.isTrue(sink.seen.at(-1)!.startsWith(`!farewell {"reason":"drained"`))
        return retry._tag === "Retry" ? retry.millis : 0
      })
      assert.isAtLeast(Math.min(...retries), 1000)
      assert.isAtMost(Math.max(...retries), 10_000)
      assert.isAtLeast(new Set(retries).size, 5)
      assert.deepStrictEqual((yield* hub.stats).ended, { drained: 30 })
    }).pipe(Effect.withRandom(Random.make("drain"))))

  it.effect("refuses options that make no sense, by name", () =>
    Effect.gen(function*() {
      const { source } = makeBus()
      const cases: ReadonlyArray<readonly [string, Partial<SseHub.Options<Said>>]> = [
        ["capacity", { capacity: Number.NaN }],
        ["capacity", { capacity: 0 }],
        ["recent", { recent: -1 }],
        ["sendTimeout", { sendTimeout: -5 }],
        ["heartbeat", { heartbeat: 0 }],
        ["retry", { retry: Number.NaN }],
        ["limits.sessions", { limits: { sessions: 1.5 } }],
        ["limits.perAddress", { limits: { perAddress: Number.NaN } }],
        ["limits.perPrincipal", { limits: { perPrincipal: -1 } }],
        ["limits.retryAfter", { limits: { retryAfter: Number.NaN } }],
        ["drain.perSecond", { drain: { perSecond: 0 } }],
        ["drain.jitter", { drain: { jitter: -1 } }]
      ]
      for (const [option, given] of cases) {
        const error = yield* Effect.flip(Effect.scoped(SseHub.make({ source, ...given })))
        assert.strictEqual(error.option, `SseHub.${option}`)
      }
    }))

  it.scoped("leaves out an event that cannot be encoded, and goes on", () =>
    Effect.gen(function*() {
      const bus = makeBus()
      const hub = yield* SseHub.make({ source: bus.source })
      const { sink } = yield* openWith(hub, {
        format: SseFormat.make<Said>({
          name: "picky",
          encode: ({ event }) => {
            if (event.text === "2") {
              throw new Error("no")
            }
            return { event: "Said", data: JSON.stringify(event) }
          }
        }) as never
      })
      yield* Effect.forEach(["1", "2", "3"], (text) => bus.publish("a", text))
      yield* settle
      assert.deepStrictEqual(sink.seen, ["1", "3"])
      assert.strictEqual((yield* hub.stats).encodeErrors, 1)
    }))
})
