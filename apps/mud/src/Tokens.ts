/**
 * Session tokens: who may act as which player. A token says the player and its role, signed with a key that the store
 * keeps, so that it outlives a restart and nothing has to be looked up.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"

/**
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  readonly player: string
  readonly admin: boolean
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Tokens extends Context.Tag("@holdfast/mud/Tokens")<Tokens, {
  readonly issue: (claim: Claim) => string
  /** None when it was not issued here, whatever it looks like. */
  readonly verify: (token: string) => Option.Option<Claim>
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

const make = Effect.gen(function*() {
  const store = yield* KeyValueStore.KeyValueStore
  const saved = yield* store.get("token-key")
  const key = Option.getOrElse(saved, () => randomBytes(32).toString("base64url"))
  if (Option.isNone(saved)) yield* store.set("token-key", key)
  const sign = (text: string) => createHmac("sha256", key).update(text).digest("base64url").slice(0, 32)
  return Tokens.of({
    issue: ({ admin, player }) => {
      const claim = `${player}.${admin ? "o" : "p"}`
      return `${claim}.${sign(claim)}`
    },
    verify: (token) => {
      const parts = token.length > 100 ? [] : token.split(".")
      if (parts.length !== 3) return Option.none()
      const [player, role, signature] = parts
      const [given, expected] = [Buffer.from(signature), Buffer.from(sign(`${player}.${role}`))]
      return given.length === expected.length && timingSafeEqual(given, expected)
        ? Option.some({ player, admin: role === "o" })
        : Option.none()
    },
    freshId: Effect.sync(() => randomBytes(6).toString("hex"))
  })
})

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.effect(Tokens, make)
