/**
 * The whole app in a test, with one call. `make` builds the app's layer once, in the test's scope, on ports that live in
 * memory, and returns handles to everything that the app lets out: logs, crash reports, metrics, fibers, HTTP, SSE,
 * WebSockets.
 *
 * **Swapping.** A port that the app leaves open (its `R`) is filled from `provide`, or else by the default of the harness.
 * A layer deep inside that the app has closed over is exchanged with `swap`: layers are known by identity, so the rest of
 * the app is built as it is, and nothing is composed again by hand. A swap may decorate what it replaces. A swap whose
 * original is nowhere in the app is an error (`UnusedSwap`): the test would run with the real thing. Layers that an effect
 * of the app provides to itself while it runs (`Effect.provide`) are built apart from the app, out of reach of a swap.
 *
 * | port | default |
 * |---|---|
 * | `HttpServer`, `HttpClient` | `Transport`: no socket; `server` gives a real port instead |
 * | `FileSystem`, `Path`, `HttpPlatform`, `Etag.Generator` | those of `HttpServer.layerContext` (no files) |
 * | `EventLogStore.Store`, `TickerStore.Store`, `KeyValueStore` | in memory |
 * | `Lifecycle` | its own; `shutdown` goes through its phases |
 * | `Clock` | the test's own: a `TestClock` under `it.effect` |
 * | `Random` | seeded by `seed` |
 * | `ConfigProvider` | `config` alone; the environment of the process is not read |
 * | `FiberRegistry`, `CleanupMonitor`, `BudgetClock` | fresh; budgets run on the test's clock |
 * | loggers | captured, not printed |
 *
 * **Guarantees.** Nothing is shared between two harnesses but the metrics of the process, which are reported as the
 * difference since `make`. When the scope closes, the app is shut down, and what it leaves behind is reported by
 * `LeakCheck`.
 *
 * @since 0.1.0
 */
import type * as Etag from "@effect/platform/Etag"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpPlatform from "@effect/platform/HttpPlatform"
import * as HttpServer from "@effect/platform/HttpServer"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import type * as Path from "@effect/platform/Path"
import * as Socket from "@effect/platform/Socket"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as EventLogStore from "@holdfast/core/EventLogStore"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as TickerStore from "@holdfast/core/TickerStore"
import * as Sse from "@holdfast/http/Sse"
import type * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as HashSet from "effect/HashSet"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Explore from "./Explore.js"
import * as Faults from "./Faults.js"
import { Channel } from "./internal/channel.js"
import * as Check from "./internal/options.js"
import * as Swap from "./internal/swap.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as Transport from "./Transport.js"

/**
 * The ports that the harness fills when nobody else does.
 *
 * @since 0.1.0
 * @category models
 */
export type Ports =
  | HttpServer.HttpServer
  | HttpClient.HttpClient
  | HttpPlatform.HttpPlatform
  | FileSystem.FileSystem
  | Path.Path
  | Etag.Generator
  | EventLogStore.Store
  | TickerStore.Store
  | KeyValueStore.KeyValueStore
  | Lifecycle.Lifecycle

/**
 * A line that was logged.
 *
 * @since 0.1.0
 * @category models
 */
export interface Line {
  readonly level: LogLevel.LogLevel["label"]
  readonly message: string
  readonly annotations: { readonly [key: string]: unknown }
  readonly cause: Cause.Cause<unknown>
  /** of the clock in use */
  readonly at: number
}

/**
 * The difference that one metric made since the harness was built; gauges and frequencies as they are.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reading {
  readonly name: string
  readonly tags: { readonly [key: string]: string }
  readonly value: number
}

/**
 * The server answered with something else than an event stream.
 *
 * @since 0.1.0
 * @category errors
 */
export class StreamRefused extends Data.TaggedError("StreamRefused")<{
  readonly status: number
  readonly body: string
}> {
  override get message() {
    return `expected an event stream, got status ${this.status}: ${this.body}`
  }
}

/**
 * A layer that was to be exchanged is not part of the app. Layers are known by identity: a function that makes a layer
 * makes another one at each call.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnusedSwap extends Data.TaggedError("UnusedSwap")<{
  /** position in `swap`, from 0 */
  readonly index: number
}> {
  override get message() {
    return `swap[${this.index}] has replaced nothing: expected its original to be a layer that the app is built from, the very same value`
  }
}

/**
 * A client of an event stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface SseConnection {
  readonly status: number
  /** the next message; fails when the stream has ended */
  readonly next: Effect.Effect<Sse.Message, Cause.NoSuchElementException | Error>
  readonly take: (n: number) => Effect.Effect<ReadonlyArray<Sse.Message>, Cause.NoSuchElementException | Error>
  /** messages, retries and comments that have arrived and were not taken; does not wait */
  readonly arrived: Effect.Effect<ReadonlyArray<Sse.Incoming>>
  /** waits for the end of the stream, and returns everything that was not taken */
  readonly rest: Effect.Effect<ReadonlyArray<Sse.Incoming>>
  /** goes away without a word, as a closed laptop does */
  readonly leave: Effect.Effect<void>
}

/**
 * An application under test, and what a test does with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Harness<R> {
  readonly runtime: Runtime.Runtime<R>
  /** Runs an Effect with the services of the app. */
  readonly run: <A, E, R2 = never>(effect: Effect.Effect<A, E, R2>) => Effect.Effect<A, E, Exclude<R2, R>>
  readonly http: HttpClient.HttpClient
  /** where the app listens: `http://127.0.0.1:80` in memory, the real address with `server` */
  readonly address: string
  readonly sse: (
    path: string,
    options?: {
      readonly headers?: { readonly [name: string]: string } | undefined
      readonly lastEventId?: string | undefined
      /** messages that arrive before the client stops to read. Default: unbounded. */
      readonly capacity?: number | undefined
    }
  ) => Effect.Effect<SseConnection, StreamRefused | HttpClientError.HttpClientError, Scope.Scope>
  readonly webSocket: (
    path: string,
    options?: { readonly headers?: { readonly [name: string]: string } }
  ) => Effect.Effect<Socket.Socket, Transport.UpgradeRefused | HttpClientError.HttpClientError, Scope.Scope>
  readonly logs: Effect.Effect<ReadonlyArray<Line>>
  /** tracked fibers that failed, oldest first, with what they were */
  readonly crashes: Effect.Effect<ReadonlyArray<FiberRegistry.Ended>>
  readonly metrics: Effect.Effect<ReadonlyArray<Reading>>
  /** the fibers of the app, as text */
  readonly fibers: Effect.Effect<string>
  /** requests that the server has not finished with; in memory only, 0 with a real port */
  readonly openRequests: Effect.Effect<number>
  readonly faults: Faults.Service
  /** Goes through the phases of a shutdown, as a signal would make the app do. */
  readonly shutdown: Effect.Effect<Lifecycle.ShutdownReport>
}

/**
 * What is put in the place of what.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options<P, E, R> {
  /** fills open ports; may itself use the defaults of the harness */
  readonly provide?: Layer.Layer<P, E, R> | undefined
  /** exchanges layers that the app has closed over */
  readonly swap?: ReadonlyArray<Replacement> | undefined
  /** of `Random`, and of the faults. Default: that of the exploration, else 1. */
  readonly seed?: number | undefined
  readonly config?: { readonly [path: string]: string } | undefined
  readonly faults?: Faults.Options | undefined
  /** a real server: requests go over a socket then */
  readonly server?: Layer.Layer<HttpServer.HttpServer, E> | undefined
  /** for WebSockets over a real port, where the platform has none of its own */
  readonly webSocketConstructor?: Layer.Layer<Socket.WebSocketConstructor> | undefined
  /** print the captured logs as well. Default false. */
  readonly printLogs?: boolean | undefined
  readonly transport?: Transport.Options | undefined
}

/**
 * One layer in the place of another.
 *
 * @since 0.1.0
 * @category models
 */
export type Replacement = Swap.Replacement

/**
 * Wherever the app uses `original`, it gets `by`. When `by` contains `original`, that one stays: so a layer is decorated.
 * `optional`: the app may build it later (a `LayerMap`), or not at all.
 *
 * @since 0.1.0
 * @category constructors
 */
export const replace = <A, E, R>(
  original: Layer.Layer<A, E, R>,
  by: Layer.Layer<A, unknown, NoInfer<R>>,
  options: { readonly optional?: boolean } = {}
): Replacement => ({ original, by, optional: options.optional === true })

type AnyLayer = Layer.Layer<never, unknown, unknown>

/**
 * Builds the app in the scope of the test.
 *
 * @example
 * ```ts
 * import { HttpServer, HttpServerResponse } from "@effect/platform"
 * import * as Harness from "@holdfast/testing/Harness"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const app = HttpServer.serve(HttpServerResponse.text("hello"))
 *
 * const test = Effect.gen(function*() {
 *   const { http } = yield* Harness.make(app)
 *   assert.strictEqual(yield* (yield* http.get("/")).text, "hello")
 * })
 *
 * await Effect.runPromise(Effect.scoped(test))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, R, P = never, E2 = never, R2 = never>(
  app: Layer.Layer<A, E, R>,
  options: Options<P, E2, R2> = {}
): Effect.Effect<
  Harness<A | P | Ports>,
  E | E2 | InvalidOption | UnusedSwap,
  Scope.Scope | Exclude<R | R2, P | Ports>
> =>
  Effect.gen(function*() {
    const exploring = yield* FiberRef.get(Explore.currentSeed)
    const seed = yield* Check.whole("Harness.seed", options.seed ?? Option.getOrElse(exploring, () => 1))
    const lines: Array<Line> = []
    const before = readMetrics()

    const services = Layer.mergeAll(
      FiberRegistry.layer,
      Cleanup.layerMonitor,
      Cleanup.layerEffectClock,
      options.faults === undefined ? Layer.empty : Faults.layer({ seed, ...options.faults })
    )
    const wire = options.server === undefined
      ? Transport.layer(options.transport)
      : Layer.merge(options.server, FetchHttpClient.layer)
    const defaults = Layer.mergeAll(
      wire,
      HttpServer.layerContext,
      EventLogStore.layerStoreMemory,
      TickerStore.layerStoreMemory,
      KeyValueStore.layerMemory
    )
    // each layer wins over those below it
    const whole = [app, options.provide, defaults, Lifecycle.layer({ log: false }), services].filter((layer) =>
      layer !== undefined
    )
      .reduceRight<AnyLayer>(
        (below, layer) => Layer.provideMerge(layer as AnyLayer, below),
        Layer.empty as AnyLayer
      ) as Layer.Layer<A | P | Ports, E | E2, Exclude<R | R2, P | Ports>>

    const unused = new Set(options.swap)
    const memoMap = Swap.memoMap(yield* Layer.makeMemoMap, options.swap ?? [], (swap) => unused.delete(swap))
    const capture = Logger.make<unknown, void>(({ annotations, cause, date, logLevel, message }) => {
      lines.push({
        level: logLevel.label,
        message: (Array.isArray(message) ? message : [message]).map(show).join(" "),
        annotations: Object.fromEntries(annotations),
        cause,
        at: date.getTime()
      })
    })
    const runtime = yield* Layer.toRuntimeWithMemoMap(whole, memoMap).pipe(
      Effect.locally(
        FiberRef.currentLoggers,
        options.printLogs === true ? HashSet.make(capture, Logger.defaultLogger) : HashSet.make(capture)
      ),
      Effect.withRandom(Random.make(`holdfast-${seed}`)),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(options.config ?? {}))))
    ) as Effect.Effect<Runtime.Runtime<A | P | Ports>, E | E2, Scope.Scope>
    const missed = Array.from(unused).find(({ optional }) => !optional)
    if (missed !== undefined) return yield* new UnusedSwap({ index: options.swap!.indexOf(missed) })

    const context = runtime.context as Context.Context<A | P | Ports>
    const registry = Context.get(context, FiberRegistry.FiberRegistry)
    const server = Context.get(context, HttpServer.HttpServer)
    const address = server.address._tag === "TcpAddress"
      ? `http://${
        server.address.hostname === "0.0.0.0" || server.address.hostname === "::"
          ? "127.0.0.1"
          : server.address.hostname
      }:${server.address.port}`
      : `unix://${server.address.path}`
    const transport = Context.getOption(context as Context.Context<Transport.Transport>, Transport.Transport)
    const http = Context.get(context, HttpClient.HttpClient).pipe(
      HttpClient.mapRequest((request) =>
        request.url.startsWith("/") ? HttpClientRequest.setUrl(request, `${address}${request.url}`) : request
      )
    )

    const harness: Harness<A | P | Ports> = {
      runtime,
      run: (effect) => Effect.provide(effect, runtime) as never,
      http,
      address,
      sse: (path, options) => connect(http, path, options),
      webSocket: (path, given) =>
        Option.match(transport, {
          onSome: (transport) => transport.webSocket(path, given),
          onNone: () =>
            Socket.makeWebSocket(`${address.replace(/^http/, "ws")}${path}`).pipe(
              Effect.provide(options.webSocketConstructor ?? Socket.layerWebSocketConstructorGlobal)
            )
        }),
      logs: Effect.sync(() => lines.slice()),
      crashes: Effect.map(registry.ended, (ended) => ended.filter(({ outcome }) => outcome === "failure")),
      metrics: Effect.sync(() => difference(before, readMetrics())),
      fibers: registry.dump,
      openRequests: Option.match(transport, { onNone: () => Effect.succeed(0), onSome: ({ open }) => open }),
      faults: Context.get(context, Faults.Faults),
      shutdown: Context.get(context, Lifecycle.Lifecycle).shutdown({ _tag: "Requested", by: "the test" })
    }
    return harness
  }) as never

const connect = (
  http: HttpClient.HttpClient,
  path: string,
  options: Parameters<Harness<never>["sse"]>[1] = {}
): ReturnType<Harness<never>["sse"]> =>
  Effect.gen(function*() {
    // with the scope: a stream that nobody has begun to read ends, too
    const response = yield* HttpClient.withScope(http).get(path, {
      headers: {
        accept: Sse.contentType,
        ...(options.lastEventId === undefined ? {} : { "last-event-id": options.lastEventId }),
        ...options.headers
      }
    })
    if (response.status !== 200 || !(response.headers["content-type"] ?? "").startsWith(Sse.contentType)) {
      return yield* new StreamRefused({ status: response.status, body: yield* response.text })
    }
    const capacity = options.capacity === undefined
      ? undefined
      : yield* Effect.orDie(Check.whole("Harness.sse.capacity", options.capacity, 1))
    const channel = new Channel<Sse.Incoming>(capacity)
    const reader = yield* response.stream.pipe(
      Sse.decode(options.lastEventId === undefined ? {} : { lastEventId: options.lastEventId }),
      Stream.runForEach(channel.offer),
      // a stream that breaks ends, for a client of events: it would reconnect
      Effect.exit,
      FiberRegistry.forkFinally({ name: "sse" }, () => channel.end)
    )
    const next: SseConnection["next"] = Effect.flatMap(
      channel.take,
      (incoming) => incoming._tag === "Message" ? Effect.succeed(incoming) : next
    )
    return {
      status: response.status,
      next,
      take: (n) => Effect.replicateEffect(next, n),
      arrived: Effect.map(channel.clear, Chunk.toReadonlyArray),
      rest: Effect.map(Stream.runCollect(channel.stream), Chunk.toReadonlyArray),
      leave: Effect.asVoid(Fiber.interrupt(reader))
    }
  })

const show = (part: unknown): string =>
  typeof part === "string" ? part : part instanceof Error ? String(part) : Inspectable.toStringUnknown(part, 0)

type Readings = ReadonlyMap<string, Reading & { readonly cumulative: boolean }>

const readMetrics = (): Readings => {
  const readings = new Map<string, Reading & { readonly cumulative: boolean }>()
  for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
    const tags = Object.fromEntries(metricKey.tags.map(({ key, value }) => [key, value]))
    const add = (name: string, value: number | bigint, cumulative: boolean) =>
      readings.set(`${name} ${JSON.stringify(tags)}`, { name, tags, value: Number(value), cumulative })
    if (MetricState.isCounterState(metricState)) add(metricKey.name, metricState.count, true)
    else if (MetricState.isGaugeState(metricState)) add(metricKey.name, metricState.value, false)
    else if (MetricState.isHistogramState(metricState) || MetricState.isSummaryState(metricState)) {
      add(`${metricKey.name}_count`, metricState.count, true)
      add(`${metricKey.name}_sum`, metricState.sum, true)
    } else if (MetricState.isFrequencyState(metricState)) {
      for (const [word, count] of metricState.occurrences) add(`${metricKey.name}:${word}`, count, true)
    }
  }
  return readings
}

const difference = (before: Readings, after: Readings): ReadonlyArray<Reading> =>
  Array.from(after, ([key, { cumulative, name, tags, value }]) => ({
    name,
    tags,
    value: cumulative ? value - (before.get(key)?.value ?? 0) : value,
    same: before.get(key)?.value === value
  })).filter(({ same }) => !same).map(({ name, tags, value }) => ({ name, tags, value }))
