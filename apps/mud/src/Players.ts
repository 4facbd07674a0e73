/**
 * Players and their sessions: joining, waking and falling asleep; who is allowed what, and how often.
 *
 * A player falls asleep when it is silent for too long (`idle`) or when nothing of it is connected any more (`lost`). What
 * fell asleep by a lost connection wakes by itself when the connection is back; the others have to join again.
 *
 * @since 0.1.0
 */
import { Monotonic } from "@holdfast/core"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import type { Entry } from "@holdfast/core/Presence"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import type { WireId } from "@holdfast/http/SessionSink"
import { Context, Effect, Either, Layer, Option } from "effect"
import type { WorldData } from "./data/WorldData.js"
import type { Command } from "./domain/Command.js"
import * as Decide from "./domain/Decide.js"
import * as Joining from "./domain/Joining.js"
import { rule } from "./domain/Names.js"
import * as Quest from "./domain/Quest.js"
import * as Refusals from "./domain/Refusal.js"
import type { Reply, RoomMap } from "./domain/Reply.js"
import * as View from "./domain/View.js"
import * as World from "./domain/World.js"
import type { RoomView } from "./domain/WorldEvent.js"
import { Game, type Owned, type Superseded, type Unavailable } from "./Game.js"
import * as Limits from "./Limits.js"
import { PlayerStreams } from "./PlayerStreams.js"
import * as Presence from "./Presence.js"
import type { Settings } from "./Settings.js"
import * as Storm from "./Storm.js"
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
  readonly after: WireId
  readonly welcome: string
  readonly view: RoomView
  readonly carrying: ReadonlyArray<{ readonly id: string; readonly name: string }>
  /** What could be done next. */
  readonly hint?: string
}

/**
 * What anybody is told before joining.
 *
 * @since 0.1.0
 * @category models
 */
export interface Door {
  readonly title: string
  readonly awake: number
  readonly places: number
  readonly nameRule: string
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
  readonly rejoin: (token: string, address: string) => Effect.Effect<Joined, Failure>
  /** Gives up the name, for good. */
  readonly leaveForGood: (claim: Claim) => Effect.Effect<void, Failure>
  readonly door: Effect.Effect<Door>
  readonly mapOf: (claim: Claim) => Effect.Effect<RoomMap, Failure>
  readonly act: (claim: Claim, command: Command) => Effect.Effect<Reply, Failure>
  readonly authorize: (token: string) => Effect.Effect<Claim, HttpErrors.HttpError>
  /** Whether a player may open a stream; one whose connection was lost wakes up. */
  readonly arrive: (claim: Claim, address: string) => Effect.Effect<void, Failure>
  /** What this node tells the others of the players that are connected to it. */
  readonly roster: (connected: Iterable<string>) => Effect.Effect<ReadonlyArray<Entry>>
  /** Lets everybody fall asleep for whom it is time. `connected` says who has a stream, on whatever node. */
  readonly sweep: (
    owned: Owned,
    connected: ReadonlyMap<string, { readonly idleMillis: number }>
  ) => Effect.Effect<void, Unavailable | Superseded>
}>() {}

const unauthorized = () =>
  HttpErrors.make("Unauthorized", "This token is not known here. Join again.", {
    field: "token",
    expected: "the token that joining gave"
  }, { status: 401 })

const banned = (millis: number) =>
  HttpErrors.make("Banned", "You are kept out of the island for now.", {
    expected: "the operator to let you in again, or the time to pass",
    ...(Number.isFinite(millis) ? { retryAfterMillis: millis } : {})
  }, { status: 403, headers: HttpErrors.retryAfter(millis) })

const tooFast = (field: string, millis: number) =>
  HttpErrors.make("TooFast", "Not so fast.", { field, expected: "a little patience", retryAfterMillis: millis }, {
    status: 429,
    headers: HttpErrors.retryAfter(millis)
  })

/** How many sleeping players are remembered. */
const sleepers = 10_000

const full = HttpErrors.make("WorldFull", "The island is full.", { expected: "somebody to fall asleep" }, {
  status: 503,
  headers: { "retry-after": "30" }
})

const crowded = (limit: number) =>
  HttpErrors.make("AddressFull", `There are ${limit} players here from your address already.`, {
    field: "address",
    expected: "one of them to fall asleep"
  }, { status: 429, headers: { "retry-after": "30" } })

const notTheToken = new Refusals.NotAllowed({
  field: "operatorToken",
  message: "This is not the operator's token.",
  expected: "the token that the server was started with"
})

/** Who may come in. Who is awake already is in, whatever the numbers say; one place in twenty is for those who come back. */
const makeAdmission = (settings: Pick<Settings, "maxPlayers" | "perAddress">, presence: Presence.Presence) => {
  const places = settings.maxPlayers
  const forNewcomers = places - Math.floor(places / 20)
  const admit = (awake: ReadonlyArray<string>, address: string, limit: number) =>
    awake.length >= limit
      ? Either.left(full)
      : presence.countFrom(address, awake) >= settings.perAddress
      ? Either.left(crowded(settings.perAddress))
      : Either.right(undefined)
  const idsOf = (world: World.World) => World.awake(world).map(({ id }) => id)
  return {
    newcomer: (world: World.World, address: string) => admit(idsOf(world), address, forNewcomers),
    back: (world: World.World, id: string, address: string) =>
      World.playerById(world, id)?.asleep === undefined ? Either.right(undefined) : admit(idsOf(world), address, places)
  }
}

const limited = (limiter: Limits.Limiter, key: string, field: string) =>
  Effect.flatMap(limiter.take(key), (millis) => millis > 0 ? Effect.fail(tooFast(field, millis)) : Effect.void)

/** What everybody may know before joining. */
const doorOf = (data: WorldData, world: World.World, settings: Settings) => ({
  title: data.realm.title,
  awake: World.awake(world).length,
  places: settings.maxPlayers,
  nameRule: rule
})

/** Whose token it is. Who is kept out of the streams is kept out of all the rest, too. */
const authorizer =
  (tokens: Context.Tag.Service<typeof Tokens>, hub: Context.Tag.Service<typeof PlayerStreams>["hub"]) =>
  (token: string) =>
    Effect.gen(function*() {
      const claim = Option.getOrUndefined(yield* tokens.verify(token))
      if (claim === undefined) return yield* unauthorized()
      const ban = yield* hub.banned(claim.player)
      return ban === undefined ? claim : yield* banned(ban.remainingMillis)
    })

/** Who is told to be here, and who falls asleep. */
const makeSweeping = (
  game: Context.Tag.Service<typeof Game>,
  presence: Presence.Presence
): Pick<Context.Tag.Service<typeof Players>, "roster" | "sweep"> => ({
  roster: (connected) =>
    Effect.map(
      Monotonic.now,
      (now) => Array.from(connected, (id) => ({ id, idleMillis: presence.idleMillis(id, now) }))
    ),
  sweep: (owned, connected) =>
    Effect.gen(function*() {
      const { world } = yield* game.now
      const awake = World.awake(world).map(({ id }) => id)
      const tired = presence.tired(
        awake,
        (id) => connected.get(id)?.idleMillis,
        yield* Monotonic.now
      )
      if (tired.length === 0 && World.count(world) - awake.length <= sleepers) return
      yield* owned.publish((data, at) => [
        ...tired.flatMap(({ id, reason }) => Joining.sleep(at, id, reason)),
        ...Joining.forget(data, at, sleepers)
      ])
    })
})

const make = (settings: Settings) =>
  Effect.gen(function*() {
    const game = yield* Game
    const tokens = yield* Tokens
    const { hub } = yield* PlayerStreams
    const lifecycle = yield* Lifecycle.Lifecycle
    const commands = Limits.make({ burst: 12, perSecond: 4 })
    const joins = Limits.make({ burst: settings.joinRate * 5, perSecond: settings.joinRate })
    const presence = Presence.make(settings)
    const admission = makeAdmission(settings, presence)
    const refusedJoins = Storm.make("1 minute")

    const authorize = authorizer(tokens, hub)

    const welcome = (claim: Claim, address: string) =>
      Effect.gen(function*() {
        const { data, world } = yield* game.now
        const player = World.playerById(world, claim.player)
        if (player === undefined) return yield* unauthorized()
        presence.acted(player.id, yield* Monotonic.now)
        presence.comesFrom(player.id, address)
        const step = Quest.current(data, player)
        return {
          player: { id: player.id, name: player.name },
          token: yield* tokens.issue(claim),
          after: hub.idOf(world.lastId),
          welcome: data.realm.welcome,
          view: View.view(data, world, player),
          carrying: World.holdings(data, world, player.id).map((id) => ({ id, name: data.things[id].name })),
          ...(step === undefined ? {} : { hint: step.hint })
        }
      })

    const wake = (id: string, address: string) =>
      game.transact((data, world) =>
        Either.map(
          admission.back(world, id, address),
          () => ({ events: Joining.wake(data, world, id), reply: { _tag: "Done" as const } })
        )
      )

    const ashore = (name: string, id: string, address: string) =>
      game.transact((data, world) =>
        Either.flatMap(
          admission.newcomer(world, address) as Either.Either<undefined, Failure>,
          () => Joining.join(data, world, { id, name })
        )
      ).pipe(
        Effect.tapErrorTag("HttpError", ({ kind }) =>
          refusedJoins.say((count) =>
            Effect.logWarning("Somebody was not let in").pipe(Effect.annotateLogs({ reason: kind, address, count }))
          ))
      )

    // Who has just joined on another node may be known here a moment later.
    const playerOf = (claim: Claim) =>
      Effect.flatMap(game.now, ({ data, world }) => {
        const player = World.playerById(world, claim.player)
        return player === undefined
          ? Effect.flatMap(game.current, ({ data, world }) => {
            const player = World.playerById(world, claim.player)
            return player === undefined ? Effect.fail(unauthorized()) : Effect.succeed({ data, world, player })
          })
          : Effect.succeed({ data, world, player })
      })

    return Players.of({
      authorize,
      join: ({ address, name, operatorToken }) =>
        Effect.gen(function*() {
          yield* limited(joins, address, "name")
          const admin = operatorToken !== undefined && settings.operatorToken !== undefined &&
            sameSecret(operatorToken, settings.operatorToken)
          if (operatorToken !== undefined && !admin) return yield* notTheToken
          const id = yield* tokens.freshId
          yield* ashore(name, id, address)
          return yield* welcome({ player: id, admin }, address)
        }),
      rejoin: (token, address) =>
        Effect.gen(function*() {
          const claim = yield* authorize(token)
          yield* playerOf(claim)
          yield* wake(claim.player, address)
          return yield* welcome(claim, address)
        }),
      leaveForGood: (claim) =>
        Effect.gen(function*() {
          yield* playerOf(claim)
          yield* game.publish((data, world) => Joining.leaveForGood(data, world, claim.player))
        }),
      act: (claim, command) =>
        Effect.gen(function*() {
          yield* limited(commands, claim.player, "line")
          const { reply } = yield* game.transact((data, world) =>
            Decide.decide(data, world, { id: claim.player, admin: claim.admin }, command)
          )
          presence.acted(claim.player, yield* Monotonic.now)
          if (command._tag === "Shutdown") {
            yield* lifecycle.requestShutdown({ _tag: "Requested", by: "an operator in the game" })
          }
          return reply
        }),
      mapOf: (claim) => Effect.map(playerOf(claim), ({ data, player, world }) => Decide.mapOf(data, world, player)),
      arrive: (claim, address) =>
        Effect.gen(function*() {
          const { player } = yield* playerOf(claim)
          if (player.asleep !== undefined && player.asleep !== "lost") {
            return yield* new Refusals.Asleep({
              field: "token",
              message: "You are asleep. Join again to wake up.",
              expected: "a player who is awake"
            })
          }
          yield* wake(player.id, address)
          presence.connected(player.id, yield* Monotonic.now)
          presence.comesFrom(player.id, address)
        }),
      door: Effect.map(game.now, ({ data, world }) => doorOf(data, world, settings)),
      ...makeSweeping(game, presence)
    })
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  settings: Settings
): Layer.Layer<Players, never, Game | Tokens | PlayerStreams | Lifecycle.Lifecycle> =>
  Layer.effect(Players, make(settings))
