/**
 * The node binary: a multi-player text world. This list is what runs.
 */
import * as NodeMain from "@holdfast/node/NodeMain"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Layer } from "effect"
import * as Banner from "./Banner.js"
import * as Characters from "./Characters.js"
import * as Game from "./Game.js"
import * as Housekeeping from "./Housekeeping.js"
import * as Logging from "./Logging.js"
import * as OperatorFeed from "./OperatorFeed.js"
import * as Players from "./Players.js"
import * as PlayerStreams from "./PlayerStreams.js"
import * as Reshape from "./Reshape.js"
import * as Settings from "./Settings.js"
import * as Sky from "./Sky.js"
import * as Storage from "./Storage.js"
import * as Tokens from "./Tokens.js"
import * as Web from "./Web.js"
import * as CurrentWorldData from "./world/CurrentWorldData.js"
import * as WorldBus from "./WorldBus.js"
import * as WorldTicker from "./WorldTicker.js"

const app = (settings: Settings.Settings) =>
  Banner.layer(settings).pipe(
    // what acts: requests, the sky, characters, sleepers, new data
    Layer.provide([Web.layer(settings), Sky.layer, Characters.layer, Housekeeping.layer, Reshape.layer]),
    Layer.provide([OperatorFeed.layer(settings), Players.layer(settings)]),
    // the world: one writer, the streams that show it, the clock that moves it
    Layer.provide([Game.layer, Tokens.layer, WorldTicker.layer(settings)]),
    Layer.provide([PlayerStreams.layer, CurrentWorldData.layer(settings.world)]),
    // what it stands on: the bus with its log, a server that drains, a store
    Layer.provide([WorldBus.layer, NodeServer.layer(settings)]),
    Layer.provide([Storage.layer(settings), Logging.layer(settings)])
  )

Settings.run((settings) =>
  NodeMain.runMain(app(settings), { name: "mud", gracefulShutdownTimeout: settings.shutdownTimeout })
)
