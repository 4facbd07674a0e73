/**
 * Players and their sessions: joining, waking and falling asleep; who is allowed what, and how often.
 *
 * A player falls asleep when it is silent for too long (`idle`) or when nothing of it is connected any more (`lost`). What
 * fell asleep by a lost connection wakes by itself when the connection is back; the others have to join again.
 *
 * @since 0.1.0
 */
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Clock, Context, Duration, Effect, Either, Layer, Option } from "effect"
import type { Command } from "./domain/Command.js"
import * as Decide from "./domain/Decide.js"
import * as Joining from "./domain/Joining.js"
import * as Refusals from "./domain/Refusal.js"
import type { Reply } from "./domain/Reply.js"
import * as World from "./domain/World.js"
import type { RoomView } from "./domain/WorldEvent.js"
import { Game, type Unavailable } from "./Game.js"
import * as Limits from "./Limits.js"
import type { Settings } from "./Settings.js"
import { type Claim, sameSecret, Tokens } from "./Tokens.js"

/**
 * What somebody who joined is told.
 *
 * @since 0.1.0
 * @category models
 */
export interface Joined {
  readonly player: { readonly id: string; readonly name: string }
  readonly token: string
  /** The id up to which `view` is already true: a stream is opened after it. */
  readonly after: number
  readonly welcome: string
  readonly view: RoomView
}

type Failure = Refusals.Refusal | Unavailable | HttpErrors.HttpError

/**
 * @since 0.1.0
 * @category tags
 */
export class Players extends Context.Tag("@holdfast/mud/Players")<Players, {
  readonly join: (
    options: { readonly name: string; readonly operatorToken?: string; readonly address: string }
  ) => Effect.Effect<Joined, Failure>
  /** Comes back as a player that exists, awake or asleep. */
  readonly rejoin: (token: string) => Effect.Effect<Joined, Failure>
  readonly act: (claim: Claim, command: Command) => Effect.Effect<Reply, Failure>
  readonly authorize: (token: string) => Effect.Effect<Claim, HttpErrors.HttpError>
  /** Whether a player may open a stream; one whose connection was lost wakes up. */
  readonly arrive: (claim: Claim) => Effect.Effect<World.Player, Failure>
  /** Lets everybody fall asleep for whom it is time. `connected` says who has a stream. */
  readonly sweep: (connected: (player: string) => boolean) => Effect.Effect<void, Unavailable>
}>() {}

const unauthorized = () =>
  HttpErrors.make("Unauthorized", "This token is not known here. Join again.", {
    field: "token",
    expected: "the token that joining gave"
  }, { status: 401 })

const tooFast = (field: string, millis: number) =>
  HttpErrors.make("TooFast", "Not so fast.", { field, expected: "a little patience", retryAfterMillis: millis }, {
    status: 429,
    headers: { "retry-after": String(Math.ceil(millis / 1_000)) }
  })

/** How many sleeping players are remembered. */
const sleepers = 10_000

const make = (settings: Settings) =>
  Effect.gen(function*() {
    const game = yield* Game
    const tokens = yield* Tokens
    const lifecycle = yield* Lifecycle.Lifecycle
    const commands = Limits.make({ burst: 12, perSecond: 4 })
    const joins = Limits.make({ burst: settings.joinRate * 5, perSecond: settings.joinRate })
    const idle = Duration.toMillis(settings.idleTimeout)
    const linger = Duration.toMillis(settings.linger)
    /** When a player last did something, and when it was last seen connected. */
    const active = new Map<string, number>()
    const seen = new Map<string, number>()

    const touch = (id: string, now: number) => {
      active.set(id, now)
      seen.set(id, now)
    }

    const limited = (limiter: Limits.Limiter, key: string, field: string) =>
      Effect.flatMap(limiter.take(key), (millis) => millis > 0 ? Effect.fail(tooFast(field, millis)) : Effect.void)

    const welcome = (claim: Claim) =>
      Effect.gen(function*() {
        const { data, world } = yield* game.now
        const player = World.playerById(world, claim.player)
        if (player === undefined) return yield* unauthorized()
        touch(player.id, yield* Clock.currentTimeMillis)
        return {
          player: { id: player.id, name: player.name },
          token: tokens.issue(claim),
          after: world.lastId,
          welcome: data.realm.welcome,
          view: World.view(data, world, player)
        }
      })

    const room = (world: World.World) =>
      World.awake(world).length < settings.maxPlayers
        ? Either.right(undefined)
        : Either.left(HttpErrors.make("WorldFull", "The island is full.", { expected: "somebody to fall asleep" }, {
          status: 503,
          headers: { "retry-after": "30" }
        }))

    const wake = (id: string) =>
      game.transact((data, world) =>
        Either.map(room(world), () => ({ events: Joining.wake(data, world, id), reply: { _tag: "Done" as const } }))
      )

    const authorize = (token: string) =>
      Option.match(tokens.verify(token), { onNone: () => Effect.fail(unauthorized()), onSome: Effect.succeed })

    return Players.of({
      authorize,
      join: ({ address, name, operatorToken }) =>
        Effect.gen(function*() {
          yield* limited(joins, address, "name")
          const admin = operatorToken !== undefined && settings.operatorToken !== undefined &&
            sameSecret(operatorToken, settings.operatorToken)
          if (operatorToken !== undefined && !admin) {
            return yield* new Refusals.NotAllowed({
              field: "operatorToken",
              message: "This is not the operator's token.",
              expected: "the token that the server was started with"
            })
          }
          const id = yield* tokens.freshId
          yield* game.transact((data, world) =>
            Either.flatMap(
              room(world) as Either.Either<undefined, Failure>,
              () => Joining.join(data, world, { id, name })
            )
          )
          return yield* welcome({ player: id, admin })
        }),
      rejoin: (token) =>
        Effect.gen(function*() {
          const claim = yield* authorize(token)
          yield* wake(claim.player)
          return yield* welcome(claim)
        }),
      act: (claim, command) =>
        Effect.gen(function*() {
          yield* limited(commands, claim.player, "line")
          const { reply } = yield* game.transact((data, world) =>
            Decide.decide(data, world, { id: claim.player, admin: claim.admin }, command)
          )
          touch(claim.player, yield* Clock.currentTimeMillis)
          if (command._tag === "Shutdown") {
            yield* lifecycle.requestShutdown({ _tag: "Requested", by: "an operator in the game" })
          }
          return reply
        }),
      arrive: (claim) =>
        Effect.gen(function*() {
          const player = World.playerById((yield* game.now).world, claim.player)
          if (player === undefined) return yield* unauthorized()
          if (player.asleep !== undefined && player.asleep !== "lost") {
            return yield* new Refusals.Asleep({
              field: "token",
              message: "You are asleep. Join again to wake up.",
              expected: "a player who is awake"
            })
          }
          const { world } = yield* wake(player.id)
          const now = yield* Clock.currentTimeMillis
          seen.set(player.id, now)
          if (!active.has(player.id)) active.set(player.id, now)
          return World.playerById(world, player.id)!
        }),
      sweep: (connected) =>
        Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          const { world } = yield* game.now
          const awake = World.awake(world)
          const tired = awake.flatMap(({ id }) => {
            if (connected(id) || !seen.has(id)) seen.set(id, now)
            if (!active.has(id)) active.set(id, now)
            const reason = now - seen.get(id)! > linger ? "lost" : now - active.get(id)! > idle ? "idle" : undefined
            return reason === undefined ? [] : [{ id, reason } as const]
          })
          const ids = new Set(awake.map(({ id }) => id))
          for (const map of [active, seen]) for (const id of map.keys()) if (!ids.has(id)) map.delete(id)
          if (tired.length === 0 && World.count(world) - awake.length <= sleepers) return
          yield* game.publish((data, at) => [
            ...tired.flatMap(({ id, reason }) => Joining.sleep(at, id, reason)),
            ...Joining.forget(data, at, sleepers)
          ])
        })
    })
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Settings): Layer.Layer<Players, never, Game | Tokens | Lifecycle.Lifecycle> =>
  Layer.effect(Players, make(settings))
