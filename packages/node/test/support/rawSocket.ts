import { Effect } from "effect"
import type { Scope } from "effect"
import * as Net from "node:net"

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly json: Readonly<Record<string, unknown>> | undefined
}

/** A client that is nothing but bytes. */
export interface RawSocket {
  readonly socket: Net.Socket
  readonly write: (data: string | Uint8Array) => void
  /** Everything received so far. */
  readonly received: () => string
  readonly isClosed: () => boolean
  /** Until `predicate` holds or the milliseconds are over; true when it holds. */
  readonly until: (predicate: (received: string) => boolean, milliseconds?: number) => Effect.Effect<boolean>
  readonly closed: (milliseconds?: number) => Effect.Effect<boolean>
  readonly replies: () => ReadonlyArray<Reply>
}

export const connect = (
  port: number,
  options?: { readonly paused?: boolean; readonly allowHalfOpen?: boolean }
): Effect.Effect<RawSocket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<RawSocket>((resume) => {
      const socket = new Net.Socket({ allowHalfOpen: options?.allowHalfOpen ?? false })
      let received = ""
      let closed = false
      const listeners = new Set<() => void>()
      const wake = () => listeners.forEach((f) => f())
      socket.on("error", () => {})
      socket.on("close", () => {
        closed = true
        wake()
      })
      if (options?.paused === true) {
        socket.pause()
      } else {
        socket.on("data", (data) => {
          received += data.toString("latin1")
          wake()
        })
      }
      const wait = (holds: () => boolean, milliseconds: number) =>
        Effect.async<boolean>((resume) => {
          const check = () => {
            if (holds()) {
              done(true)
            }
          }
          const done = (value: boolean) => {
            clearTimeout(timer)
            listeners.delete(check)
            resume(Effect.succeed(value))
          }
          const timer = setTimeout(() => done(holds()), milliseconds)
          listeners.add(check)
          check()
        })
      socket.connect({ port, host: "127.0.0.1" }, () =>
        resume(Effect.succeed({
          socket,
          write: (data) => {
            socket.write(data)
          },
          received: () => received,
          isClosed: () => closed,
          until: (predicate, milliseconds = 5000) => wait(() => predicate(received), milliseconds),
          closed: (milliseconds = 5000) => wait(() => closed, milliseconds),
          replies: () => parseReplies(received)
        })))
    }),
    (raw) => Effect.sync(() => raw.socket.destroy())
  )

/** The complete replies in what was received. */
export const parseReplies = (text: string): ReadonlyArray<Reply> => {
  const replies: Array<Reply> = []
  let rest = text
  for (;;) {
    const end = rest.indexOf("\r\n\r\n")
    if (end === -1) {
      return replies
    }
    const [first, ...lines] = rest.slice(0, end).split("\r\n")
    const status = Number(first.split(" ")[1])
    const headers = Object.fromEntries(lines.map((line) => {
      const colon = line.indexOf(":")
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }))
    rest = rest.slice(end + 4)
    let body = ""
    if (status === 100) {
      replies.push({ status, headers, body, json: undefined })
      continue
    }
    if (headers["content-length"] !== undefined) {
      const length = Number(headers["content-length"])
      if (rest.length < length) {
        return replies
      }
      body = rest.slice(0, length)
      rest = rest.slice(length)
    } else if (headers["transfer-encoding"] === "chunked") {
      for (;;) {
        const line = rest.indexOf("\r\n")
        if (line === -1) {
          return replies
        }
        const size = Number.parseInt(rest.slice(0, line), 16)
        if (rest.length < line + 2 + size + 2) {
          return replies
        }
        body += rest.slice(line + 2, line + 2 + size)
        rest = rest.slice(line + 2 + size + 2)
        if (size === 0) {
          break
        }
      }
    }
    replies.push({ status, headers, body, json: body.startsWith("{") ? JSON.parse(body) : undefined })
  }
}
