/** What the parts of a simulation share. */
import type * as Exit from "effect/Exit"
import type * as FiberRef from "effect/FiberRef"
import type * as Option from "effect/Option"
import type * as Hooks from "../hooks.js"
import type * as Place from "../place.js"
import type * as Schedule from "./schedule.js"
import type { Move } from "./schedule.js"
import type * as Where from "./where.js"

export interface Settings {
  readonly seed: number
  readonly chooser: Chooser
  readonly maxOperations: number
  readonly maxMillis: number
  readonly settleMillis: number
  /** virtual milliseconds that may pass in all while a fiber could run */
  readonly pauseMillis: number
  readonly leaks: boolean
  readonly external: "forbid" | "await"
  /** keep every event, places and log lines: for replays */
  readonly full: boolean
  /** look up where functions are written, too: for the replay that is told */
  readonly told: boolean
  readonly refs: ReadonlyArray<readonly [FiberRef.FiberRef<Option.Option<number>>, Option.Option<number>]>
}

/**
 * `run`: the fiber goes on · `line`: it is at a `yield*` or a `pipe` · `cut`: another one comes between, before this
 * operation · `fork`, `exit`: of fibers · `interrupt`: one fiber interrupts another · `wake`: one resumes another that waits · `clock`: virtual time passes ·
 * `log`: a log line · `fault`: an injected fault fires · `escape`: something left the simulation.
 */
export type Kind =
  | "run"
  | "line"
  | "cut"
  | "fork"
  | "exit"
  | "interrupt"
  | "wake"
  | "clock"
  | "log"
  | "fault"
  | "escape"

export interface Event {
  readonly step: number
  /** virtual milliseconds since the start */
  readonly at: number
  readonly kind: Kind
  /** number of the fiber in order of birth; the program is 0; -1 for what no fiber does */
  readonly fiber: number
  readonly detail: string
  /** `file:line` of a line and of a fork, when known; of a cut and of an exit, the place in a dependency's code */
  readonly place: string | undefined
  /** of an exit: the first place that an interrupted fiber did not come to */
  readonly missed?: string | undefined
}

export interface FaultCount {
  readonly evaluated: number
  readonly fired: number
}

export type Verdict = "done" | "thrown" | "blocked" | "livelock" | "leaked"

export interface Result<A, E> {
  readonly verdict: Verdict
  readonly exit: Exit.Exit<A, E> | undefined
  readonly steps: number
  readonly operations: number
  readonly millis: number
  /** a hash of every choice */
  readonly fingerprint: string
  /** a hash of the order of what can touch shared state */
  readonly behaviour: string
  readonly schedule: ReadonlyArray<Move>
  readonly events: ReadonlyArray<Event>
  /** names of the fibers of a replay, by number, as far as they have one */
  readonly names: ReadonlyMap<number, string>
  readonly faults: ReadonlyMap<string, FaultCount>
  readonly escapes: ReadonlyArray<string>
  readonly dump: ReadonlyArray<string>
  readonly places: ReadonlyArray<string>
}

export interface FiberState {
  readonly raw: Hooks.RawFiber
  /** in order of birth: it depends on the interleaving */
  readonly index: number
  readonly parent: FiberState | undefined
  /** among the children of its parent: with the parent's, it does not depend on the interleaving */
  readonly nth: number
  readonly keyHash: number
  readonly forkedAt: Place.Place | undefined
  /** the asynchronous context of whoever started it from plain JavaScript; its children inherit it */
  readonly context: (<R>(body: () => R) => R) | undefined
  children: number
  timers: number
  /** operations of its own so far, without those of cuts: the same for whatever comes between */
  operations: number
  /** of the operations of its own, the one at the last line that is known */
  lineAt: number
  /** the last place that was told of it, which may be a function, and the operation at it */
  toldPlace: string | undefined
  toldAt: number
  /** the last place in the code of a dependency, such as effect, since the last place of the program */
  within: string | undefined
  /** the first place that it did not come to because it was interrupted */
  skipped: Where.Found | undefined
  priority: number
  /** operations that run before the next cut: those of the cut itself */
  skip: number
  /** the cuts that a schedule plans for it, by operation */
  script: Map<number, Array<Move>> | undefined
  /** what it waits for, as far as it is known */
  waits: string
  /** what a callback that was handed out is known to be for */
  noted: string | undefined
  /** how often it has been at a line, by its text: to find the place of a cut in an edited program */
  readonly visits: Map<string, number>
  line: { readonly text: string; readonly visit: number } | undefined
}

export interface Task {
  readonly run: () => void
  readonly fiber: FiberState | undefined
  /** of a timer: whose it is, and which */
  readonly owner: FiberState | undefined
  readonly nth: number
  priority: number
}

/** The key of a fiber: its place in the tree of forks. */
export const keyOf = (fiber: FiberState): string =>
  fiber.parent === undefined ? `${fiber.nth}` : `${keyOf(fiber.parent)}.${fiber.nth}`

/** The key of a task: of its fiber, or of the timer. */
export const keyOfTask = (task: Task): string =>
  task.fiber !== undefined
    ? keyOf(task.fiber)
    : `${task.owner === undefined ? "" : keyOf(task.owner)}t${task.nth}`

/** What a chooser sees. */
export interface World {
  /** those that could go on, in the order in which they became ready */
  readonly ready: ReadonlyArray<Task>
  /** of all fibers */
  readonly operations: number
  /** whether virtual time may move although somebody is ready */
  readonly canPause: () => boolean
  /** whether callbacks of promises may be waiting */
  readonly hasPromises: boolean
  /** whether the run has taken so long that whoever spins has to give way */
  readonly isLate: boolean
}

/** Who or what came before a choice, and how it ended. */
export interface Position {
  readonly task: Task | undefined
  /** cut, so that its task is the last of those that are ready */
  readonly cut: boolean
  /** which choice at this position */
  readonly turn: number
}

/** Decides who goes on. */
export interface Chooser {
  /** whether the fiber is cut before its next operation; somebody else is ready, or time can move */
  readonly cuts: (fiber: FiberState, world: World) => boolean
  readonly next: (world: World, position: Position) => number
  /** tells of a new fiber: its priority */
  readonly priority: () => number
  /** moves by the key of the fiber that they come after, for choosers that have a script */
  readonly script?: Schedule.Script | undefined
  /** whether lines are needed to find the positions */
  readonly anchored?: boolean | undefined
}
