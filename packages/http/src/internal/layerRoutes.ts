/** Routes of the library as Layers for `HttpLayerRouter`. */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import type * as HttpRouter from "@effect/platform/HttpRouter"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"

/** What adds one handler: its services and errors are those of each request, as with `HttpLayerRouter.add`. */
export type AddRoute<E, R> = Layer.Layer<
  never,
  never,
  | HttpLayerRouter.HttpRouter
  | HttpLayerRouter.Request.From<"Requires", Exclude<R, HttpLayerRouter.Provided>>
  | HttpLayerRouter.Request.From<"Error", E>
>

type Handler<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>

/** Options that may come from a service, made while the layer is built. */
export type Made<Options, EX, RX> = Options | Effect.Effect<Options, EX, RX>

/** Adds the handler that the options make, for these methods. */
export const fromHandler = <Options extends object, E, R, EX, RX>(
  method: "*" | "GET",
  path: HttpRouter.PathInput,
  options: Made<Options, EX, RX>,
  make: (options: Options) => Handler<E, R>
) =>
  HttpLayerRouter.addAll(
    Effect.map(Effect.isEffect(options) ? options : Effect.succeed(options), (made) => [
      HttpLayerRouter.route(method, path, make(made))
    ])
  )

/** Adds every route of a router. */
export const fromRouter = <E, R>(router: HttpRouter.HttpRouter<E, R>): AddRoute<E, R> =>
  HttpLayerRouter.addAll(
    Array.from(router.routes, (route) =>
      HttpLayerRouter.route(
        route.method as "GET",
        `${Option.getOrElse(route.prefix, () => "")}${route.path}` as HttpRouter.PathInput,
        route.handler as Handler<E, R>,
        { uninterruptible: route.uninterruptible }
      ))
  )
