/**
 * The node binary: a multi-player text world. `App` lists what runs; here is what it stands on.
 */
import * as NodeMain from "@holdfast/node/NodeMain"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Layer } from "effect"
import * as App from "./App.js"
import * as Logging from "./Logging.js"
import * as Settings from "./Settings.js"
import * as Storage from "./Storage.js"

const main = (settings: Settings.Settings) =>
  App.layer(settings).pipe(
    // a server that drains, and a store that outlasts it
    Layer.provide(NodeServer.layer(settings)),
    Layer.provide([Storage.layer(settings), Logging.layer(settings)])
  )

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
