/** Who decides: before every operation whether the fiber is cut, and after every task who goes on. */
import * as Prng from "../prng.js"
import * as Schedule from "./schedule.js"
import { keyOfTask } from "./types.js"
import type { Chooser, Task, World } from "./types.js"

/** Instead of the index of a task: virtual time moves. */
export const clock = -1
/** Instead of the index of a task: callbacks of promises that are due run, one turn of them. */
export const microtasks = -2

const whenPromises = 0.25
const whenPausable = 1 / 16

/** Moves of the world rather than of a fiber, now and then. */
const special = (world: World, random: Prng.Prng): number | undefined => {
  if (world.hasPromises && random.float() < whenPromises) return microtasks
  if (world.canPause() && random.float() < whenPausable) return clock
  return undefined
}

/** Cuts with a probability before each operation, and chooses evenly. */
export const random = (seed: number, preemption: number): Chooser => {
  const chance = Prng.make(seed, "schedule")
  // the distance to the next cut is drawn at once, so that an operation costs one subtraction
  const scale = preemption <= 0 ? 0 : 1 / Math.log(1 - Math.min(preemption, 1 - 1e-9))
  const distance = () => scale === 0 ? Infinity : 1 + Math.floor(Math.log(1 - chance.float()) * scale)
  let left = distance()
  return {
    cuts: () => {
      if (--left > 0) return false
      left = distance()
      return true
    },
    next: (world, { cut }) => {
      const { length } = world.ready
      const move = special(world, chance)
      if (move !== undefined) return move
      const others = cut && length > 1 ? length - 1 : length
      return others === 1 ? 0 : chance.below(others)
    },
    priority: () => 0
  }
}

/** Random priorities that change at `depth - 1` points of a run of about `length` operations. */
export const pct = (seed: number, depth: number, length: number): Chooser => {
  const chance = Prng.make(seed, "schedule")
  const points: Array<number> = []
  for (let i = 1; i < depth; i++) points.push(1 + chance.below(length))
  points.sort((a, b) => b - a)
  const priorityOf = (task: Task) => task.fiber === undefined ? task.priority : task.fiber.priority
  return {
    cuts: (fiber, world) => {
      if (world.isLate) return chance.float() < 0.5
      while (points.length > 0 && points[points.length - 1]! <= world.operations) {
        points.pop()
        fiber.priority = points.length / 1_000
      }
      const { ready } = world
      for (let i = 0; i < ready.length; i++) if (priorityOf(ready[i]!) > fiber.priority) return true
      return false
    },
    next: (world) => {
      const { ready } = world
      const move = special(world, chance)
      if (move !== undefined) return move
      if (world.isLate) return chance.below(ready.length)
      let best = 0
      for (let i = 1; i < ready.length; i++) if (priorityOf(ready[i]!) > priorityOf(ready[best]!)) best = i
      return best
    },
    priority: () => 1 + chance.float()
  }
}

/** Follows a schedule; where it says nothing, the plain order. */
export const scripted = (moves: ReadonlyArray<Schedule.Move>, anchored = false): Chooser => {
  const script = Schedule.scriptOf(moves)
  const indexOf = (world: World, move: Schedule.Move): number | undefined => {
    if (move.to === Schedule.clock) return world.canPause() ? clock : undefined
    if (move.to === Schedule.microtasks) return microtasks
    const index = world.ready.findIndex((task) => keyOfTask(task) === move.to)
    return index < 0 ? undefined : index
  }
  // a fiber that is only told something stops twice after the same operation: the first move is for the first time
  const made = new Set<Schedule.Move>()
  const planned = (list: ReadonlyArray<Schedule.Move> | undefined, operation: number, cut: boolean, turn: number) =>
    list?.find((move) => move.operation === operation && move.cut === cut && move.turn === turn && !made.has(move))
  return {
    script,
    anchored,
    cuts: (fiber, world) => {
      const move = planned(fiber.script?.get(fiber.operations), fiber.operations, true, 0)
      return move !== undefined && indexOf(world, move) !== undefined
    },
    next: (world, { cut, task, turn }) => {
      if (task === undefined || script.size === 0) return 0
      const { fiber } = task
      const move = fiber === undefined
        ? planned(script.get(keyOfTask(task)), 0, cut, turn)
        : planned(fiber.script?.get(fiber.operations), fiber.operations, cut, turn)
      const index = move === undefined ? undefined : indexOf(world, move)
      if (index === undefined) return 0
      made.add(move!)
      return index
    },
    priority: () => 0
  }
}

/** One branch of the tree of all schedules: the choices that were made, and how many there were to choose from. */
export interface Branch {
  readonly chosen: number
  readonly of: number
  /** the first choice goes on without a cut; every other one is a cut */
  readonly isCut: boolean
}

export interface Enumerating extends Chooser {
  readonly path: ReadonlyArray<Branch>
  /** whether the bound kept it from trying something */
  readonly bounded: () => boolean
}

/** How many turns of microtasks in a row are tried: longer chains are of programs that wait for nobody. */
const maxTurns = 4

/** Follows the choices in `prefix`, then takes the first of each; `path` tells which there were. */
export const enumerating = (prefix: ReadonlyArray<number>, cuts: number): Enumerating => {
  const path: Array<Branch> = []
  let left = cuts
  let bounded = false
  let target = 0
  const choose = (of: number, isCut: boolean): number => {
    const chosen = path.length < prefix.length ? Math.min(prefix[path.length]!, of - 1) : 0
    path.push({ chosen, of, isCut })
    if (isCut && chosen > 0) left--
    return chosen
  }
  return {
    path,
    bounded: () => bounded,
    cuts: (_fiber, world) => {
      if (left === 0 || world.isLate) {
        bounded = true
        return false
      }
      const others = world.ready.length + (world.canPause() ? 1 : 0)
      const chosen = choose(1 + others, true)
      if (chosen === 0) return false
      target = chosen > world.ready.length ? clock : chosen - 1
      return true
    },
    next: (world, { cut, turn }) => {
      if (cut && turn === 0) return target
      const { length } = world.ready
      const extra = world.hasPromises && turn < maxTurns ? 1 : 0
      if (length + extra === 1) return 0
      const chosen = choose(length + extra, false)
      return chosen === length ? microtasks : chosen
    },
    priority: () => 0
  }
}
