import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import { describe, it } from "@effect/vitest"
import * as EventBus from "@holdfast/core/EventBus"
import * as Race from "@holdfast/core/Race"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as Explore from "@holdfast/testing/Explore"
import * as FaultyPorts from "@holdfast/testing/FaultyPorts"
import * as Harness from "@holdfast/testing/Harness"
import { Context, Effect, Exit, Layer, Random, Schema } from "effect"
import { ensure, fewer, seeds, soon, timeout } from "./support/explore.js"

const Said = Schema.TaggedStruct("Said", { n: Schema.Number })
class Bus extends EventBus.Tag("test/ResumeBus")<Bus, typeof Said.Type>() {}
class Hub extends Context.Tag("test/ResumeHub")<Hub, SseHub.Service>() {}

/** `present` counts those who have arrived and not left, as an application would. */
const app = (bus: Layer.Layer<Bus>, present: Set<object>) => {
  const authorize = () =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const who = {}
        present.add(who)
        return who
      }),
      (who) => Effect.sync(() => present.delete(who))
    ).pipe(Effect.zipRight(soon(5)), Effect.as({ following: [{ topic: "Said" }] }))
  return HttpRouter.empty.pipe(
    (router) =>
      Layer.unwrapEffect(
        Effect.map(Hub, (hub) => HttpServer.serve(SseRoute.mount("/events", { hub, authorize })(router)))
      ),
    Layer.provideMerge(Layer.scoped(
      Hub,
      Effect.flatMap(Bus, (bus) => SseHub.make({ source: SseHub.fromBus(bus), recent: 2 }))
    )),
    Layer.provideMerge(bus)
  )
}

/** A page that reads, loses its connection at any moment, and comes back with the last id that it has seen. */
const page = (harness: Pick<Harness.Harness<never>, "sse">, until: number) =>
  Effect.gen(function*() {
    const got: Array<number> = []
    let lastEventId = "0"
    while (Number(lastEventId) < until) {
      const read = Effect.gen(function*() {
        const events = yield* harness.sse("/events", { lastEventId })
        while (Number(lastEventId) < until) {
          const { event, id } = yield* events.next
          if (event !== "Said") continue
          got.push(Number(id))
          lastEventId = id!
        }
      })
      // while it is being opened, or in the middle of what happens later
      const patience = yield* Random.nextIntBetween(0, 40)
      const cut = (yield* Random.nextIntBetween(0, 3)) === 0
        ? soon(120)
        : Effect.zipRight(Effect.sleep(patience), soon(40))
      yield* Race.first(Effect.exit(Effect.scoped(read)), cut)
      yield* Effect.sleep("1 millis")
    }
    return got
  })

const program = (clients: boolean) =>
  Effect.gen(function*() {
    const bus = Layer.orDie(Bus.layer({ schema: Said }))
    const present = new Set<object>()
    const whole = app(bus, present)
    const harness = yield* Harness.make(
      clients ? Layer.provide(whole, FaultyPorts.clients) : whole,
      { faults: { only: true, points: { "client.stalls": 0.1 } } }
    )
    const publish = harness.run(Effect.flatMap(Bus, (bus) =>
      Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
        Effect.zipRight(Effect.sleep(n), bus.publish({ _tag: "Said", n })), { discard: true })))
    const [one, two] = yield* Effect.all([page(harness, 6), page(harness, 6), publish], { concurrency: "unbounded" })
    for (const got of [one, two]) {
      yield* ensure(got.join() === "1,2,3,4,5,6", () =>
        `a page saw ${got.join()}`)
    }
    const hub = yield* harness.run(Hub)
    // who has gone has gone at once; who stalls is given up in time
    yield* Effect.sleep(clients ? "2 minutes" : "10 millis")
    const { open } = yield* hub.stats
    yield* ensure(present.size === 0, () => `${present.size} who went away are still there`)
    yield* ensure(open === 0, () => `${open} sessions are left of pages that went away`)
    yield* ensure((yield* harness.openRequests) === 0, () => "a request is still open")
    yield* ensure(Exit.isSuccess(yield* Effect.exit(harness.shutdown)), () => "the shutdown failed")
  })

describe("resume over HTTP under every interleaving", () => {
  it.effect(
    "pages that come and go see each event once, in order (daily)",
    () => Explore.check(program(false), { seeds, settle: "1 minute" }),
    timeout
  )

  it.effect(
    "and so they do when they stall, too",
    () => Explore.check(program(true), { seeds: fewer, settle: "2 minutes" }),
    timeout
  )
})
