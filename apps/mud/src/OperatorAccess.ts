/**
 * Who may look at the operator's page and press its buttons: the library's guard, with what the settings say.
 *
 * Without a token one is made for this run, and the banner prints the link that holds it.
 *
 * @since 0.1.0
 */
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import type { Settings } from "./Settings.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = ({ operatorOrigin, operatorToken, operatorViewerToken }: Settings) =>
  OperatorGuard.layer({
    token: operatorToken,
    viewerToken: operatorViewerToken,
    origins: operatorOrigin === undefined ? [] : [operatorOrigin]
  })
