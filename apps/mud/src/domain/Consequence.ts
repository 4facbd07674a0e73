/**
 * What a decision consists of: events that follow from one another, and a reply to who asked.
 *
 * @since 0.1.0
 */
import { Either } from "effect"
import type { Direction, WorldData } from "../data/WorldData.js"
import type { Refusal } from "./Refusal.js"
import type { Reply } from "./Reply.js"
import { sharedView, view } from "./View.js"
import { evolve, people, playerById, type World } from "./World.js"
import type { Actor, WorldEvent } from "./WorldEvent.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Decision {
  readonly events: ReadonlyArray<WorldEvent>
  readonly reply: Reply
}

/**
 * @since 0.1.0
 * @category models
 */
export type Decided = Either.Either<Decision, Refusal>

const opposite: Readonly<Record<Direction, Direction>> = {
  north: "south",
  northeast: "southwest",
  east: "west",
  southeast: "northwest",
  south: "north",
  southwest: "northeast",
  west: "east",
  northwest: "southeast",
  up: "down",
  down: "up",
  in: "out",
  out: "in"
}

/**
 * These events happen; they say it all.
 *
 * @since 0.1.0
 * @category constructors
 */
export const done = (...events: ReadonlyArray<WorldEvent>): Decided => Either.right({ events, reply: { _tag: "Done" } })

/**
 * Nothing happens; the one who asked is told something.
 *
 * @since 0.1.0
 * @category constructors
 */
export const answer = (reply: Reply): Decided => Either.right({ events: [], reply })

/**
 * As {@link answer}, with one sentence.
 *
 * @since 0.1.0
 * @category constructors
 */
export const text = (words: string): Decided => answer({ _tag: "Text", text: words })

/**
 * What the state will be once these events are published: what a player then sees is part of them.
 *
 * @since 0.1.0
 * @category deciding
 */
export const foresee = (world: World, events: ReadonlyArray<WorldEvent>): World =>
  events.reduce((state, event) => evolve(state, { id: state.lastId + 1, at: 0, event }), world)

/**
 * What a player sees, as an event of its own.
 *
 * @since 0.1.0
 * @category deciding
 */
export const saw = (data: WorldData, world: World, id: string, moved: boolean): ReadonlyArray<WorldEvent> => {
  const player = playerById(world, id)
  return player === undefined ? [] : [{ _tag: "Saw", player: id, view: view(data, world, player), moved }]
}

/**
 * A room looks different: what everybody sees is said once, and to those who see something else (because of what they
 * hold) once more in particular.
 *
 * @since 0.1.0
 * @category deciding
 */
export const changed = (data: WorldData, world: World, room: string): ReadonlyArray<WorldEvent> => {
  const players = people(data, world, room).filter(({ kind }) => kind === "player")
  if (players.length === 0) return []
  const shared = sharedView(data, world, room)
  const same = JSON.stringify({ ...shared, people: [], others: undefined })
  return [
    { _tag: "Changed", room, view: shared },
    ...players.flatMap(({ id }) => {
      const own = view(data, world, playerById(world, id)!)
      return JSON.stringify({ ...own, people: [], others: undefined }) === same ? [] : saw(data, world, id, false)
    })
  ]
}

/**
 * Somebody goes from one room to another, and sees where it came to.
 *
 * @since 0.1.0
 * @category deciding
 */
export const walk = (
  data: WorldData,
  world: World,
  actor: Actor,
  room: string,
  to: string,
  direction?: Direction
): ReadonlyArray<WorldEvent> => {
  const events: ReadonlyArray<WorldEvent> = [
    { _tag: "Departed", actor, room, to, ...(direction === undefined ? {} : { direction }) },
    {
      _tag: "Arrived",
      actor,
      room: to,
      from: room,
      ...(direction === undefined ? {} : { direction: opposite[direction] })
    }
  ]
  return [...events, ...saw(data, foresee(world, events), actor.id, true)]
}
