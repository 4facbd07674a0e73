/**
 * The application: this list is what runs. What it stands on is left open for `Program.ts`, and for tests, to provide: a
 * server, files, and where the state is kept.
 *
 * @since 0.1.0
 */
import * as Audit from "@holdfast/core/Audit"
import { Layer } from "effect"
import * as Banner from "./Banner.js"
import * as Characters from "./Characters.js"
import * as CurrentWorldData from "./data/CurrentWorldData.js"
import * as Game from "./Game.js"
import * as Housekeeping from "./Housekeeping.js"
import * as Operator from "./Operator.js"
import * as Players from "./Players.js"
import * as PlayerStreams from "./PlayerStreams.js"
import type { Settings } from "./Settings.js"
import * as TimeAndWeather from "./TimeAndWeather.js"
import * as Tokens from "./Tokens.js"
import * as Web from "./Web.js"
import * as WorldBus from "./WorldBus.js"
import * as WorldMetrics from "./WorldMetrics.js"
import * as WorldReload from "./WorldReload.js"
import * as WorldTicker from "./WorldTicker.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Settings) =>
  Banner.layer(settings).pipe(
    // what acts: requests, the sky, characters, sleepers, new data
    Layer.provide([Web.layer(settings), TimeAndWeather.layer, Characters.layer, Housekeeping.layer, WorldReload.layer]),
    Layer.provide([Players.layer(settings), WorldMetrics.layer]),
    Layer.provide([Operator.layer(settings), Audit.layer({ orphanAfter: "3 seconds" })]),
    // the world: one writer, the streams that show it, the clock that moves it
    Layer.provide([Game.layer(settings), Tokens.layer(settings), WorldTicker.layer(settings)]),
    Layer.provide([PlayerStreams.layer(settings), CurrentWorldData.layer(settings.world)]),
    // everything that happens goes over the bus, and into its log first
    Layer.provide(WorldBus.layer)
  )
