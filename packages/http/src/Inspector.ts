/**
 * A look inside a running process over HTTP: who runs on whose behalf, who is connected, what the last cleanups and
 * audits said. As JSON, as text, and as a feed of server-sent events.
 *
 * | path under the prefix | what |
 * |---|---|
 * | `/` | everything, as one JSON document |
 * | `/fibers` | the tree of fibers, the lately ended ones, counts |
 * | `/fibers.txt` | the dump, as text |
 * | `/cleanups` | the last outcomes, the counts, and what was abandoned and lives |
 * | `/{section}` | what was registered for it: `sessions`, `bus`, `tickers`, `audits`, `acts`, or a name of your own |
 * | `/feed` | `snapshot` at once and then at an interval; `fiber`, `crash`, `cleanup` and `phase` as they happen |
 *
 * **Who may look.** It is not there unless you mount it, and then only for who has a token of the `OperatorGuard`
 * (`Authorization: Bearer …`, or `?token=…` for an `EventSource`, which cannot set a header).
 *
 * **Limits.** It reads, and changes nothing. A source that takes more than a second, or fails, is left out and says so.
 * Lists end at 1000 items, texts at 2000 characters. Fibers of kind `request` are not in the feed unless asked for with
 * `?requests=1`. The feed ends when the application drains.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Audit } from "@holdfast/core/Audit"
import { CleanupMonitor } from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import { Lifecycle } from "@holdfast/core/Lifecycle"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as HttpErrors from "./HttpErrors.js"
import { toJson } from "./internal/json.js"
import { fromRouter } from "./internal/layerRoutes.js"
import type { Registry } from "./internal/registry.js"
import { bounded, unsafeMake } from "./internal/registry.js"
import * as OperatorGuard from "./OperatorGuard.js"
import * as Sse from "./Sse.js"
import { SseHub } from "./SseHub.js"

/**
 * Something to look at, in a section of the inspector.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source {
  readonly section: "sessions" | "bus" | "tickers" | "audits" | (string & {})
  readonly name: string
  readonly look: Effect.Effect<unknown, unknown>
}

/**
 * The sources in use. There is one set for the process unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class Sources extends Context.Reference<Sources>()("@holdfast/http/Inspector/Sources", {
  defaultValue: (): Registry<Source> => unsafeMake<Source>()
}) {}

/**
 * Shows something for as long as the scope is open.
 *
 * @example
 * ```ts
 * import { Inspector } from "@holdfast/http"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const program = Effect.gen(function*() {
 *   yield* Inspector.register("games", "chess", Effect.succeed({ tables: 3 }))
 *   assert.deepStrictEqual((yield* Inspector.snapshot)["games"], { chess: { tables: 3 } })
 * })
 *
 * await Effect.runPromise(Effect.scoped(program))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const register = <R>(
  section: Source["section"],
  name: string,
  look: Effect.Effect<unknown, unknown, R>
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.flatMap(
    Effect.context<R>(),
    (context) =>
      Effect.flatMap(Sources, (sources) => sources.add({ section, name, look: Effect.provide(look, context) }))
  )

/**
 * Where the inspector is served, and how often its feed is renewed.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Default `/inspector`. */
  readonly prefix?: `/${string}` | undefined
  /** Between two snapshots of the feed. Default 2 seconds. */
  readonly interval?: Duration.DurationInput | undefined
  /** Feeds that may be open at once. Default 8, 429 beyond. */
  readonly maxFeeds?: number | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { prefix: "/inspector", interval: Duration.seconds(2), maxFeeds: 8 } as const

/**
 * Everything, as plain values.
 *
 * @since 0.1.0
 * @category accessors
 */
export const snapshot: Effect.Effect<Readonly<Record<string, unknown>>> = Effect.gen(function*() {
  const lifecycle = yield* Effect.serviceOption(Lifecycle)
  return {
    at: Date.now(),
    ...(Option.isNone(lifecycle)
      ? {}
      : { phase: lifecycle.value.unsafePhase(), admitted: yield* lifecycle.value.admitted }),
    fibers: yield* fibers,
    cleanups: yield* cleanups,
    ...(yield* sections)
  }
})

/**
 * The routes of the table above. Throws `InvalidOption` for a number or a duration that makes no sense.
 *
 * @since 0.1.0
 * @category routes
 */
export const routes = (
  options: Options = {}
): HttpRouter.HttpRouter<HttpErrors.HttpError, OperatorGuard.OperatorGuard> => {
  const prefix = options.prefix ?? defaults.prefix
  const maxFeeds = InvalidOption.unsafeWhole("Inspector.maxFeeds", options.maxFeeds ?? defaults.maxFeeds, {
    infinite: true
  })
  const interval = InvalidOption.unsafeDuration("Inspector.interval", options.interval ?? defaults.interval)
  let feeds = 0
  const place = Effect.acquireRelease(
    Effect.suspend(() => {
      if (feeds >= maxFeeds) {
        return HttpErrors.make("TooManyRequests", `there are already ${feeds} feeds`, {}, {
          headers: { "retry-after": "10" }
        })
      }
      feeds++
      return Effect.void
    }),
    () =>
      Effect.sync(() => {
        feeds--
      })
  )
  return HttpRouter.empty.pipe(
    HttpRouter.get(prefix, OperatorGuard.protect(Effect.map(snapshot, answer))),
    HttpRouter.get(`${prefix}/fibers`, OperatorGuard.protect(Effect.map(fibers, answer))),
    HttpRouter.get(
      `${prefix}/fibers.txt`,
      OperatorGuard.protect(
        Effect.map(
          Effect.flatMap(FiberRegistry.FiberRegistry, (registry) => registry.dump),
          (dump) => HttpServerResponse.text(dump, { headers: uncached })
        )
      )
    ),
    HttpRouter.get(`${prefix}/cleanups`, OperatorGuard.protect(Effect.map(cleanups, answer))),
    HttpRouter.get(
      `${prefix}/feed`,
      OperatorGuard.protect(Effect.gen(function*() {
        yield* place
        const request = yield* HttpServerRequest.HttpServerRequest
        // Not every platform runs the stream of a response in the context of its handler.
        const context = yield* Effect.context<never>()
        const requests = new URL(request.url, "http://host").searchParams.get("requests") === "1"
        const items = feed(Duration.millis(interval), requests)
        return HttpServerResponse.stream(Stream.provideContext(items, context), {
          contentType: Sse.contentType,
          headers: { "cache-control": "no-store, no-transform", "x-accel-buffering": "no" }
        })
      }))
    ),
    HttpRouter.get(
      `${prefix}/:section`,
      OperatorGuard.protect(
        Effect.flatMap(
          HttpRouter.params,
          ({ section = "" }) =>
            Effect.flatMap(sections, (all) =>
              Object.hasOwn(all, section)
                ? Effect.succeed(answer(all[section]))
                : HttpErrors.make("NotFound", `nothing is registered for ${section}`, {
                  field: "section",
                  expected: Object.keys(all).join(", ")
                }))
        )
      )
    )
  )
}

/**
 * `routes` as a Layer for `HttpLayerRouter`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRoutes = (options?: Options) => fromRouter(routes(options))

const uncached = { "cache-control": "no-store" }

const answer = (value: unknown): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(toJson(value), { headers: uncached })

const fibers = Effect.gen(function*() {
  const registry = yield* FiberRegistry.FiberRegistry
  return {
    counts: yield* registry.counts,
    tree: (yield* registry.tree).map(plain),
    ended: yield* registry.ended
  }
})

interface Plain {
  readonly label: string
  readonly fiber?: object
  readonly children?: ReadonlyArray<Plain>
}

const plain = (node: Effect.Effect.Success<FiberRegistry.Service["tree"]>[number]): Plain => {
  const { entry } = node
  const { fiber: _, ...fiber } = entry ?? { fiber: undefined }
  return {
    label: node.label,
    ...(entry === undefined ? {} : { fiber }),
    ...(node.children.length === 0 ? {} : { children: node.children.map(plain) })
  }
}

const cleanups = Effect.gen(function*() {
  const monitor = yield* CleanupMonitor
  return {
    counts: yield* monitor.counts,
    left: (yield* monitor.live).map(({ fiber, ...left }) => ({ ...left, fiber: `#${fiber.id().id}` })),
    recent: (yield* monitor.recent).slice(-50)
  }
})

/** What other modules registered, and the services that are there without. */
const sections = Effect.gen(function*() {
  const sources = Array.from((yield* Sources).all())
  const hub = yield* Effect.serviceOption(SseHub)
  if (Option.isSome(hub) && !sources.some((one) => one.section === "sessions" && one.name === hub.value.name)) {
    const { ended, name, sessions, stats } = hub.value
    sources.push({ section: "sessions", name, look: Effect.all({ stats, open: sessions, ended }) })
  }
  const audit = yield* Effect.serviceOption(Audit)
  if (Option.isSome(audit)) {
    sources.push({ section: "audits", name: "last", look: audit.value.last })
  }
  const guard = yield* Effect.serviceOption(OperatorGuard.OperatorGuard)
  if (Option.isSome(guard)) {
    sources.push({ section: "acts", name: "operator", look: guard.value.acts })
  }
  const looked = yield* Effect.forEach(
    sources,
    (source) =>
      Effect.catchAllCause(
        bounded(source.look, 1000),
        (cause) => Effect.succeed({ unavailable: Cause.pretty(cause).split("\n", 1)[0] })
      ),
    { concurrency: "unbounded" }
  )
  const found: Record<string, Record<string, unknown>> = {}
  sources.forEach(({ name, section }, index) => {
    const into = found[section] ??= {}
    into[Object.hasOwn(into, name) ? `${name} ${index}` : name] = looked[index]
  })
  return found
})

interface Item {
  readonly event: string
  readonly data: unknown
  readonly last?: boolean
}

const feed = (interval: Duration.Duration, requests: boolean): Stream.Stream<Uint8Array> =>
  Stream.unwrap(Effect.gen(function*() {
    const registry = yield* FiberRegistry.FiberRegistry
    const monitor = yield* CleanupMonitor
    const lifecycle = yield* Effect.serviceOption(Lifecycle)
    const item = (event: string) => (data: unknown): Item => ({ event, data })
    const snapshots = Stream.repeatEffectWithSchedule(
      Effect.gen(function*() {
        return {
          at: Date.now(),
          ...(Option.isNone(lifecycle) ? {} : { phase: lifecycle.value.unsafePhase() }),
          fibers: yield* registry.counts,
          cleanups: yield* monitor.counts,
          ...(yield* sections)
        }
      }),
      Schedule.spaced(interval)
    )
    const changes = Stream.filter(
      registry.changes,
      (change) => requests || (change._tag === "Started" ? change.kind : change.ended.kind) !== "request"
    )
    const phases = Option.isNone(lifecycle) ? Stream.empty : Stream.map(
      lifecycle.value.phases,
      (phase): Item => ({
        event: "phase",
        data: phase,
        last: phase !== "accepting" && phase !== "unready"
      })
    )
    return Stream.mergeAll([
      Stream.map(snapshots, item("snapshot")),
      Stream.map(changes, item("fiber")),
      Stream.map(registry.crashes, item("crash")),
      Stream.map(Stream.filter(monitor.outcomes, (outcome) => outcome._tag !== "Completed"), item("cleanup")),
      phases
    ], { concurrency: "unbounded", bufferSize: 16 }).pipe(
      Stream.takeUntil((item) => item.last === true),
      Stream.map(({ data, event }) => Sse.encodeBytes({ event, data: JSON.stringify(toJson(data)) ?? "null" }))
    )
  }))
