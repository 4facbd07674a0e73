/** Two sockets that are each other's peer, with bounded buffers between them. */
import * as Socket from "@effect/platform/Socket"
import * as Race from "@holdfast/core/Race"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { Channel } from "./channel.js"

type Message = string | Uint8Array

export interface End {
  readonly socket: Socket.Socket
  /** as the network does it: without a word from the program */
  readonly close: (code: number, reason?: string) => Effect.Effect<void>
}

type Pipe = Channel<Message, Socket.SocketCloseError>

const closed = (code: number, closeReason?: string) =>
  new Socket.SocketCloseError({ reason: "Close", code, ...(closeReason === undefined ? {} : { closeReason }) })

const encoder = new TextEncoder()

const makeEnd = (incoming: Pipe, outgoing: Pipe): End => {
  const close = (code: number, reason?: string) =>
    // both directions: the peer hears of it, and so does whoever reads here
    Effect.zipRight(outgoing.done(Exit.fail(closed(code, reason))), incoming.done(Exit.fail(closed(code, reason))))
  const runRaw: Socket.Socket["runRaw"] = (handler, options) =>
    Effect.scopedWith((scope) =>
      Effect.gen(function*() {
        const failed = yield* Deferred.make<never, unknown>()
        if (options?.onOpen !== undefined) yield* options.onOpen
        const read = Effect.flatMap(incoming.take, (message) => {
          const result = handler(message)
          return Effect.isEffect(result)
            ? Effect.forkIn(Effect.catchAllCause(result, (cause) => Deferred.failCause(failed, cause)), scope)
            : Effect.void
        }).pipe(Effect.forever)
        return yield* Race.first(read, Deferred.await(failed))
      })
    ).pipe(
      Effect.catchIf(
        (error) => Socket.SocketCloseError.is(error) && !Socket.defaultCloseCodeIsError(error.code),
        () => Effect.void
      ),
      Effect.ensuring(close(1000)),
      Effect.interruptible
    ) as never
  const socket: Socket.Socket = {
    [Socket.TypeId]: Socket.TypeId,
    runRaw,
    run: (handler, options) =>
      runRaw((data) => handler(typeof data === "string" ? encoder.encode(data) : data), options),
    writer: Effect.succeed((chunk) =>
      Socket.isCloseEvent(chunk)
        ? close(chunk.code, chunk.reason)
        : Effect.flatMap(
          outgoing.offer(chunk),
          (accepted) =>
            accepted
              ? Effect.void
              : new Socket.SocketGenericError({ reason: "Write", cause: new Error("the socket is closed") })
        )
    )
  }
  return { socket, close }
}

export const makePair = (capacity: number): readonly [End, End] => {
  const there: Pipe = new Channel(capacity)
  const back: Pipe = new Channel(capacity)
  return [makeEnd(back, there), makeEnd(there, back)]
}
