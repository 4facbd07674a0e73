/**
 * What players can ask over HTTP. Every answer is JSON; what happens comes over `/events`.
 *
 * | request | body |
 * |---|---|
 * | `POST /api/join` | `{ name }` for somebody new, `{ token }` to come back |
 * | `POST /api/leave` | `{}`: gives up the name for good |
 * | `GET /api/door` | what anybody is told before joining |
 * | `GET /api/map` | the rooms that the player has been in |
 * | `POST /api/command` | `{ line }`, as typed |
 * | `POST /api/move` | `{ direction }` |
 * | `POST /api/say` | `{ text }` |
 * | `POST /api/look` | `{ target? }` |
 * | `GET /events` | a stream of what happens, after `Last-Event-ID` |
 *
 * The token goes into `Authorization: Bearer …`, or into the body as `token`.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import * as SseRoute from "@holdfast/http/SseRoute"
import { Effect, Either, Option, Schema, type Scope } from "effect"
import * as Address from "./Address.js"
import * as Command from "./domain/Command.js"
import { isRefusal, type Refusal } from "./domain/Refusal.js"
import * as World from "./domain/World.js"
import { Game, Unavailable } from "./Game.js"
import { Players } from "./Players.js"
import * as PlayerStreams from "./PlayerStreams.js"
import type { Settings } from "./Settings.js"

const Text = Schema.String.pipe(Schema.maxLength(2_000))
const token = { token: Schema.optional(Schema.String) }

/**
 * The token of a request: its `Authorization` header, `?token=`, or what its body said.
 *
 * @since 0.1.0
 * @category requests
 */
export const tokenOf = (
  body?: string
): Effect.Effect<string, HttpErrors.HttpError, HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const header = /^Bearer\s+(\S+)$/i.exec(request.headers["authorization"] ?? "")?.[1]
    const query = new URLSearchParams(request.url.split("?")[1] ?? "").get("token") ?? undefined
    const found = header ?? body ?? query
    return found === undefined
      ? Effect.fail(
        HttpErrors.make("Unauthorized", "Join first: POST /api/join with a name gives a token.", {
          field: "token",
          expected: "Authorization: Bearer <token>"
        }, { status: 401, headers: { "www-authenticate": "Bearer" } })
      )
      : Effect.succeed(found)
  })

/** A refusal of the world as an answer: its own tag and fields, and the status that fits best. */
const asProblem = (refusal: Refusal): HttpErrors.HttpError =>
  HttpErrors.make(refusal._tag, refusal.message, {
    field: refusal.field,
    expected: refusal.expected,
    ...(refusal.suggestion === undefined ? {} : { suggestion: refusal.suggestion }),
    ...(refusal.offers === undefined ? {} : { offers: refusal.offers })
  }, { status: refusal.status })

const JoinBody = Schema.Struct({
  name: Schema.optional(Text),
  operatorToken: Schema.optional(Text),
  ...token
})

/** One command as a route: its body, and the command that it stands for. */
const route = <A extends { readonly token?: string | undefined }, I>(
  schema: Schema.Schema<A, I>,
  command: (body: A) => Either.Either<Command.Command, Refusal>
) =>
  Effect.gen(function*() {
    const players = yield* Players
    const body = yield* HttpErrors.bodyJson(schema)
    const claim = yield* Effect.flatMap(tokenOf(body.token), players.authorize)
    const parsed = command(body)
    if (Either.isLeft(parsed)) return yield* asProblem(parsed.left)
    const reply = yield* players.act(claim, parsed.right)
    return HttpServerResponse.unsafeJson({ reply }, noStore)
  })

const noStore = { headers: { "cache-control": "no-store" } }

const join = (settings: Pick<Settings, "proxies">) =>
  Effect.gen(function*() {
    const players = yield* Players
    const request = yield* HttpServerRequest.HttpServerRequest
    const { name, operatorToken, token: again } = yield* HttpErrors.bodyJson(JoinBody)
    if (again === undefined && name === undefined) {
      return yield* HttpErrors.make("InvalidRequest", "name: is missing", {
        field: "name",
        expected: "a name for somebody new, or a token to come back"
      })
    }
    const joined = again !== undefined
      ? yield* players.rejoin(again, Address.of(request, settings.proxies))
      : yield* players.join({
        name: name!,
        address: Address.of(request, settings.proxies),
        ...(operatorToken === undefined ? {} : { operatorToken })
      })
    return HttpServerResponse.unsafeJson(joined, noStore)
  })

const answer = (body: object) => HttpServerResponse.unsafeJson(body, noStore)

/** Who asks, by the token of the request. */
const claimed = Effect.flatMap(Players, (players) => Effect.flatMap(tokenOf(), players.authorize))

const leave = Effect.gen(function*() {
  const players = yield* Players
  yield* HttpErrors.bodyJson(Schema.Struct({}))
  yield* players.leaveForGood(yield* claimed)
  return answer({ _tag: "Done" })
})

const map = Effect.gen(function*() {
  const players = yield* Players
  return answer(yield* players.mapOf(yield* claimed))
})

/**
 * The routes of the players.
 *
 * @since 0.1.0
 * @category routes
 */
export const router = (settings: Pick<Settings, "proxies">) =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/api/door", Effect.flatMap(Players, ({ door }) => Effect.map(door, answer))),
    HttpRouter.post("/api/join", join(settings)),
    HttpRouter.post("/api/leave", leave),
    HttpRouter.get("/api/map", map),
    HttpRouter.post("/api/command", route(Schema.Struct({ line: Text, ...token }), ({ line }) => Command.parse(line))),
    HttpRouter.post(
      "/api/move",
      route(
        Schema.Struct({ direction: Text, ...token }),
        ({ direction }) => Either.map(Command.parseDirection(direction), (to) => ({ _tag: "Go", direction: to }))
      )
    ),
    HttpRouter.post(
      "/api/say",
      route(Schema.Struct({ text: Text, ...token }), ({ text }) => Either.right({ _tag: "Say", text }))
    ),
    HttpRouter.post(
      "/api/look",
      route(
        Schema.Struct({ target: Schema.optional(Text), ...token }),
        ({ target }) => Either.right({ _tag: "Look", ...(target === undefined ? {} : { target }) })
      )
    )
  )

/**
 * Adds `GET /events`: what a player may see, from where it left off. `faults` runs in the scope of each stream.
 *
 * @since 0.1.0
 * @category routes
 */
export const events = (settings: Pick<Settings, "proxies">, faults: Effect.Effect<void, never, Scope.Scope>) =>
  Effect.gen(function*() {
    const players = yield* Players
    const game = yield* Game
    const { hub } = yield* PlayerStreams.PlayerStreams
    return SseRoute.mount("/events", {
      hub,
      format: PlayerStreams.format,
      address: (request) => Address.of(request, settings.proxies),
      authorize: ({ lastEventId }) =>
        Effect.gen(function*() {
          const claim = yield* Effect.flatMap(tokenOf(), players.authorize)
          yield* faults
          const request = yield* HttpServerRequest.HttpServerRequest
          yield* players.arrive(claim, Address.of(request, settings.proxies))
          // Asked when the session begins: its player may walk on in the meantime.
          const following = Effect.map(game.now, ({ world }) => {
            const windows = World.windowsOf(world, claim.player)
            // Without an id to begin after, it begins now.
            return lastEventId === undefined
              ? windows.filter(({ upTo }) => upTo === undefined).map((window) => ({
                ...window,
                after: Math.max(window.after, world.lastId)
              }))
              : windows
          })
          return { principal: claim.player, following }
        })
    })
  })

/**
 * The problem of anything that a player's request fails with.
 *
 * @since 0.1.0
 * @category requests
 */
export const problem = (error: unknown): Option.Option<HttpErrors.Problem> => {
  if (isRefusal(error)) return Option.some(asProblem(error).problem)
  if (!(error instanceof Unavailable)) return Option.none()
  return Option.some(
    HttpErrors.make("Unavailable", error.message, { expected: error.expected }, {
      status: 503,
      headers: { "retry-after": "2" }
    }).problem
  )
}
