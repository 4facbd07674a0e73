/**
 * Every number and every duration that a module takes as an option: nonsense is refused by name. The sources are searched
 * for such options, so that a new one has to come into the table, with a check or with the reason why it has none.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as EventBus from "@holdfast/core/EventBus"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Console from "@holdfast/http/Console"
import * as ConsoleLog from "@holdfast/http/ConsoleLog"
import * as Health from "@holdfast/http/Health"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Inspector from "@holdfast/http/Inspector"
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import * as Sse from "@holdfast/http/Sse"
import * as SseClient from "@holdfast/http/SseClient"
import * as SseFormat from "@holdfast/http/SseFormat"
import * as SseHub from "@holdfast/http/SseHub"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as WebSocketRoute from "@holdfast/http/WebSocketRoute"
import * as NodeLastShutdown from "@holdfast/node/NodeLastShutdown"
import * as NodeMain from "@holdfast/node/NodeMain"
import * as NodeProbes from "@holdfast/node/NodeProbes"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import * as Watchdog from "@holdfast/node/Watchdog"
import * as Explore from "@holdfast/testing/Explore"
import * as Faults from "@holdfast/testing/Faults"
import * as Harness from "@holdfast/testing/Harness"
import * as LeakCheck from "@holdfast/testing/LeakCheck"
import * as Link from "@holdfast/testing/Link"
import * as Transport from "@holdfast/testing/Transport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import type { Scope } from "effect"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

type Try = (nonsense: number) => Effect.Effect<unknown, unknown, Scope.Scope>

/** What refuses the option, and under which name. */
interface Row {
  readonly option: string
  readonly run: Try
}

const Counted = Schema.TaggedStruct("Counted", { n: Schema.Number })

const hubOf = (options: Partial<SseHub.Options<typeof Counted.Type>>) =>
  Effect.flatMap(
    EventBus.make({ name: "bus", schema: Counted }),
    (bus) => SseHub.make({ source: SseHub.fromBus(bus), ...options })
  )

const nowhere = {
  start: () => {},
  write: () => true,
  buffered: () => 0,
  end: () => {},
  destroy: () => {}
}

const opened = (options: Partial<SseHub.OpenOptions>) =>
  Effect.flatMap(
    hubOf({}),
    (hub) => hub.open({ sink: nowhere, format: SseFormat.make(), following: [{ topic: "Counted" }], ...options })
  )

const route = <A>(make: (options: { readonly hub: SseHub.Service }) => A) =>
  Effect.flatMap(hubOf({}), (hub) => Effect.sync(() => make({ hub })))

const built = <A, E>(layer: Layer.Layer<A, E>) => Layer.build(layer)

const rows = <Key extends string>(
  prefix: string,
  names: ReadonlyArray<Key>,
  run: (options: { readonly [K in Key]?: number }) => ReturnType<Try>
): ReadonlyArray<readonly [Key, Row]> =>
  names.map((name) => [
    name,
    { option: `${prefix}.${name}`, run: (nonsense) => run({ [name]: nonsense } as { readonly [K in Key]?: number }) }
  ])

const table = (
  file: string,
  entries: ReadonlyArray<readonly [string, Row]>
): Readonly<Record<string, Row>> => Object.fromEntries(entries.map(([name, row]) => [`${file}.${name}`, row]))

const one = (option: string, run: Try): Row => ({ option, run })

const checked: Readonly<Record<string, Row>> = {
  "Admission.Grant.expiresAt": one("SseHub.open.expiresAt", (expiresAt) => opened({ expiresAt })),
  "Admission.Grant.capacity": one("SseHub.open.capacity", (capacity) => opened({ capacity })),
  "Admission.Topics.max": one(
    "Admission.topics.max",
    (max) => route((given) => SseRoute.make({ ...given, topics: { max, authorize: () => Effect.void } }))
  ),
  "Admission.TopicGrant.expiresAt": one("SseHub.open.expiresAt", (expiresAt) => opened({ expiresAt })),
  ...table(
    "Console.Options",
    rows(
      "Console",
      ["interval", "maxViewers"],
      (options) => Effect.provide(Console.routes(options), FileSystem.layerNoop({}))
    )
  ),
  "ConsoleLog.Options.capacity": one("ConsoleLog.capacity", (capacity) => built(ConsoleLog.layer({ capacity }))),
  "NodeLastShutdown.Options.every": one(
    "NodeLastShutdown.every",
    (every) => built(Layer.provide(NodeLastShutdown.layer({ file: join(tmpdir(), "never"), every }), Lifecycle.layer()))
  ),
  "Health.Check.timeout": one(
    "Health.timeout",
    (timeout) => built(Health.layer({ checks: [{ name: "one", run: Effect.void, timeout }] }))
  ),
  "HubOptions.Unfollow.upTo": one(
    "TopicWindow.upTo",
    (upTo) => Effect.flatMap(opened({}), (session) => session.unfollow({ topic: "Counted", upTo }))
  ),
  ...table("HubOptions.OpenOptions", rows("SseHub.open", ["lastEventId", "capacity", "expiresAt"], opened)),
  ...table(
    "HubOptions.Limits",
    rows("SseHub.limits", ["sessions", "perAddress", "perPrincipal", "retryAfter"], (limits) => hubOf({ limits }))
  ),
  ...table(
    "HubOptions.DrainOptions",
    rows("SseHub.drain", ["retry", "jitter", "perSecond"], (drain) => hubOf({ drain }))
  ),
  ...table(
    "HubOptions.Options",
    rows("SseHub", ["capacity", "sendTimeout", "heartbeat", "retry", "recent"], hubOf)
  ),
  "HubOptions.OnClose.budget": one(
    "SseHub.onClose.budget",
    (budget) => hubOf({ onClose: { budget, run: () => Effect.void } })
  ),
  "HubSource.fromBus.capacity": one(
    "EventSubscription.capacity",
    (capacity) =>
      Effect.flatMap(
        EventBus.make({ name: "bus", schema: Counted }),
        (bus) => SseHub.make({ source: SseHub.fromBus(bus, { capacity }) })
      )
  ),
  ...table(
    "Inspector.Options",
    rows("Inspector", ["interval", "maxFeeds"], (options) => Effect.sync(() => Inspector.routes(options)))
  ),
  ...table(
    "OperatorGuard.Options",
    rows(
      "OperatorGuard",
      ["maxActs", "firstDelay", "maxDelay", "maxDelayed", "forgetAfter"],
      (options) => built(OperatorGuard.layer(options))
    )
  ),
  ...table(
    "Sse.DecodeOptions",
    rows("Sse", ["maxFrameLength"], (options) => Effect.sync(() => Sse.unsafeMakeDecoder(options)))
  ),
  ...table(
    "SseClient.Options",
    rows(
      "SseClient",
      ["connectTimeout", "idleTimeout", "maxFrameLength", "maxDelay"],
      (options) =>
        SseClient.SseClient.pipe(
          Effect.map((client) => client.messages("http://127.0.0.1:1", options)),
          Effect.provide(SseClient.layer.pipe(Layer.provide(FetchHttpClient.layer)))
        )
    )
  ),
  "SseRoute.Cors.maxAge": one(
    "SseRoute.cors.maxAge",
    (maxAge) => route((given) => SseRoute.make({ ...given, cors: { origins: "*", maxAge } }))
  ),
  ...table(
    "TopicWindow.Bounds",
    rows("TopicWindow", ["after", "upTo"], (bounds) => opened({ following: [{ topic: "Counted", ...bounds }] }))
  ),
  ...table(
    "WebSocketRoute.Options",
    rows(
      "WebSocketRoute",
      ["maxMessageBytes", "queue", "pingInterval", "closeTimeout"],
      (options) => route((given) => WebSocketRoute.make({ ...given, ...options }))
    )
  ),

  "NodeMain.Options.hurryTimeout": one(
    "NodeMain.hurryTimeout",
    (hurryTimeout) => Effect.sync(() => NodeMain.runMain(Layer.empty, { hurryTimeout }))
  ),
  "NodeProbes.Options.resolution": one(
    "NodeProbes.resolution",
    (resolution) => built(NodeProbes.layerLag({ resolution }))
  ),
  ...table(
    "NodeServerOptions.DrainOptions",
    rows(
      "NodeServer.drain",
      ["requests", "interruption", "sockets"],
      (drain) => built(NodeServer.layerServer({ port: 0, drain }))
    )
  ),
  ...table(
    "NodeServerOptions.WebSocketOptions",
    rows(
      "NodeServer.webSocket",
      ["maxMessageBytes", "closeTimeout"],
      (webSocket) => built(NodeServer.layerServer({ port: 0, webSocket }))
    )
  ),
  ...table(
    "NodeServerOptions.Options",
    rows("NodeServer", [
      "port",
      "maxConnections",
      "maxPipelined",
      "maxHeaderBytes",
      "maxBodyBytes",
      "headersTimeout",
      "requestTimeout",
      "bodyTimeout",
      "keepAliveTimeout",
      "sendTimeout",
      "lingerTimeout",
      "halfOpenTimeout"
    ], (options) => built(NodeServer.layerServer({ port: 0, ...options })))
  ),
  "SqliteStore.Options.maxBytes": one(
    "SqliteStore.maxBytes",
    (maxBytes) => SqliteStore.make({ path: join(tmpdir(), "no-such-folder", "options.db"), maxBytes })
  ),
  "Watchdog.Options.stall": one("Watchdog.stall", (stall) => Watchdog.make({ stall })),

  "Explore.checkRandom.preemption": one(
    "Explore.strategy.preemption",
    (preemption) => Explore.checkRandom(Effect.void, { preemption })
  ),
  "Explore.checkPct.depth": one("Explore.strategy.depth", (depth) => Explore.checkPct(Effect.void, { depth })),
  ...table(
    "Explore.checkAll",
    rows("Explore", ["cuts", "maxRuns"], (options) => Explore.checkAll(Effect.void, options))
  ),
  ...table(
    "ExploreRun.Options",
    rows(
      "Explore",
      ["seeds", "maxOperations", "maxTime", "settle", "maxPause"],
      (options) => Explore.check(Effect.void, options)
    )
  ),
  ...table(
    "Faults.Options",
    rows("Faults", ["activation", "probability"], (options) => Faults.make({ seed: 1, ...options }))
  ),
  "Harness.Harness.capacity": one(
    "Harness.sse.capacity",
    (capacity) =>
      Effect.gen(function*() {
        const hub = yield* hubOf({})
        const authorize = () => Effect.succeed({ following: [{ topic: "Counted" }] })
        const app = HttpErrors.handled(HttpRouter.empty.pipe(SseRoute.mount("/events", { hub, authorize })))
        const { sse } = yield* Harness.make(HttpServer.serve(app))
        return yield* sse("/events", { capacity })
      })
  ),
  "LeakCheck.Options.grace": one("LeakCheck.grace", (grace) => LeakCheck.check(Effect.void, { grace })),
  ...table(
    "Link.Options",
    rows("Link", ["latency", "outage"], (options) => Link.make({ name: "link", ...options }))
  ),
  ...table(
    "Transport.Options",
    rows("Transport", ["capacity", "drainBudget"], (options) => built(Transport.layer(options)))
  )
}

/** What the search finds and what is no option, or where every number makes sense. */
const unchecked: Readonly<Record<string, string>> = {
  "ConsoleSection.series.warn": "a line in a graph: where none makes sense, none is drawn",
  "EventStoreConformance.Options.runs": "of a suite, which fails when it tries nothing",
  "ExploreRun.Options.seed": "any whole number: see the row of wholes",
  "Faults.Options.seed": "any whole number: see the row of wholes",
  "Harness.Options.seed": "any whole number: see the row of wholes",
  "HttpErrors.make.status": "an answer of the application",
  "HubSource.Source.head": "what a port says",
  "SessionSink.GapInfo.count": "a report",
  "Sse.Frame.retry": "a frame: a time that is none is left out",
  "SseClient.SseClientError.status": "a report",
  "SseClient.SseDisconnected.status": "a report",
  "WebSocketRoute.layer.ref": "a message of a client"
}

const wholes: ReadonlyArray<readonly [string, Try]> = [
  ["Explore.seed", (seed) => Explore.check(Effect.void, { seed })],
  ["Faults.seed", (seed) => Faults.make({ seed })],
  ["Harness.seed", (seed) => Harness.make(Layer.empty, { seed })]
]

const packages = fileURLToPath(new URL("../../", import.meta.url))

/** Options of exported declarations by file, declaration and name. */
const found = ["http", "node", "testing"].flatMap((name) => {
  const folder = `${packages}${name}/src/`
  return readdirSync(folder).filter((file) => file.endsWith(".ts")).flatMap((file) => {
    let declaration = ""
    return readFileSync(`${folder}${file}`, "utf8").split("\n").flatMap((line) => {
      declaration = /^export (?:interface|type|const|class) (\w+)/.exec(line)?.[1] ?? declaration
      const option = /readonly (\w+)(\??): ([^:(]*\b(?:number|DurationInput)\b[^:(]*)$/.exec(line)
      return option !== null && (option[2] === "?" || option[3].includes("DurationInput"))
        ? [`${file.slice(0, -3)}.${declaration}.${option[1]}`]
        : []
    })
  })
})

const refusedBy = (effect: Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.map(Effect.exit(Effect.scoped(effect)), (exit) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) as { _tag?: unknown; option?: unknown } : undefined
    return error?._tag === "InvalidOption" ? error.option : exit
  })

describe("every option that is a number or a duration", () => {
  it("has a check, or a reason to have none", () => {
    const known = [...Object.keys(checked), ...Object.keys(unchecked)]
    assert.deepStrictEqual(found.filter((option) => !known.includes(option)), [], "of sources, in no table")
    assert.deepStrictEqual(known.filter((option) => !found.includes(option)), [], "of tables, in no source")
    assert.isAbove(found.length, 70)
  })

  for (const [place, { option, run }] of Object.entries(checked)) {
    it.live(`${place} is refused by name when it makes no sense`, () =>
      Effect.gen(function*() {
        for (const nonsense of [NaN, -1, -Infinity]) {
          assert.strictEqual(yield* refusedBy(run(nonsense)), option, String(nonsense))
        }
      }))
  }

  for (const [option, run] of wholes) {
    it.live(`${option} is refused by name when it is no whole number`, () =>
      Effect.gen(function*() {
        for (const nonsense of [NaN, 0.5, Infinity]) {
          assert.strictEqual(yield* refusedBy(run(nonsense)), option, String(nonsense))
        }
      }))
  }
})
