/**
 * Everything that is asked over HTTP: the pages, what players do, both streams, health and metrics.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as Health from "@holdfast/http/Health"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as Metrics from "@holdfast/http/Metrics"
import * as SseRoute from "@holdfast/http/SseRoute"
import * as NodeSseSink from "@holdfast/node/NodeSseSink"
import { Effect, Layer, Option, Schema, type Scope } from "effect"
import * as Decide from "./domain/Decide.js"
import { clean } from "./domain/Words.js"
import * as World from "./domain/World.js"
import * as Faults from "./Faults.js"
import { Game } from "./Game.js"
import * as OperatorAccess from "./OperatorAccess.js"
import * as OperatorFeed from "./OperatorFeed.js"
import * as Pages from "./Pages.js"
import * as Api from "./PlayerApi.js"
import { Players } from "./Players.js"
import * as PlayerStreams from "./PlayerStreams.js"
import type { Settings } from "./Settings.js"

const maxBody = 16 * 1024

/** `GET /events`: what a player may see, from where it left off. */
const playerStream = (faults: Effect.Effect<void, never, Scope.Scope>) =>
  Effect.gen(function*() {
    const players = yield* Players
    const game = yield* Game
    const { hub } = yield* PlayerStreams.PlayerStreams
    return SseRoute.mount("/events", {
      hub,
      format: PlayerStreams.format,
      authorize: ({ lastEventId }) =>
        Effect.gen(function*() {
          const claim = yield* Effect.flatMap(Api.tokenOf(), players.authorize)
          yield* faults
          yield* players.arrive(claim)
          const { world } = yield* game.now
          const windows = yield* game.windows(claim.player)
          // Without an id to begin after, it begins now.
          const following = lastEventId === undefined
            ? windows.filter(({ upTo }) => upTo === undefined).map((window) => ({
              ...window,
              after: Math.max(window.after, world.lastId)
            }))
            : windows
          return { principal: claim.player, following }
        })
    })
  })

const ok = HttpServerResponse.unsafeJson({ _tag: "Done" })

/** What the operator may do and see. */
const operator = ({ operatorToken }: Settings) =>
  Effect.gen(function*() {
    const feed = yield* OperatorFeed.OperatorFeed
    const game = yield* Game
    const lifecycle = yield* Lifecycle.Lifecycle
    const guarded = OperatorAccess.check(operatorToken)
    const asked = <A, I>(schema: Schema.Schema<A, I>) => Effect.zipRight(guarded, HttpErrors.bodyJson(schema))
    return HttpRouter.empty.pipe(
      SseRoute.mount("/operator/events", {
        hub: feed.hub,
        format: OperatorFeed.format,
        authorize: () => Effect.as(guarded, { following: [{ topic: "operator" }] })
      }),
      HttpRouter.get(
        "/operator/snapshot",
        Effect.zipRight(guarded, Effect.map(feed.snapshot, (snapshot) => HttpServerResponse.unsafeJson(snapshot)))
      ),
      HttpRouter.post(
        "/api/admin/announce",
        Effect.gen(function*() {
          const { text } = yield* asked(Schema.Struct({ text: Schema.NonEmptyString.pipe(Schema.maxLength(400)) }))
          yield* game.happen(() => [{ _tag: "Announced", by: "The operator", text: clean(text) }])
          return ok
        })
      ),
      HttpRouter.post(
        "/api/admin/kick",
        Effect.gen(function*() {
          const { player } = yield* asked(Schema.Struct({ player: Schema.String }))
          const { facts } = yield* game.happen((_, world) =>
            Decide.sleep(world, World.playerNamed(world, player)?.id ?? player, "kicked")
          )
          if (facts.length > 0) return ok
          return yield* HttpErrors.make("NoSuchPlayer", "Nobody of that id or name is awake.", {
            field: "player",
            expected: "the id or the name of a player who is awake"
          }, { status: 404 })
        })
      ),
      HttpRouter.post(
        "/api/admin/shutdown",
        Effect.gen(function*() {
          yield* asked(Schema.Struct({}))
          yield* lifecycle.requestShutdown({ _tag: "Requested", by: "operator" })
          return ok
        })
      )
    )
  })

/**
 * Serves it all.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Settings) =>
  Effect.gen(function*() {
    const router = HttpRouter.concatAll(
      yield* Pages.make,
      Api.router,
      Health.routes(),
      Metrics.routes(),
      yield* operator(settings)
    ).pipe(yield* playerStream(Faults.make(process.env["HOLDFAST_FAULT"])))
    return HttpErrors.handled(router, { problem: Api.problem }).pipe(
      HttpServerRequest.withMaxBodySize(Option.some(maxBody)),
      HttpServer.serve()
    )
  }).pipe(Layer.unwrapEffect, Layer.provide([Health.layer(), NodeSseSink.layer]))
