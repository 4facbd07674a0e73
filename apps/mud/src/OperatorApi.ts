/**
 * What the operator can see and do over HTTP. Every route asks {@link OperatorAccess} first.
 *
 * | request | body |
 * |---|---|
 * | `GET /operator/snapshot` | |
 * | `GET /operator/events` | a stream of snapshots, one a second |
 * | `POST /api/admin/announce` | `{ text }` |
 * | `POST /api/admin/kick` | `{ player }`, an id or a name |
 * | `POST /api/admin/shutdown` | `{}` |
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseRoute from "@holdfast/http/SseRoute"
import { Effect, Schema } from "effect"
import * as Joining from "./domain/Joining.js"
import { clean } from "./domain/Words.js"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import * as OperatorAccess from "./OperatorAccess.js"
import * as OperatorFeed from "./OperatorFeed.js"
import type { Settings } from "./Settings.js"

const ok = HttpServerResponse.unsafeJson({ _tag: "Done" })

/**
 * The routes of the operator.
 *
 * @since 0.1.0
 * @category routes
 */
export const router = ({ operatorToken }: Settings) =>
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
          yield* game.publish(() => [{ _tag: "Announced", by: "The operator", text: clean(text) }])
          return ok
        })
      ),
      HttpRouter.post(
        "/api/admin/kick",
        Effect.gen(function*() {
          const { player } = yield* asked(Schema.Struct({ player: Schema.String }))
          const { facts } = yield* game.publish((_, world) =>
            Joining.sleep(world, World.playerNamed(world, player)?.id ?? player, "kicked")
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
