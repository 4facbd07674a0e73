/**
 * Who may look at the operator's page and press its buttons.
 *
 * With an operator's token, whoever has it. Without one, a browser on this very machine: the connection comes from a
 * loopback address, no proxy has passed it on, and the page that asks was loaded from here (a page of another site
 * can reach a loopback address too, and may have made a name of its own point to it).
 *
 * @since 0.1.0
 */
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Effect, Option, type Redacted } from "effect"
import { sameSecret } from "./Tokens.js"

const loopbackNames = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i
const loopbackAddress = /^(?:::ffff:)?127(?:\.\d{1,3}){3}$|^::1$/

/**
 * Whether a request may act as the operator's.
 *
 * @since 0.1.0
 * @category checks
 */
export const allows = (
  request: {
    readonly headers: Readonly<Record<string, string | undefined>>
    readonly remoteAddress: Option.Option<string>
  },
  token: Redacted.Redacted | undefined
): boolean => {
  const { headers } = request
  if (token !== undefined) {
    const given = /^Bearer\s+(\S+)$/i.exec(headers["authorization"] ?? "")?.[1]
    return given !== undefined && sameSecret(given, token)
  }
  if (headers["x-forwarded-for"] !== undefined || headers["forwarded"] !== undefined) return false
  if (!Option.exists(request.remoteAddress, (address) => loopbackAddress.test(address))) return false
  const host = headers["host"] ?? ""
  if (!loopbackNames.test(host)) return false
  const origin = headers["origin"]
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) return false
  return headers["sec-fetch-site"] === undefined || ["same-origin", "none"].includes(headers["sec-fetch-site"])
}

/**
 * Fails with 401 when the request may not act as the operator's.
 *
 * @since 0.1.0
 * @category checks
 */
export const check = (
  token: Redacted.Redacted | undefined
): Effect.Effect<void, HttpErrors.HttpError, HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
    allows(request, token) ? Effect.void : Effect.fail(
      HttpErrors.make(
        "Unauthorized",
        token === undefined
          ? "Without an operator's token this is for a browser on the same machine."
          : "This is for the operator.",
        { field: "authorization", expected: "Authorization: Bearer <the operator's token>" },
        { status: 401 }
      )
    ))
