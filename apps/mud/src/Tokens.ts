/**
 * Session tokens: who may act as which player. A token says the player and its role, signed with a key that the store
 * keeps, so that it outlives a restart and nothing has to be looked up.
 *
 * The role of an operator is bound to the operator's token that it was given for, and ends after {@link operatorFor}: when
 * the token is changed or taken away, or that time is over, what is left is a player.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { Clock, Context, Duration, Effect, Layer, Option, Redacted, Schema } from "effect"
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import type { Settings } from "./Settings.js"
import * as Storage from "./Storage.js"

/**
 * What a token that was verified stands for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  readonly player: string
  readonly admin: boolean
  /** Until when the player is an operator, in seconds of the wall clock: it outlives the process. */
  readonly until?: number
}

/**
 * How long a player who joined with the operator's token may do what operators do.
 *
 * @since 0.1.0
 * @category limits
 */
export const operatorFor = Duration.hours(12)

/**
 * The key that signs tokens is not one.
 *
 * @since 0.1.0
 * @category errors
 */
export class BadKey extends Schema.TaggedError<BadKey>()("BadKey", { path: Schema.String }) {
  override get message() {
    return `the key "token-key" in ${this.path} is too short to sign tokens: anybody could forge them. ` +
      "Delete that row to have a new key made; everybody then has to join again"
  }
}

/**
 * How the key that signs tokens is found, and made where there is none. Default: in the entries, by the only node.
 *
 * @since 0.1.0
 * @category tags
 */
export class TokenKey extends Context.Reference<TokenKey>()("@holdfast/mud/TokenKey", {
  defaultValue: (): (
    make: Effect.Effect<string>
  ) => Effect.Effect<string, PlatformError, KeyValueStore.KeyValueStore> =>
  (make) =>
    Effect.flatMap(KeyValueStore.KeyValueStore, (store) =>
      Effect.flatMap(
        store.get("token-key"),
        Option.match({
          onNone: () => Effect.tap(make, (key) => store.set("token-key", key)),
          onSome: Effect.succeed
        })
      ))
}) {}

/**
 * @since 0.1.0
 * @category tags
 */
export class Tokens extends Context.Tag("@holdfast/mud/Tokens")<Tokens, {
  /** A token for a player. An operator's lasts until its claim says, or for {@link operatorFor}. */
  readonly issue: (claim: Claim) => Effect.Effect<string>
  /** None when it was not issued here, whatever it looks like. */
  readonly verify: (token: string) => Effect.Effect<Option.Option<Claim>>
  /** An id that nobody has. */
  readonly freshId: Effect.Effect<string>
}>() {}

/**
 * Whether two secrets are the same, in a time that does not tell how far they are.
 *
 * @since 0.1.0
 * @category comparing
 */
export const sameSecret = (given: string, expected: Redacted.Redacted): boolean => {
  const key = randomBytes(32)
  const digest = (text: string) => createHmac("sha256", key).update(text).digest()
  return timingSafeEqual(digest(given), digest(Redacted.value(expected)))
}

const seconds = Effect.map(Clock.currentTimeMillis, (now) => Math.floor(now / 1_000))

const make = (settings: Pick<Settings, "data" | "operatorToken">) =>
  Effect.gen(function*() {
    const { operatorToken } = settings
    const keyOf = yield* TokenKey
    const key = yield* keyOf(Effect.sync(() => randomBytes(32).toString("base64url")))
    if (key.length < 32) return yield* new BadKey({ path: Storage.fileOf(settings) })
    const sign = (text: string) => createHmac("sha256", key).update(text).digest("base64url").slice(0, 32)
    // Of the operator's token only what cannot be turned back into it.
    const bound = operatorToken === undefined
      ? undefined
      : sign(`operator ${Redacted.value(operatorToken)}`).slice(0, 12)
    return Tokens.of({
      issue: ({ admin, player, until }) =>
        Effect.map(seconds, (now) => {
          const ends = (until ?? now + Duration.toSeconds(operatorFor)).toString(36)
          const claim = admin && bound !== undefined ? `${player}.o~${ends}~${bound}` : `${player}.p`
          return `${claim}.${sign(claim)}`
        }),
      verify: (token) =>
        Effect.map(seconds, (now) => {
          const parts = token.length > 120 ? [] : token.split(".")
          if (parts.length !== 3) return Option.none()
          const [player, role, signature] = parts
          const [given, expected] = [Buffer.from(signature), Buffer.from(sign(`${player}.${role}`))]
          if (given.length !== expected.length || !timingSafeEqual(given, expected)) return Option.none()
          const [kind, ends = "", operator] = role.split("~")
          const until = Number.parseInt(ends, 36)
          return Option.some(
            kind === "o" && operator !== undefined && operator === bound && until > now
              ? { player, admin: true, until }
              : { player, admin: false }
          )
        }),
      freshId: Effect.sync(() => randomBytes(6).toString("hex"))
    })
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (settings: Pick<Settings, "data" | "operatorToken">) => Layer.effect(Tokens, make(settings))
