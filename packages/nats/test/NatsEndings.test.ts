import { assert, describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as NatsConnection from "@holdfast/nats/NatsConnection"
import * as NatsEntries from "@holdfast/nats/NatsEntries"
import * as NatsJournal from "@holdfast/nats/NatsJournal"
import * as NatsLeadership from "@holdfast/nats/NatsLeadership"
import * as NatsPresence from "@holdfast/nats/NatsPresence"
import { Effect, Exit, Fiber, Logger, LogLevel, Schedule, Schema, Scope } from "effect"
import { createServer } from "node:net"
import { draft, following, node, sleep, until } from "./support/nodes.js"
import type { Server } from "./support/server.js"
import { missing, named, server } from "./support/server.js"

const Said = Schema.TaggedStruct("Said", { text: Schema.String })

/** What an application of its own has: a journal, a bus over it, and entries. */
const application = (url: string) =>
  Effect.gen(function*() {
    const connection = yield* NatsConnection.make({ servers: [url], lastPatience: "200 millis" })
    const { journal } = yield* Effect.provideService(
      NatsJournal.make({ name: "talk" }),
      NatsConnection.NatsConnection,
      connection
    )
    const { store } = yield* Effect.provideService(
      NatsEntries.make({ name: "talk" }),
      NatsConnection.NatsConnection,
      connection
    )
    const bus = yield* EventBus.make({ name: "talk", schema: Said, journal, topic: () => "room.1" })
    return { bus, connection, journal, store }
  })

describe.skipIf(missing)(named("An application that ends without its server"), () => {
  for (const how of ["gone", "frozen"] as const) {
    it.effect(`ends by its own means when it is ${how}, and names what nobody confirmed`, () =>
      Effect.gen(function*() {
        const nats = yield* server()
        const scope = yield* Scope.make()
        const lifecycle = yield* Lifecycle.make({ scope, log: false, gracefulShutdownTimeout: "1 minute" })
        const { bus, connection, journal, store } = yield* lifecycle.build(application(nats.url)).pipe(
          Effect.provideService(Lifecycle.Lifecycle, lifecycle)
        )
        yield* bus.publish({ _tag: "Said", text: "before" })
        yield* nats.signal("SIGSTOP")
        // none of them can be interrupted, as a writer or a finalizer cannot
        const sent = yield* Effect.fork(
          Effect.uninterruptible(Effect.flip(bus.publish({ _tag: "Said", text: "sent" })))
        )
        yield* until("it is on its way", Effect.map(bus.stats, ({ journal }) => journal?.pending === 1))
        if (how === "gone") {
          yield* nats.kill()
          yield* until("away", Effect.map(connection.state, ({ current }) => current === "away"))
        }
        const failing: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          Effect.flip(store.set("world", "a snapshot")),
          Effect.flip(store.get("world")),
          Effect.flip(journal.read({ after: 1, limit: 10 })),
          Effect.flip(bus.head)
        ]
        const waiting = yield* Effect.forEach(failing, (effect) => Effect.fork(Effect.uninterruptible(effect)))
        const report = yield* lifecycle.shutdown({ _tag: "Signal", signal: "SIGTERM" })
        assert.strictEqual((yield* Fiber.join(sent))._tag, "Unconfirmed")
        yield* Fiber.joinAll(waiting)
        assert.strictEqual(report.verdict, "failed", String(report))
        // by its patience, not by budgets: three seconds each, and twelve for the drain
        assert.isBelow(report.elapsedMillis, 3_000)
        assert.deepStrictEqual(report.items("abandoned"), [])
        assert.deepStrictEqual(
          report.items("failed").map(({ kind, label, unconfirmed }) => [
            kind,
            label,
            unconfirmed?.map(({ events, topics }) => [events, topics])
          ]),
          [["events", "talk", [[1, ["room.1"]]]]]
        )
        yield* Scope.close(scope, Exit.void)
      }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)), 60_000)
  }

  it.effect("hurries no server that answers", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      const scope = yield* Scope.make()
      const lifecycle = yield* Lifecycle.make({ scope, log: false, gracefulShutdownTimeout: "1 minute" })
      const { bus, store } = yield* lifecycle.build(application(nats.url)).pipe(
        Effect.provideService(Lifecycle.Lifecycle, lifecycle)
      )
      // longer than the last patience
      yield* lifecycle.onPhase(
        "draining",
        { label: "late" },
        Effect.zipRight(
          Effect.promise(() => new Promise((resolve) => void setTimeout(resolve, 400))),
          Effect.zipRight(bus.publish({ _tag: "Said", text: "late" }), store.set("world", "late"))
        )
      ).pipe(Scope.extend(scope))
      const report = yield* lifecycle.shutdown({ _tag: "Signal", signal: "SIGTERM" })
      assert.strictEqual(report.verdict, "clean", String(report))
    }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)), 60_000)

  it.effect(
    "gives up with its patience while it is away, also where it must not be interrupted",
    () =>
      Effect.gen(function*() {
        const nats = yield* server()
        const { connection, journal } = yield* node(nats.url, { patience: "300 millis" })
        yield* nats.kill()
        yield* until("away", Effect.map(connection.state, ({ current }) => current === "away"))
        const began = performance.now()
        const error = yield* Effect.flip(Effect.uninterruptible(journal.append([draft("1")], { attempt: "1" })))
        assert.strictEqual(error.reason, "Unreachable")
        assert.isBelow(performance.now() - began, 5_000)
      }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)),
    60_000
  )
})

describe.skipIf(missing)(named("A node whose thread stood still"), () => {
  /** The timers come next, and then the sockets. */
  const standStill = (millis: number) =>
    Effect.async<void>((resume) => {
      setImmediate(() => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
        resume(Effect.void)
      })
    })

  /** Stands still when this node has handed over what the server answers in that time, and not before. */
  const standStillBeforeAnswer = (nats: Server, { stats }: NatsConnection.Service, millis: number) =>
    Effect.gen(function*() {
      const count = Effect.map(stats, ({ asked, published }) => asked + published)
      yield* nats.signal("SIGSTOP")
      const before = yield* count
      const turn = Effect.promise(() => new Promise((resolve) => void setImmediate(resolve)))
      yield* Effect.repeat(turn, { until: () => Effect.map(count, (now) => now > before) })
      // it goes out: the client writes by a timer
      yield* sleep(50)
      yield* nats.goOnSoon
      yield* standStill(millis)
    })

  it.effect(
    "takes an answer that came meanwhile, and asks no second time",
    () =>
      Effect.gen(function*() {
        const nats = yield* server()
        const { connection, journal } = yield* node(nats.url)
        const { asked } = yield* connection.stats
        const appended = yield* Effect.fork(
          Effect.zipRight(sleep(300), journal.append([draft("1")], { attempt: "1" }))
        )
        // longer than a try may take
        yield* standStillBeforeAnswer(nats, connection, 2_500)
        assert.strictEqual(yield* Fiber.join(appended), 1)
        assert.strictEqual((yield* connection.stats).asked, asked + 1)
      }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)),
    60_000
  )

  it.effect("goes on with the tail that has been brought meanwhile (daily)", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      const { journal, stats } = yield* node(nats.url)
      const seen = yield* following(journal)
      yield* journal.append([draft("1")], { attempt: "1" })
      yield* until("it is followed", () => seen.rows.length === 1)
      const { consumers } = yield* stats
      // three signs of the server
      yield* standStill(3_500)
      yield* sleep(1_000)
      yield* journal.append([draft("2")], { attempt: "2" })
      yield* until("it is followed on", () => seen.rows.length === 2)
      assert.strictEqual((yield* stats).consumers, consumers)
    }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)), 60_000)

  it.effect("goes on as owner when its renewal was answered meanwhile (daily)", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      const connection = yield* NatsConnection.make({ servers: [nats.url] })
      const leadership = yield* Effect.provideService(
        NatsLeadership.make({ name: "world", ttl: "8 seconds", storage: "memory" }),
        NatsConnection.NatsConnection,
        connection
      )
      const terms: Array<number> = []
      let ended = 0
      yield* leadership.whileOwner({ name: "world", budget: 0 }, (term) =>
        Effect.zipRight(
          Effect.sync(() => terms.push(term)),
          Effect.onExit(Effect.never, () => Effect.sync(() => ended++))
        ))
      yield* until("it is owned", () => terms.length === 1)
      // renewed after a quarter of the lease; without that it ends before the thread goes on
      yield* standStillBeforeAnswer(nats, connection, 6_000)
      yield* sleep(200)
      assert.deepStrictEqual([terms.length, ended], [1, 0])
    }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)), 60_000)

  it.effect("still knows the nodes that have told of themselves meanwhile (daily)", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      const join = (node: string) =>
        Effect.flatMap(NatsConnection.make({ servers: [nats.url], node }), (connection) =>
          Effect.map(
            Effect.provideService(
              NatsPresence.make({ name: "world", beat: "2 seconds", expiry: "3 seconds" }),
              NatsConnection.NatsConnection,
              connection
            ),
            (presence) => ({ connection, presence })
          ))
      const a = yield* join("a")
      const b = yield* join("b")
      const known = Effect.map(a.presence.nodes, (nodes) => nodes.map(({ node }) => node))
      yield* until("b is known", Effect.map(known, (nodes) => nodes.includes("b")))
      // what follows its arrival is over, and the next word is a beat
      yield* sleep(500)
      yield* standStillBeforeAnswer(nats, b.connection, 2_000)
      assert.deepStrictEqual(yield* known, ["a", "b"])
    }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)), 60_000)
})

describe.skipIf(missing)(named("A connection that was lost"), () => {
  it.effect("is tried after each pause of the schedule, also when pauses grow", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      yield* NatsConnection.make({ servers: [nats.url], reconnect: Schedule.exponential("20 millis") })
      yield* nats.kill()
      const tries: Array<number> = []
      yield* Effect.acquireRelease(
        Effect.async<ReturnType<typeof createServer>>((resume) => {
          const listener = createServer((socket) => {
            tries.push(performance.now())
            socket.destroy()
          })
          listener.listen(nats.port, "127.0.0.1", () => resume(Effect.succeed(listener)))
        }),
        (listener) => Effect.async<void>((resume) => void listener.close(() => resume(Effect.void)))
      )
      yield* until("five tries", () => tries.length >= 5)
      const pauses = tries.slice(1).map((at, index) => at - tries[index])
      // each is twice as long as the one before it: the last of four is longer than the first
      assert.isAbove(pauses[3], pauses[0])
    }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None)), 60_000)
})
