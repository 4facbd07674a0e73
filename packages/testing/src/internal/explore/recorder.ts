/** What happens in a run: two hashes always; events, lines and the schedule for a replay. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as HashSet from "effect/HashSet"
import * as Logger from "effect/Logger"
import * as Hooks from "../hooks.js"
import * as Place from "../place.js"
import * as Choose from "./chooser.js"
import * as Schedule from "./schedule.js"
import type { Chooser, Event, FaultCount, FiberState, Kind, Position, Result, Task } from "./types.js"
import { keyOf, keyOfTask } from "./types.js"

const mix = (hash: number, value: number) => Math.imul(hash ^ value, 0x01000193)
const hex = (hash: number) => (hash >>> 0).toString(16).padStart(8, "0")
const seed = 0x811c9dc5

/** In the event of a line: a function there was called, so that a pause comes after it. */
export const called = "called"

type Recorded = Pick<
  Result<never, never>,
  "steps" | "fingerprint" | "behaviour" | "schedule" | "events" | "names" | "faults" | "escapes"
>

export class Recorder {
  private steps = 0
  private hash = seed
  private touched = seed
  private ends = 0
  private last: FiberState | undefined = undefined
  private times = 0
  private readonly events: Array<Event> = []
  private readonly names = new Map<number, string>()
  private readonly faults = new Map<string, FaultCount>()
  private readonly escapes: Array<string> = []
  private readonly schedule: Array<Schedule.Move> = []
  private readonly numbers = new Map<number, number>()
  private readonly lines = new Map<FiberState, string>()
  private readonly source = Place.makeReader()

  constructor(private readonly full: boolean) {}

  note(kind: Kind, fiber: number, at: number, detail = "", place?: string, missed?: string): void {
    this.hash = mix(mix(mix(this.hash, fiber + 1), kind.charCodeAt(0)), at | 0)
    if (this.full) this.tell(kind, fiber, at, detail, place, missed)
  }

  /** What only a replay knows, and what is therefore no part of the fingerprint. */
  tell(kind: Kind, fiber: number, at: number, detail = "", place?: string, missed?: string): void {
    const event = { step: this.steps, at, kind, fiber, detail, place }
    this.events.push(missed === undefined ? event : { ...event, missed })
  }

  run(fiber: number, at: number): void {
    this.steps++
    this.note("run", fiber, at)
  }

  /** The fiber does something that others may see: only the order of these is a behaviour. */
  touch(fiber: FiberState): void {
    if (fiber !== this.last) {
      this.flush()
      this.last = fiber
    }
    this.times++
  }

  private flush() {
    if (this.last !== undefined) this.touched = mix(mix(this.touched, this.last.keyHash), this.times)
    this.times = 0
  }

  end(fiber: FiberState, exit: Exit.Exit<unknown, unknown>, at: number): void {
    // where an interrupt hit is a behaviour, the order of ends is none
    this.ends = (this.ends + mix(fiber.keyHash, Exit.isSuccess(exit) ? 1 : 2)) | 0
    this.note(
      "exit",
      fiber.index,
      at,
      this.full ? this.shownExit(exit) : "",
      fiber.within,
      fiber.skipped?.place
    )
  }

  /** The id of a fiber, for those that say whom they interrupted. */
  number(id: number, index: number): void {
    this.numbers.set(id, index)
  }

  private shownExit(exit: Exit.Exit<unknown, unknown>): string {
    if (Exit.isSuccess(exit)) return "ends"
    const { cause } = exit
    if (Cause.isInterruptedOnly(cause)) {
      const by = HashSet.toValues(Cause.interruptors(cause)).flatMap((id) => {
        const index = id._tag === "Runtime" ? this.numbers.get(id.id) : undefined
        return index === undefined ? [] : [`#${index}`]
      })
      return by.length === 0 ? "is interrupted" : `is interrupted by ${by.join(" and ")}`
    }
    const error = Cause.squash(cause)
    const text = error instanceof Error ? error.message : String(error)
    return `${Cause.isDie(cause) ? "dies" : "fails"}: ${text.split("\n")[0]}`
  }

  /** The fiber is at a line of user code. Not part of the fingerprint, which is the same when nobody asks for lines. */
  line(fiber: FiberState, place: string | undefined, at: number, chooser: Chooser): void {
    if (place === undefined) return
    const name = Hooks.nameOf(fiber.raw)
    if (name !== undefined) this.names.set(fiber.index, name)
    const text = this.source(place)
    const visit = (fiber.visits.get(text) ?? 0) + 1
    fiber.visits.set(text, visit)
    fiber.line = { text, visit }
    fiber.lineAt = fiber.operations
    if (chooser.anchored === true) {
      Schedule.reach(fiber, chooser.script?.get(keyOf(fiber)), fiber.line, fiber.operations)
    }
    fiber.toldPlace = place
    fiber.toldAt = fiber.operations
    fiber.within = undefined
    this.lines.set(fiber, place)
    this.tell("line", fiber.index, at, "", place)
  }

  /** The fiber calls a function of user code: told, but no position that a schedule could be anchored at. */
  called(fiber: FiberState, place: string, at: number): void {
    fiber.within = undefined
    if (place === fiber.toldPlace) return
    fiber.toldPlace = place
    fiber.toldAt = fiber.operations
    this.tell("line", fiber.index, at, called, place)
  }

  /** The line that the fiber was last seen at. */
  lineOf(fiber: FiberState): string | undefined {
    return this.lines.get(fiber)
  }

  fault(point: string, evaluated: boolean, fires: boolean, fiber: number, at: number): void {
    const count = this.faults.get(point)
    this.faults.set(point, {
      evaluated: (count?.evaluated ?? 0) + (evaluated ? 1 : 0),
      fired: (count?.fired ?? 0) + (fires ? 1 : 0)
    })
    if (fires) this.note("fault", fiber, at, point)
  }

  escape(text: string, at: number): void {
    if (this.escapes.includes(text)) return
    this.escapes.push(text)
    this.note("escape", -1, at, text)
  }

  /** A choice that differs from the plain order. */
  moved({ cut, task, turn }: Position, index: number, ready: ReadonlyArray<Task>): void {
    if (!this.full || task === undefined) return
    const { fiber } = task
    this.schedule.push({
      at: keyOfTask(task),
      operation: fiber?.operations ?? 0,
      cut,
      turn,
      to: index === Choose.clock
        ? Schedule.clock
        : index === Choose.microtasks
        ? Schedule.microtasks
        : keyOfTask(ready[index]!),
      ...(fiber?.line === undefined ? {} : { anchor: { ...fiber.line, plus: fiber.operations - fiber.lineAt } })
    })
  }

  logger(fiber: () => number, at: () => number): Logger.Logger<unknown, void> {
    return Logger.make(({ logLevel, message }) => {
      const text = (Array.isArray(message) ? message : [message]).map((part) =>
        typeof part === "string" ? part : part instanceof Error ? part.message : JSON.stringify(part) ?? String(part)
      ).join(" ")
      this.tell("log", fiber(), at(), `${logLevel.label} ${text}`)
    })
  }

  result(): Recorded {
    this.flush()
    this.last = undefined
    return {
      steps: this.steps,
      fingerprint: hex(this.hash),
      behaviour: hex(mix(this.touched, this.ends)),
      schedule: this.schedule.slice(),
      events: this.events.slice(),
      names: new Map(this.names),
      faults: new Map(this.faults),
      escapes: this.escapes.slice()
    }
  }
}
