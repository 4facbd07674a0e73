/**
 * What a handler under `NodeServer` can get at beyond the platform's `HttpServerRequest`: node's own request and response,
 * and a word to the server on answers that have no end.
 *
 * `NodeHttpServerRequest.toIncomingMessage` and `toServerResponse` work on these requests, too.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Option from "effect/Option"
import type * as Http from "node:http"
import { NodeRequest } from "./internal/server/request.js"

/**
 * Node's own request and response, for a handler that writes for itself. It may write and end the response as it likes;
 * what it returns afterwards is not sent, and a response that it left open is ended.
 *
 * @since 0.1.0
 * @category accessors
 */
export const raw = (
  request: HttpServerRequest.HttpServerRequest
): Option.Option<{ readonly request: Http.IncomingMessage; readonly response: Http.ServerResponse }> =>
  request instanceof NodeRequest
    ? Option.some({ request: request.source, response: request.response })
    : Option.none()

/**
 * Says that this answer has no end of its own, so that a server without a lifecycle does not wait for it when it closes.
 * Event streams and upgraded connections are recognised without it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const markLongLived = (request: HttpServerRequest.HttpServerRequest): void => {
  if (request instanceof NodeRequest) {
    request.exchange.longLived = true
  }
}
