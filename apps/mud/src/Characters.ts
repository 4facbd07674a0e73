/**
 * The characters that walk by themselves: one supervised child for each, which listens to the bus and acts like a player.
 *
 * A character that fails is started anew where it stands. When the data changes, characters come and go with it.
 *
 * @since 0.1.0
 */
import { Monotonic } from "@holdfast/core"
import { isEnvelope } from "@holdfast/core/Envelope"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Supervision from "@holdfast/core/Supervision"
import { Effect, Random, Schedule } from "effect"
import { type Character, phaseAt } from "./data/WorldData.js"
import { decideCharacter } from "./domain/Decide.js"
import { fold } from "./domain/PlayerText.js"
import { characterRoom, knownExits } from "./domain/World.js"
import type { WorldEvent } from "./domain/WorldEvent.js"
import { Game, type Owned } from "./Game.js"
import { WorldBus } from "./WorldBus.js"

/** A player is greeted once in this time by the same character. */
const greetEvery = 10 * 60_000

/** A character answers at most once in this time. */
const answerEvery = 3_000

const pick = <A>(all: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(Random.nextIntBetween(0, all.length), (index) => all[index])

const hears = (heard: string, word: string): boolean => {
  const wanted = fold(word)
  return ` ${fold(heard).replace(/[^\p{L}\p{N}]+/gu, " ")} `.includes(` ${wanted} `)
}

/** What one character does for as long as it lives. */
const behaviour = (id: string, owned: Owned) =>
  Effect.gen(function*() {
    const game = yield* Game
    const bus = yield* WorldBus
    const greeted = new Map<string, number>()
    let answered = -Infinity

    const act = (command: Parameters<typeof decideCharacter>[3]) =>
      owned.publish((data, world) => decideCharacter(data, world, id, command))

    const step = (self: Character) =>
      Effect.gen(function*() {
        const { data, world } = yield* game.now
        const room = characterRoom(data, world, id)
        const ways = knownExits(data, world, room, id).filter(({ open, to }) => open && self.roams.includes(to))
        const idle = self.idles.length > 0 && (ways.length === 0 || (yield* Random.next) < 0.4)
        if (idle) yield* act({ _tag: "Emote", text: yield* pick(self.idles) })
        else if (ways.length > 0) yield* act({ _tag: "Go", direction: (yield* pick(ways)).direction })
      })

    const meet = (self: Character, player: { readonly id: string; readonly name: string }) =>
      Effect.gen(function*() {
        const now = yield* Monotonic.now
        if (self.greets.length === 0 || now - (greeted.get(player.id) ?? -Infinity) < greetEvery) return
        greeted.delete(player.id)
        greeted.set(player.id, now)
        if (greeted.size > 500) greeted.delete(greeted.keys().next().value!)
        yield* act({ _tag: "Say", text: (yield* pick(self.greets)).replaceAll("{name}", player.name) })
      })

    const hear = (self: Character, text: string) =>
      Effect.gen(function*() {
        const now = yield* Monotonic.now
        const answer = self.answers.find(({ to }) => to.some((word) => hears(text, word)))
        if (answer === undefined || now - answered < answerEvery) return
        answered = now
        yield* act({ _tag: "Say", text: answer.say })
      })

    const react = (event: WorldEvent) =>
      Effect.gen(function*() {
        const { data, world } = yield* game.now
        const self = data.characters[id]
        if (self === undefined) return
        if (event._tag === "Ticked") {
          return self.awake.includes(event.phase) && (yield* Random.next) * self.pace < 1
            ? yield* step(self)
            : undefined
        }
        if (
          !("actor" in event) || event.actor.kind !== "player" ||
          !self.awake.includes(phaseAt(data.realm, world.minute))
        ) return
        if (event.room !== characterRoom(data, world, id)) return
        if (event._tag === "Arrived") return yield* meet(self, event.actor)
        if (event._tag === "Said") return yield* hear(self, event.text)
      })

    // What a character misses while it is busy, it has not noticed.
    const subscription = yield* bus.subscribe({
      name: `character-${id}`,
      tags: ["Ticked", "Arrived", "Said"],
      capacity: 64,
      policy: { _tag: "sliding" }
    })
    return yield* Effect.forever(
      Effect.flatMap(
        subscription.takeBatch(),
        Effect.forEach(
          (item) => isEnvelope(item) ? Effect.zipRight(game.reach(item.id), react(item.event)) : Effect.void,
          { discard: true }
        )
      )
    )
  }).pipe(
    // The world is closing, or another node plays its characters.
    Effect.catchTags({
      SubscriptionClosed: () => Effect.never,
      Unavailable: () => Effect.never,
      Superseded: () => Effect.never
    }),
    Effect.scoped
  )

const child = (owned: Owned) => (id: string) => ({
  name: id,
  kind: "character",
  restart: "permanent" as const,
  shutdown: "1 second" as const,
  start: behaviour(id, owned)
})

/**
 * The characters live as long as the scope.
 *
 * @since 0.1.0
 * @category acting
 */
export const run = (owned: Owned) =>
  Effect.gen(function*() {
    const game = yield* Game
    const bus = yield* WorldBus
    const { data } = yield* game.now
    const supervisor = yield* Supervision.make<Game | WorldBus>({
      name: "characters",
      strategy: "one_for_one",
      intensity: 10,
      period: "1 minute",
      backoff: Schedule.exponential("500 millis"),
      children: Object.keys(data.characters).map(child(owned))
    })
    // New data may have other characters.
    const adjust = Effect.gen(function*() {
      const wanted = Object.keys((yield* game.now).data.characters)
      const known = new Map((yield* supervisor.children).map(({ name, status }) => [name, status]))
      for (const [id, status] of known) {
        if (!wanted.includes(id) && status !== "stopped") yield* supervisor.stopChild(id)
        if (wanted.includes(id) && status === "stopped") yield* supervisor.restartChild(id)
      }
      yield* Effect.forEach(wanted.filter((id) => !known.has(id)), (id) => supervisor.startChild(child(owned)(id)))
    }).pipe(Effect.catchAll((error) => Effect.logWarning("The characters could not be adjusted", error)))
    const reshaped = yield* bus.subscribe({ name: "characters", tags: ["Reshaped"], policy: { _tag: "sliding" } })
    yield* FiberRegistry.forkScoped(Effect.ignore(Effect.forever(Effect.zipRight(reshaped.takeBatch(), adjust))), {
      name: "characters-keeper",
      kind: "service"
    })
  })
