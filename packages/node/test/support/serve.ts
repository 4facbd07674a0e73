import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type * as InvalidOption from "@holdfast/core/InvalidOption"
import * as NodeServer from "@holdfast/node/NodeServer"
import { Context, Effect, Layer, Logger, LogLevel } from "effect"
import type { Scope } from "effect"

/** Serves an app on a free port, in the calling test's scope, without log lines. */
export const serve = <E>(
  app: HttpApp.Default<E, Scope.Scope>,
  options: NodeServer.Options = {}
): Effect.Effect<
  { readonly server: Context.Tag.Service<NodeServer.NodeServer>; readonly port: number; readonly url: string },
  NodeServer.ListenError | InvalidOption.InvalidOption,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      HttpServer.serve(app).pipe(
        Layer.provideMerge(NodeServer.layerServer({ port: 0, ...options })),
        Layer.provide(Logger.minimumLogLevel(LogLevel.None))
      )
    )
    const server = Context.get(context, NodeServer.NodeServer)
    const { port } = server.address as HttpServer.TcpAddress
    return { server, port, url: `http://127.0.0.1:${port}` }
  })

/** Asks again every few milliseconds of real time; the value, as it is when it holds or when the time is over. */
export const eventually = <A, E, R>(
  ask: Effect.Effect<A, E, R>,
  holds: (a: A) => boolean,
  milliseconds = 5000
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const end = Date.now() + milliseconds
    for (;;) {
      const value = yield* ask
      if (holds(value) || Date.now() > end) {
        return value
      }
      yield* Effect.async<void>((resume) => {
        setTimeout(() => resume(Effect.void), 5)
      })
    }
  })

/** The request fibers in the census. */
export const requests = Effect.flatMap(
  FiberRegistry.FiberRegistry,
  (registry) => Effect.map(registry.census, (entries) => entries.filter((entry) => entry.kind === "request"))
)
