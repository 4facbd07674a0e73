/**
 * What is said when the server is up, and one line for each phase of its life.
 *
 * @since 0.1.0
 */
import * as HttpServer from "@effect/platform/HttpServer"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import { Effect, identity, Layer, Logger, LogLevel, Option } from "effect"
import { Game } from "./Game.js"
import { Nodes } from "./Nodes.js"
import type { Settings } from "./Settings.js"

const phases: ReadonlyArray<readonly [Lifecycle.HookPhase, string]> = [
  ["draining", "draining: no new work, players get a farewell"],
  ["stopping-sources", "stopping: clocks and audits"],
  ["stopping-workers", "stopping: everything else"],
  ["releasing", "releasing: the world is saved, files are closed"]
]

/** The address as a browser on this machine would use it. */
const urlOf = (address: HttpServer.Address): string => {
  if (address._tag === "UnixAddress") return address.path
  const host = ["0.0.0.0", "::"].includes(address.hostname) ? "localhost" : address.hostname
  return `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`
}

const keptIn = ({ data, nats, natsName }: Settings) =>
  nats !== undefined ? `the stream ${natsName}` : data === "memory" ? "in memory" : data

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Settings) =>
  Layer.scopedDiscard(
    Effect.gen(function*() {
      const server = yield* HttpServer.HttpServer
      const lifecycle = yield* Lifecycle.Lifecycle
      const { data } = yield* (yield* Game).now
      const url = urlOf(server.address)
      const pretty = settings.log !== "json" && process.stdout.isTTY
      const guard = yield* OperatorGuard.OperatorGuard
      const operator = Option.getOrElse(
        guard.link(`${url}/operator`),
        () => `${url}/operator (with the operator's token)`
      )
      const kept = keptIn(settings)
      const { nats, node, nodes, owner } = yield* (yield* Nodes).facts
      if (pretty) {
        yield* Effect.sync(() =>
          process.stdout.write(
            [
              "",
              `  ${data.realm.title}, ${Object.keys(data.rooms).length} rooms. State: ${kept}.`,
              ...(nats === undefined ? [] : [`  Node ${node} of ${nodes}; ${owner || "nobody yet"} drives the world.`]),
              "",
              `  play       ${url}`,
              `  terminal   npm run play -- --url ${url}`,
              `  operator   ${operator}`,
              `  metrics    ${url}/metrics`,
              "",
              ""
            ].join("\n")
          )
        )
      } else {
        yield* Effect.logInfo(`${data.realm.title} is up: ${url}`).pipe(
          Effect.annotateLogs({ url, operator, metrics: `${url}/metrics`, state: kept }),
          nats === undefined ? identity : Effect.annotateLogs({ nats, node, nodes, owner }),
          // Whatever else is left out of the log: where the server listens is not.
          Logger.withMinimumLogLevel(LogLevel.Info)
        )
      }
      if (nats !== undefined) {
        yield* Effect.logInfo(
          "A client cannot see whether the server waits for its disk before it acknowledges: set sync_interval: always"
        )
      }
      yield* Effect.logInfo("accepting: the world is open")
      yield* Effect.forEach(
        phases,
        ([phase, line]) => lifecycle.onPhase(phase, { label: `say "${phase}"` }, Effect.logInfo(line)),
        { discard: true }
      )
    })
  )
