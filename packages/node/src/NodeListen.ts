/**
 * Listening, with errors that say what to do.
 *
 * @since 0.1.0
 */
import type * as HttpServer from "@effect/platform/HttpServer"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Net from "node:net"

/**
 * The server could not listen. The message says what to do about it.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenError extends Data.TaggedError("ListenError")<{
  readonly reason: "PortInUse" | "PermissionDenied" | "AddressUnavailable" | "InvalidOptions" | "Other"
  readonly at: string
  readonly cause: unknown
}> {
  override get message(): string {
    switch (this.reason) {
      case "PortInUse":
        return this.at.includes(":")
          ? `cannot listen on ${this.at}: the port is in use. Stop the other process, or choose another port (0 for any free one).`
          : `cannot listen on ${this.at}: the socket file exists. Stop its process, or remove the file if nobody uses it.`
      case "PermissionDenied":
        return `cannot listen on ${this.at}: permission denied. Ports below 1024 need a privilege; choose a higher one.`
      case "AddressUnavailable":
        return `cannot listen on ${this.at}: this machine has no such address. Use 127.0.0.1 for loopback, 0.0.0.0 for every interface.`
      default:
        return `cannot listen on ${this.at}: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
    }
  }
}

/**
 * Listens, and tells where.
 *
 * @since 0.1.0
 * @category constructors
 */
export const listen = (
  server: Net.Server,
  settings: { readonly host: string; readonly port: number; readonly path: string | undefined }
): Effect.Effect<HttpServer.Address, ListenError> =>
  Effect.async((resume) => {
    const at = settings.path ?? `${settings.host}:${settings.port}`
    const fail = (cause: unknown) => resume(Effect.fail(new ListenError({ reason: listenReason(cause), at, cause })))
    server.once("error", fail)
    const listening = () => {
      server.off("error", fail)
      server.on("error", () => {})
      const address = server.address()
      resume(Effect.succeed(
        address === null || typeof address === "string"
          ? { _tag: "UnixAddress", path: address ?? "" }
          : { _tag: "TcpAddress", hostname: address.address === "::" ? "0.0.0.0" : address.address, port: address.port }
      ))
    }
    // Node throws for a port out of range.
    try {
      server.listen(
        settings.path === undefined ? { port: settings.port, host: settings.host } : { path: settings.path },
        listening
      )
    } catch (cause) {
      fail(cause)
    }
  })

const listenReason = (cause: unknown): ListenError["reason"] => {
  switch ((cause as { readonly code?: string } | null)?.code) {
    case "EADDRINUSE":
      return "PortInUse"
    case "EACCES":
      return "PermissionDenied"
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return "AddressUnavailable"
    case "ERR_SOCKET_BAD_PORT":
      return "InvalidOptions"
    default:
      return "Other"
  }
}
