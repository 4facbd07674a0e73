/**
 * The work that two commits are compared by. The packages come from the folder of a commit, so that one file of work serves
 * both; what changed its spelling in between is written in both spellings.
 *
 * A workload runs a number of operations. Those of a server are driven from the other process, by `drivers.ts`.
 */
import type * as CleanupModule from "@holdfast/core/Cleanup"
import type * as EventBusModule from "@holdfast/core/EventBus"
import type * as FiberRegistryModule from "@holdfast/core/FiberRegistry"
import type * as TickerModule from "@holdfast/core/Ticker"
import type * as HttpErrorsModule from "@holdfast/http/HttpErrors"
import type * as SseHubModule from "@holdfast/http/SseHub"
import type * as SseRouteModule from "@holdfast/http/SseRoute"
import type * as NodeServerModule from "@holdfast/node/NodeServer"
import type * as NodeSseSinkModule from "@holdfast/node/NodeSseSink"
import type * as SqliteStoreModule from "@holdfast/node/SqliteStore"
import type * as EffectModule from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

/** One commit: its folder, built. */
export class Commit {
  constructor(private readonly root: string) {}

  async load<A>(path: string): Promise<A> {
    return await import(pathToFileURL(join(this.root, path)).href) as A
  }

  /** A built module of one of the packages. */
  module<A>(name: string): Promise<A> {
    const [group, file] = name.split("/") as [string, string]
    return this.load<A>(`packages/${group}/dist/${file}.js`)
  }

  /** The very Effect that the packages of this commit import. */
  get effect(): Promise<typeof EffectModule> {
    return this.load("packages/core/node_modules/effect/dist/esm/index.js")
  }

  get platform(): Promise<typeof import("@effect/platform")> {
    return this.load("packages/http/node_modules/@effect/platform/dist/esm/index.js")
  }
}

export interface Workload {
  readonly run: (operations: number) => Promise<unknown>
  /** Of a server. */
  readonly port?: number
  readonly close?: () => void
}

type Make = (commit: Commit) => Promise<Workload>

const event = { _tag: "Moved", who: "anna", steps: 3 } as const

/** One fiber publishes, one for each subscriber counts what it takes. */
const bus = (subscribers: number, strangers = 0): Make => async (commit) => {
  const { Effect, Fiber, Schema, Scope } = await commit.effect
  const EventBus = await commit.module<typeof EventBusModule>("core/EventBus")
  const Moved = Schema.TaggedStruct("Moved", { who: Schema.String, steps: Schema.Number })
  const scope = Effect.runSync(Scope.make())
  const { made, subscriptions } = await Effect.gen(function*() {
    const made = yield* EventBus.make({ name: "bench", schema: Moved })
    for (let index = 0; index < strangers; index++) yield* made.subscribe({ topics: [`room.${index}`] })
    const subscriptions = yield* Effect.replicateEffect(
      made.subscribe({ capacity: 1024, ...(strangers > 0 ? { topics: ["hall"] } : {}) }),
      subscribers
    )
    return { made, subscriptions }
  }).pipe(Scope.extend(scope), Effect.runPromise)
  const options = strangers > 0 ? { topic: "hall" } : {}
  return {
    run: (operations) =>
      Effect.gen(function*() {
        const running = yield* Effect.forEach(subscriptions, (subscription) =>
          Effect.fork(Effect.suspend(() => {
            let count = 0
            return Effect.whileLoop({
              while: () => count < operations,
              body: () => subscription.takeBatch(),
              step: (batch) => {
                count += batch.length
              }
            })
          })))
        yield* Effect.yieldNow()
        let index = 0
        yield* Effect.whileLoop({
          while: () => index < operations,
          body: () => made.publish(event, options),
          step: () => index++
        })
        for (const fiber of running) yield* Fiber.join(fiber)
      }).pipe(Effect.runPromise)
  }
}

/** An effect of core, again and again in one fiber. */
const loop = (
  body: (
    effect: typeof EffectModule,
    registry: typeof FiberRegistryModule,
    cleanup: typeof CleanupModule
  ) => EffectModule.Effect.Effect<unknown, never, EffectModule.Scope.Scope>
): Make =>
async (commit) => {
  const effect = await commit.effect
  const registry = await commit.module<typeof FiberRegistryModule>("core/FiberRegistry")
  const cleanup = await commit.module<typeof CleanupModule>("core/Cleanup")
  const { Effect } = effect
  return {
    run: (operations) =>
      Effect.gen(function*() {
        const one = body(effect, registry, cleanup)
        for (let index = 0; index < operations; index++) yield* one
      }).pipe(Effect.scoped, Effect.runPromise)
  }
}

const census: Make = async (commit) => {
  const { Effect, Scope } = await commit.effect
  const FiberRegistry = await commit.module<typeof FiberRegistryModule>("core/FiberRegistry")
  const scope = Effect.runSync(Scope.make())
  const { unsafeCensus } = await Effect.gen(function*() {
    yield* Effect.replicateEffect(FiberRegistry.forkIn(Effect.never, scope, { name: "session", kind: "session" }), 1000)
    return yield* FiberRegistry.FiberRegistry
  }).pipe(Effect.runPromise)
  return {
    run: async (operations) => {
      for (let index = 0; index < operations; index++) unsafeCensus()
    }
  }
}

/** 200 handlers, each of which gets every tick, on a clock that is moved by hand: no tick waits for the machine. */
const ticker: Make = async (commit) => {
  const { Clock, Duration, Effect, Layer, Scope } = await commit.effect
  const Ticker = await commit.module<typeof TickerModule>("core/Ticker")
  let millis = 0
  const sleeping: Array<{ readonly until: number; readonly resume: () => void }> = []
  const clock: EffectModule.Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => millis,
    unsafeCurrentTimeNanos: () => BigInt(millis) * 1_000_000n,
    currentTimeMillis: Effect.sync(() => millis),
    currentTimeNanos: Effect.sync(() => BigInt(millis) * 1_000_000n),
    sleep: (duration) =>
      Effect.async<void>((resume) => {
        sleeping.push({ until: millis + Duration.toMillis(duration), resume: () => resume(Effect.void) })
      })
  }
  const handlers = 200
  let runs = 0
  const scope = Effect.runSync(Scope.make())
  await Effect.gen(function*() {
    const world = yield* Ticker.make({ name: "world", interval: 10 })
    // an earlier spelling beside today's: each reads its own key
    const overrun = { _tag: "catchUp", max: 1000, catchUp: 1000 } as const
    yield* Effect.forEach(
      Array.from({ length: handlers }, (_, index) => `handler-${index}`),
      (name) => world.onTick({ name, overrun }, () => Effect.sync(() => runs++))
    )
  }).pipe(Effect.provide(Layer.setClock(clock)), Scope.extend(scope), Effect.runPromise)
  /** One slot; what wakes at it runs before this resolves, or in the next one. */
  const step = () => {
    millis += 10
    for (const sleeper of sleeping.splice(0)) {
      if (sleeper.until <= millis) sleeper.resume()
      else sleeping.push(sleeper)
    }
    return new Promise(setImmediate)
  }
  return {
    run: async (operations) => {
      const until = runs + operations * handlers
      const finished = () => runs >= until
      while (!finished()) await step()
    }
  }
}

const storage = (writers: number): Make => async (commit) => {
  const { Effect, Scope } = await commit.effect
  const SqliteStore = await commit.module<typeof SqliteStoreModule>("node/SqliteStore")
  const scope = Effect.runSync(Scope.make())
  // beside this file and not in a folder for temporary files, which may be memory
  const directory = mkdtempSync(join(import.meta.dirname, "storage-"))
  const { events } = await SqliteStore.make({ path: join(directory, "store.db") }).pipe(
    Scope.extend(scope),
    Effect.runPromise
  )
  const payload = JSON.stringify({ text: "x".repeat(200) })
  let id = 0
  return {
    close: () => rmSync(directory, { recursive: true, force: true }),
    run: (operations) => {
      let left = operations
      const writer = Effect.whileLoop({
        while: () => left-- > 0,
        body: () =>
          Effect.suspend(() => {
            id++
            return events.append([{ id, at: id, topic: "room.1", tag: "Moved", payload, meta: "{}" }])
          }),
        step: () => {}
      })
      return Effect.runPromise(Effect.all(Array.from({ length: writers }, () => writer), {
        concurrency: "unbounded",
        discard: true
      }))
    }
  }
}

/** Event streams; an operation is one event to all of them, and a burst is published at once. */
const sse = (burst: number): Make => async (commit) => {
  const { Context, Effect, Layer, Schema, Scope } = await commit.effect
  const { HttpRouter, HttpServer } = await commit.platform
  const EventBus = await commit.module<typeof EventBusModule>("core/EventBus")
  const HttpErrors = await commit.module<typeof HttpErrorsModule>("http/HttpErrors")
  const SseHub = await commit.module<typeof SseHubModule>("http/SseHub")
  const SseRoute = await commit.module<typeof SseRouteModule>("http/SseRoute")
  const NodeServer = await commit.module<typeof NodeServerModule>("node/NodeServer")
  const NodeSseSink = await commit.module<typeof NodeSseSinkModule>("node/NodeSseSink")
  const Said = Schema.TaggedStruct("Said", { text: Schema.String })
  const text = "A person of some importance enters from the north, looks around, and says nothing at all."
  const scope = Effect.runSync(Scope.make())
  return Effect.gen(function*() {
    const bus = yield* EventBus.make({ name: "bench", schema: Said, topic: () => "all" })
    const hub = yield* SseHub.make({ source: SseHub.fromBus(bus) })
    const app = HttpRouter.empty.pipe(SseRoute.mount("/events", { hub, topics: { authorize: () => Effect.void } }))
    const context = yield* Layer.build(
      HttpServer.serve(HttpErrors.handled(app)).pipe(
        Layer.provide(NodeSseSink.layer),
        Layer.provideMerge(NodeServer.layerServer({ port: 0 }))
      )
    )
    const { address } = Context.get(context, NodeServer.NodeServer)
    return {
      port: address._tag === "TcpAddress" ? address.port : 0,
      run: async (operations: number) => {
        for (let sent = 0; sent < operations; sent++) {
          if (sent % burst === 0) await new Promise((resolve) => setTimeout(resolve, 2))
          Effect.runFork(bus.publish({ _tag: "Said", text }))
        }
      }
    }
  }).pipe(Scope.extend(scope), Effect.runPromise)
}

/** Plain requests; the driver sends them. */
const http: Make = async (commit) => {
  const { Context, Effect, Layer, Schema, Scope } = await commit.effect
  const { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } = await commit.platform
  const NodeServer = await commit.module<typeof NodeServerModule>("node/NodeServer")
  const Order = Schema.Struct({
    customer: Schema.String,
    items: Schema.Array(Schema.Struct({ sku: Schema.String, count: Schema.Number }))
  })
  const answer = { id: 17, name: "a lamp", price: 12.5, tags: ["light", "brass"], stock: { here: 3, elsewhere: 20 } }
  const app = HttpRouter.empty.pipe(
    HttpRouter.get("/thing", HttpServerResponse.json(answer)),
    HttpRouter.post(
      "/orders",
      Effect.flatMap(
        HttpServerRequest.schemaBodyJson(Order),
        ({ customer, items }) => HttpServerResponse.json({ customer, items: items.length })
      )
    )
  )
  const scope = Effect.runSync(Scope.make())
  const patience = { keepAliveTimeout: 600_000, headersTimeout: 600_000, requestTimeout: 600_000 }
  return Layer.build(HttpServer.serve(app).pipe(Layer.provideMerge(NodeServer.layer({ port: 0, ...patience })))).pipe(
    Effect.map((context) => {
      const { address } = Context.get(context, HttpServer.HttpServer)
      return { port: address._tag === "TcpAddress" ? address.port : 0, run: () => Promise.resolve() }
    }),
    Scope.extend(scope),
    Effect.runPromise
  )
}

/** By bench and by what an operation is. */
export const workloads: Readonly<Record<string, Make>> = {
  "bus: publish to 1": bus(1),
  "bus: publish to 10": bus(10),
  "bus: publish to 100": bus(100),
  "bus: publish to 1000": bus(1000),
  "bus: publish to 10 of 2000 by topic": bus(10, 2000),
  "fibers: fork and join": loop(({ Effect, Fiber }, { forkScoped }) =>
    Effect.scoped(Effect.flatMap(forkScoped(Effect.void, { name: "worker" }), Fiber.join))
  ),
  "fibers: fork, 10 yields, join": loop(({ Effect, Fiber }, { forkScoped }) =>
    Effect.scoped(
      Effect.flatMap(forkScoped(Effect.repeatN(Effect.yieldNow(), 9), { name: "worker" }), Fiber.join)
    )
  ),
  "fibers: scope with one finalizer": loop(({ Effect }, _, { addFinalizer }) =>
    Effect.scoped(addFinalizer({ label: "release" }, () => Effect.void))
  ),
  "fibers: census of 1000": census,
  "ticker: tick of 200 handlers": ticker,
  "storage: append, 1 writer": storage(1),
  "storage: append, 64 writers": storage(64),
  "sse: event to 200 streams": sse(1),
  "sse: event to 200 streams, bursts of 16": sse(16),
  "http: GET JSON": http,
  "http: POST JSON": http
}
