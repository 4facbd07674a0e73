/**
 * The node binary: a multi-player text world. `App` lists what runs; here is what it stands on.
 */
import type * as Lifecycle from "@holdfast/core/Lifecycle"
import * as NodeMain from "@holdfast/node/NodeMain"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Effect, Layer } from "effect"
import * as App from "./App.js"
import * as Logging from "./Logging.js"
import * as Settings from "./Settings.js"
import * as Storage from "./Storage.js"

// a server that drains, and a store that outlasts it
const alone = (settings: Settings.Settings) =>
  Layer.provide(Layer.provide(App.layer(settings), NodeServer.layer(settings)), Storage.layer(settings))

const together = (settings: Settings.Settings, nats: ReadonlyArray<string>) =>
  Layer.provide(
    Layer.provide(App.layerShared(settings), NodeServer.layer(settings)),
    // Loaded where it is wanted: a world alone starts sooner without it.
    Layer.unwrapEffect(
      Effect.map(Effect.promise(() => import("./NatsStorage.js")), ({ layer }) => layer({ ...settings, nats }))
    )
  )

const main = (settings: Settings.Settings) => {
  const { nats } = settings
  const chosen: Layer.Layer<never, unknown, Lifecycle.Lifecycle> = nats === undefined
    ? alone(settings)
    : together(settings, nats)
  return Layer.provide(chosen, Logging.layer(settings))
}

Settings.run((settings) =>
  NodeMain.runMain(main(settings), {
    name: "mud",
    gracefulShutdownTimeout: settings.shutdownTimeout,
    // Whoever reads JSON reads it to the end.
    report: settings.log === "json" ? "json" : "pretty",
    // Logging replaces the default logger by itself.
    disablePrettyLogger: true
  })
)
