/**
 * What the operator's console stands on: the guard, with what the settings say, and how the process before this one ended.
 *
 * Without a token one is made for this run, and the banner prints the link that holds it.
 *
 * @since 0.1.0
 */
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import * as NodeLastShutdown from "@holdfast/node/NodeLastShutdown"
import * as NodeProbes from "@holdfast/node/NodeProbes"
import { Layer } from "effect"
import { join } from "node:path"
import type { Settings } from "./Settings.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = ({ data, operatorOrigin, operatorToken, operatorViewerToken }: Settings) =>
  Layer.mergeAll(
    OperatorGuard.layer({
      token: operatorToken,
      viewerToken: operatorViewerToken,
      origins: operatorOrigin === undefined ? [] : [operatorOrigin]
    }),
    NodeProbes.layer,
    data === "memory" ? Layer.empty : NodeLastShutdown.layer({ file: join(data, "last-shutdown.json") })
  )
