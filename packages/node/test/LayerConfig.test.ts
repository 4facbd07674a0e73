/** Options from `Config`: what is read, what is refused, and which variable is named. */
import * as Audit from "@holdfast/core/Audit"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Ticker from "@holdfast/core/Ticker"
import * as ConsoleLog from "@holdfast/http/ConsoleLog"
import * as Health from "@holdfast/http/Health"
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import * as NodeLastShutdown from "@holdfast/node/NodeLastShutdown"
import * as NodeProbes from "@holdfast/node/NodeProbes"
import * as NodeServer from "@holdfast/node/NodeServer"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import * as Watchdog from "@holdfast/node/Watchdog"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Config, ConfigError, ConfigProvider, Effect, Exit, Layer } from "effect"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"

const folder = mkdtempSync(join(tmpdir(), "holdfast-config-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

type Made = Layer.Layer<never, unknown>

interface Row {
  readonly layer: Made
  /** Variables under which it can be built. */
  readonly good: Readonly<Record<string, string>>
  /** Variables that make no sense, each by itself, with the option that is refused. */
  readonly nonsense: ReadonlyArray<readonly [variable: string, value: string, option: string]>
}

const rows: Readonly<Record<string, Row>> = {
  Lifecycle: {
    layer: Lifecycle.layerConfig({
      gracefulShutdownTimeout: Config.duration("SHUTDOWN_TIMEOUT"),
      listed: Config.integer("LISTED")
    }),
    good: { SHUTDOWN_TIMEOUT: "10 seconds", LISTED: "5" },
    nonsense: [["LISTED", "-1", "Lifecycle.listed"]]
  },
  Audit: {
    layer: Audit.layerConfig({
      orphanAfter: Config.duration("AUDIT_ORPHAN_AFTER"),
      growth: { factor: Config.number("AUDIT_GROWTH") }
    }),
    good: { AUDIT_ORPHAN_AFTER: "1 minute", AUDIT_GROWTH: "2" },
    nonsense: [["AUDIT_GROWTH", "-1", "Audit.growth.factor"]]
  },
  Ticker: {
    layer: Ticker.layerConfig({ name: Config.succeed("world"), interval: Config.duration("TICK") }),
    good: { TICK: "100 millis" },
    nonsense: [["TICK", "0 millis", "Ticker(world).interval"]]
  },
  ConsoleLog: {
    layer: ConsoleLog.layerConfig({ capacity: Config.integer("LOG_LINES") }),
    good: { LOG_LINES: "100" },
    nonsense: [["LOG_LINES", "0", "ConsoleLog.capacity"]]
  },
  Health: {
    layer: Health.layerConfig({ started: Config.boolean("STARTED") }),
    good: { STARTED: "true" },
    nonsense: []
  },
  OperatorGuard: {
    layer: OperatorGuard.layerConfig({ token: Config.redacted("OPERATOR_TOKEN"), maxActs: Config.integer("MAX_ACTS") }),
    good: { OPERATOR_TOKEN: "a token of more than thirty-two characters", MAX_ACTS: "10" },
    nonsense: [["OPERATOR_TOKEN", "short", "OperatorGuard.token"], ["MAX_ACTS", "-1", "OperatorGuard.maxActs"]]
  },
  NodeServer: {
    layer: NodeServer.layerConfig({
      port: Config.integer("PORT"),
      host: Config.withDefault(Config.string("HOST"), "127.0.0.1"),
      maxBodyBytes: undefined as never,
      webSocket: { maxMessageBytes: Config.integer("MESSAGE_BYTES") }
    }),
    good: { PORT: "0", MESSAGE_BYTES: "1000" },
    nonsense: [["PORT", "-1", "NodeServer.port"], ["MESSAGE_BYTES", "0", "NodeServer.webSocket.maxMessageBytes"]]
  },
  Watchdog: {
    layer: Watchdog.layerConfig({ stall: Config.duration("STALL") }),
    good: { STALL: "10 seconds" },
    nonsense: [["STALL", "0 seconds", "Watchdog.stall"]]
  },
  NodeLastShutdown: {
    layer: Layer.provide(
      NodeLastShutdown.layerConfig({ file: Config.string("END_FILE"), every: Config.duration("END_EVERY") }),
      Lifecycle.layer()
    ),
    good: {},
    nonsense: [["END_EVERY", "0 seconds", "NodeLastShutdown.every"]]
  },
  NodeProbes: {
    layer: NodeProbes.layerLagConfig({ resolution: Config.duration("LAG_RESOLUTION") }),
    good: { LAG_RESOLUTION: "20 millis" },
    nonsense: [["LAG_RESOLUTION", "0 millis", "NodeProbes.resolution"]]
  },
  SqliteStore: {
    layer: SqliteStore.layerConfig({ path: Config.string("STORE"), maxBytes: Config.integer("STORE_BYTES") }),
    good: { STORE: join(folder, "store.db"), STORE_BYTES: "10000000" },
    nonsense: [["STORE_BYTES", "-1", "SqliteStore.maxBytes"]]
  }
}

const build = (layer: Made, variables: Readonly<Record<string, string>>) =>
  Effect.exit(Effect.scoped(Layer.build(layer))).pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))
  )

const failure = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : exit

describe("layerConfig", () => {
  for (const [name, { good, layer, nonsense }] of Object.entries(rows)) {
    it.effect(`${name}: variables, those that are missing, and nonsense that names its variable`, () =>
      Effect.gen(function*() {
        if (Object.keys(good).length > 0) assert(Exit.isSuccess(yield* build(layer, good)))
        const missing = failure(yield* build(layer, {}))
        assert(ConfigError.isConfigError(missing), String(missing))
        for (const [variable, value, option] of nonsense) {
          const error = failure(yield* build(layer, { END_FILE: "/never/there", ...good, [variable]: value }))
          assert(error instanceof InvalidOption.InvalidOption, String(error))
          assert.strictEqual(error.option, option)
          assert.deepStrictEqual(error.variables, [variable])
          assert.include(error.message, `${option} (from ${variable}) is`)
        }
      }))
  }

  it.effect("names the variable with the words of the provider, and none where no variable is behind an option", () =>
    Effect.gen(function*() {
      const port = Config.nested(Config.integer("PORT"), "WEB")
      const nested = failure(yield* build(NodeServer.layerConfig({ port }), { "WEB.PORT": "70000" }))
      assert.match(String(nested), /NodeServer\.port \(from WEB\.PORT\) is 70000/)
      const fixed = failure(yield* build(NodeServer.layerConfig({ port: Config.succeed(-1) }), {}))
      assert.match(String(fixed), /NodeServer\.port is -1/)
      const whole = NodeServer.layerConfig(Config.map(Config.integer("P"), (port) => ({ port })))
      assert.match(String(failure(yield* build(whole, { P: "-1" }))), /NodeServer\.port \(from P\) is -1/)
    }))

  /** Layers with options, whose options are no configuration, and why. */
  const without: Readonly<Record<string, string>> = {
    "core/Leadership.layerMemory": "for tests, with a value that is shared",
    "core/Presence.layerMemory": "for tests, with a value that is shared",
    "core/Supervision.layer": "children are effects",
    "core/Ticker.layerDurable": "as layer, within Layer.unwrapEffect",
    "http/Console.layer": "takes an effect of options, in which a Config can be read",
    "http/Console.layerApi": "takes an effect of options, in which a Config can be read",
    "http/Inspector.layerRoutes": "routes, whose path and limits belong to the code",
    "http/OperatorGuard.layerFiles": "reads files instead of variables",
    "http/SseHub.layer": "takes an effect of options, in which a Config can be read",
    "node/NodeServer.layerServer": "layerConfig brings it"
  }

  it.effect("stands beside every layer with options", () =>
    Effect.sync(() => {
      const root = fileURLToPath(new URL("../../..", import.meta.url))
      const missing = ["core", "http", "nats", "node"].flatMap((pkg) =>
        readdirSync(join(root, "packages", pkg, "src")).filter((name) => name.endsWith(".ts")).flatMap((name) => {
          const text = readFileSync(join(root, "packages", pkg, "src", name), "utf8")
          return [...text.matchAll(/^export const (layer\w*)(?::| =)\s*(?:<[^()]*>)?\(\s*options\b/gm)]
            .map(([, layer]) => layer!)
            .filter((layer) => !layer.endsWith("Config") && !text.includes(`export const ${layer}Config`))
            .map((layer) => `${pkg}/${name.slice(0, -3)}.${layer}`)
        })
      )
      assert.deepStrictEqual(missing.sort(), Object.keys(without).sort())
    }))
})
