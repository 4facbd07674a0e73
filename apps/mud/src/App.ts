/**
 * The application: this list is what runs. What it stands on is left open for `Program.ts`, and for tests, to provide: a
 * server, files, and where the state is kept.
 *
 * @since 0.1.0
 */
import * as Audit from "@holdfast/core/Audit"
import * as Leadership from "@holdfast/core/Leadership"
import * as Presence from "@holdfast/core/Presence"
import { Layer } from "effect"
import * as Banner from "./Banner.js"
import * as CurrentWorldData from "./data/CurrentWorldData.js"
import * as Game from "./Game.js"
import * as Housekeeping from "./Housekeeping.js"
import * as Nodes from "./Nodes.js"
import * as Operator from "./Operator.js"
import * as Players from "./Players.js"
import * as PlayerStreams from "./PlayerStreams.js"
import type { Settings } from "./Settings.js"
import * as Tokens from "./Tokens.js"
import * as Web from "./Web.js"
import * as WorldBus from "./WorldBus.js"
import * as WorldFold from "./WorldFold.js"
import * as WorldMetrics from "./WorldMetrics.js"
import * as WorldOwner from "./WorldOwner.js"
import * as WorldReload from "./WorldReload.js"
import * as WorldTicker from "./WorldTicker.js"

const world = (settings: Settings) =>
  Banner.layer(settings).pipe(
    // what acts: requests, sleepers, new data
    Layer.provide([Web.layer(settings), Housekeeping.layer, WorldReload.layer]),
    Layer.provide([Players.layer(settings), WorldMetrics.layer, Nodes.layer]),
    Layer.provide([Operator.layer(settings), Audit.layer({ orphanAfter: "3 seconds" })]),
    // of all nodes one: the sky, characters, snapshots
    Layer.provide(WorldOwner.layer),
    // the world: its decisions, the streams that show it, the clock that moves it
    Layer.provide([Game.layer, Tokens.layer(settings), WorldTicker.layer(settings)]),
    Layer.provide(PlayerStreams.layer(settings)),
    // its state, folded of what happened
    Layer.provide(WorldFold.layer(settings)),
    Layer.provide(CurrentWorldData.layer(settings.world))
  )

/**
 * The only node of its world: everything that happens goes over the bus, and into its log first.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Settings) =>
  world(settings).pipe(Layer.provide([WorldBus.layer, Leadership.layerAlone, Presence.layerLocal]))

/**
 * One of several nodes of a world: everything that happens goes over a journal that all of them write.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerShared = (settings: Settings) => world(settings).pipe(Layer.provide(WorldBus.layerShared))
