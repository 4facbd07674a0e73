/**
 * What the operator can see and do over HTTP. Every route asks the guard of {@link OperatorAccess} first.
 *
 * | request | body |
 * |---|---|
 * | `GET /operator/snapshot` | |
 * | `GET /operator/events` | a stream of snapshots, one a second |
 * | `POST /api/admin/announce` | `{ text }` |
 * | `POST /api/admin/kick` | `{ player }`, an id or a name |
 * | `POST /api/admin/shutdown` | `{}` |
 *
 * What is posted needs what an act needs: the operator's token, an origin of this page, and the header `x-operator-act`.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as OperatorGuard from "@holdfast/http/OperatorGuard"
import * as SseRoute from "@holdfast/http/SseRoute"
import { Effect, Schema } from "effect"
import * as Joining from "./domain/Joining.js"
import { clean } from "./domain/Words.js"
import * as World from "./domain/World.js"
import { Game } from "./Game.js"
import * as OperatorFeed from "./OperatorFeed.js"

const Announcement = Schema.Struct({ text: Schema.NonEmptyString.pipe(Schema.maxLength(400)) })

const ok = HttpServerResponse.unsafeJson({ _tag: "Done" })

/**
 * The routes of the operator.
 *
 * @since 0.1.0
 * @category routes
 */
export const router = Effect.gen(function*() {
  const feed = yield* OperatorFeed.OperatorFeed
  const game = yield* Game
  const guard = yield* OperatorGuard.OperatorGuard
  const lifecycle = yield* Lifecycle.Lifecycle
  return HttpRouter.empty.pipe(
    SseRoute.mount("/operator/events", {
      hub: feed.hub,
      format: OperatorFeed.format,
      authorize: () => Effect.as(guard.visitor, { following: [{ topic: "operator" }] })
    }),
    HttpRouter.get(
      "/operator/snapshot",
      Effect.zipRight(guard.visitor, Effect.map(feed.snapshot, (snapshot) => HttpServerResponse.unsafeJson(snapshot)))
    ),
    HttpRouter.post(
      "/api/admin/announce",
      guard.act(
        "announce",
        Announcement,
        ({ text }) => Effect.as(game.publish(() => [{ _tag: "Announced", by: "The operator", text: clean(text) }]), ok)
      )
    ),
    HttpRouter.post(
      "/api/admin/kick",
      guard.act("kick", Schema.Struct({ player: Schema.String }), ({ player }) =>
        Effect.gen(function*() {
          const { facts } = yield* game.publish((_, world) =>
            Joining.sleep(world, World.playerNamed(world, player)?.id ?? player, "kicked")
          )
          if (facts.length > 0) return ok
          return yield* HttpErrors.make("NoSuchPlayer", "Nobody of that id or name is awake.", {
            field: "player",
            expected: "the id or the name of a player who is awake"
          }, { status: 404 })
        }))
    ),
    HttpRouter.post(
      "/api/admin/shutdown",
      guard.act(
        "shutdown",
        Schema.Struct({}),
        () => Effect.as(lifecycle.requestShutdown({ _tag: "Requested", by: "operator" }), ok)
      )
    )
  )
})
