/**
 * What a newcomer is offered to do: the quest of the data, one step after the other, and the secrets of the island. Where
 * a player is on it is a fold of `Reached` events, so it outlives restarts, and other players cannot take it away.
 *
 * @since 0.1.0
 */
import type { Step, WorldData } from "../data/WorldData.js"
import { foresee } from "./Consequence.js"
import { holdings, type Player, playerById, type World } from "./World.js"
import type { WorldEvent } from "./WorldEvent.js"

/**
 * The first step that a player has not done.
 *
 * @since 0.1.0
 * @category questions
 */
export const current = (data: WorldData, player: Player): Step | undefined =>
  data.realm.quest.find(({ id }) => !player.reached.includes(id))

/**
 * The ids of the rooms that are secrets.
 *
 * @since 0.1.0
 * @category questions
 */
export const secrets = (data: WorldData): ReadonlyArray<string> =>
  Object.entries(data.rooms).flatMap(([id, { secret }]) => secret ? [id] : [])

/**
 * How much of the world a player has found.
 *
 * @since 0.1.0
 * @category questions
 */
export const progress = (data: WorldData, player: Player) => {
  const seen = player.seen.filter((room) => Object.hasOwn(data.rooms, room))
  const all = secrets(data)
  return {
    rooms: seen.length,
    allRooms: Object.keys(data.rooms).length,
    secrets: all.filter((room) => seen.includes(room)).length,
    allSecrets: all.length
  }
}

const isDone = (data: WorldData, world: World, player: Player, step: Step): boolean =>
  step.until.some(({ flag, holding, seen }) =>
    (seen === undefined || player.seen.includes(seen)) &&
    (flag === undefined || world.flags.has(flag)) &&
    (holding === undefined || holdings(data, world, player.id).includes(holding))
  )

/**
 * What follows for the player who did something: a secret that it found, and the steps that it has done now.
 *
 * @since 0.1.0
 * @category deciding
 */
export const advance = (
  data: WorldData,
  before: World,
  id: string,
  events: ReadonlyArray<WorldEvent>
): ReadonlyArray<WorldEvent> => {
  if (events.length === 0) return []
  const was = playerById(before, id)
  let world = foresee(before, events)
  const player = playerById(world, id)
  if (was === undefined || player === undefined || player.asleep !== undefined) return []
  const more: Array<WorldEvent> = []
  if (!was.seen.includes(player.room) && data.rooms[player.room]?.secret === true) {
    const { allSecrets, secrets } = progress(data, player)
    more.push({
      _tag: "Reached",
      player: id,
      step: `secret ${player.room}`,
      text: `You have found a secret of the island: ${secrets} of ${allSecrets}.`
    })
  }
  for (const step of data.realm.quest) {
    const now = playerById(world, id)!
    if (current(data, now)?.id !== step.id || !isDone(data, world, now, step)) continue
    const done: WorldEvent = { _tag: "Reached", player: id, step: step.id }
    world = foresee(world, [done])
    const next = current(data, playerById(world, id)!)
    more.push({
      ...done,
      ...(step.done === undefined ? {} : { text: step.done }),
      ...(next === undefined ? {} : { hint: next.hint })
    })
  }
  return more
}
