/** A run as text: which fiber was at which line, in what order, and where another one came between. */
import * as Place from "../place.js"
import { called } from "./recorder.js"
import type { Event } from "./types.js"

interface Row {
  readonly step: number
  readonly at: number
  readonly fiber: number
  readonly text: string
  readonly place: string | undefined
  /** shown even when it comes after the last line of the program: a fault, a pause, a fiber that failed */
  readonly matters: boolean
  times: number
}

const maxSource = 104
/** Runs with more cuts are those of a seed, where cuts are noise. */
const maxCuts = 40

const showFork = (event: Event) =>
  `${event.fiber < 0 ? "start of" : "forks"} ${event.detail}${event.place === undefined ? "" : ` at ${event.place}`}`

const show = (event: Event): string => {
  switch (event.kind) {
    case "run":
      return event.fiber < 0 ? "a timer or callback" : "runs"
    case "line":
      return event.place!
    case "cut":
      return "is paused"
    case "fork":
      return showFork(event)
    case "exit":
    case "escape":
      return event.detail
    case "interrupt":
      return `interrupts ${event.detail}`
    case "wake":
      return `${event.fiber < 0 ? "a timer or callback " : ""}wakes ${event.detail}`
    case "clock":
      return "the clock moves"
    case "log":
      return `logs ${event.detail}`
    case "fault":
      return `fault ${event.detail} fires`
  }
}

/** One event, to tell it from another. */
export const showEvent = (event: Event): string =>
  `${stamp(event)}${event.fiber < 0 ? "" : `#${event.fiber} `}${show(event)}`

const stamp = ({ at, step }: { readonly step: number; readonly at: number }) =>
  `${String(step).padStart(6)} ${String(Math.round(at)).padStart(8)} ms  `

/** Where a fiber is: before what the line says, or after the function there was called. */
interface Line {
  readonly place: string
  readonly isCalled: boolean
}

/** Where the fiber was paused, by the line above, and who went on. */
const showCut = (event: Event, next: Event | undefined, line: Line | undefined): string => {
  const operations = Number(event.detail)
  const where = line === undefined
    ? `after ${operations + 1} operations, before it has called anything of the program`
    : line.isCalled
    ? `${operations === 0 ? "" : `${operations} operation${operations === 1 ? "" : "s"} `}after the line above`
    : operations === 0
    ? "before the line above takes effect"
    : `in the middle of the line above, ${operations} operation${operations === 1 ? "" : "s"} into what it calls`
  const inside = event.place === undefined ? "" : `, in ${event.place}`
  const who = next === undefined
    ? "nobody goes on"
    : next.kind === "clock"
    ? "time passes"
    : next.fiber < 0
    ? "a timer or callback goes on"
    : `#${next.fiber} goes on`
  return `>> paused ${where}${inside}; ${who}`
}

/** Where an interrupted fiber was, and what it did not come to. */
const showInterrupted = (
  { detail, missed, place }: Event,
  last: string | undefined,
  shown: (place: string) => string
): string =>
  [
    `${detail}, ${last === undefined ? "at no line of the program" : `last at ${last}`}`,
    place === undefined ? "" : `, in ${place}`,
    missed === undefined || missed === last ? "" : `; does not come to ${shown(missed)}`
  ].join("")

/**
 * The moves of the fibers, with the source of the lines that they are at. Turns are shown only for a program that has no
 * lines, being made of functions alone: otherwise the lines tell who goes on.
 */
const rowsOf = (events: ReadonlyArray<Event>, showsCuts: boolean): ReadonlyArray<Row> => {
  const hasLines = events.some(({ kind }) => kind === "line")
  const source = Place.makeReader()
  const lines = new Map<number, Line>()
  const rows: Array<Row> = []
  const add = ({ at, fiber, kind, place, step }: Event, text: string) => {
    const last = rows.at(-1)
    if (last !== undefined && last.fiber === fiber && last.text === text) last.times++
    else {rows.push({
        step,
        at,
        fiber,
        text,
        place: kind === "line" ? place : undefined,
        matters: kind === "fault" || kind === "cut" || (kind === "exit" && /^(fails|dies)/.test(text)),
        times: 1
      })}
  }
  const shown = (place: string) => {
    const text = source(place)
    return `${place}  ${text.length > maxSource ? `${text.slice(0, maxSource - 1)}…` : text}`.trimEnd()
  }
  events.forEach((event, i) => {
    switch (event.kind) {
      case "line": {
        const place = event.place!
        lines.set(event.fiber, { place, isCalled: event.detail === called })
        add(event, shown(place))
        break
      }
      case "fork":
        // the line is known already
        add(
          event,
          lines.get(event.fiber)?.place === event.place ? showFork({ ...event, place: undefined }) : showFork(event)
        )
        break
      case "run":
        if (!hasLines && event.fiber >= 0) add(event, show(event))
        break
      case "cut":
        if (showsCuts) {
          const next = events.slice(i + 1).find(({ kind }) => kind === "run" || kind === "clock")
          add(event, showCut(event, next, lines.get(event.fiber)))
        }
        break
      case "clock":
        break
      case "exit":
        add(
          event,
          event.detail.startsWith("is interrupted")
            ? showInterrupted(event, lines.get(event.fiber)?.place, shown)
            : event.detail
        )
        break
      default:
        add(event, show(event))
    }
  })
  return rows
}

const fileOf = (place: string | undefined) => place?.replace(/:\d+$/, "")

/** What a program that failed did after the last line of its own file is clean-up. */
const endOf = (rows: ReadonlyArray<Row>): number => {
  const program = fileOf(rows.find(({ place }) => place !== undefined)?.place)
  const last = rows.findLastIndex(({ matters, place }) => matters || (place !== undefined && fileOf(place) === program))
  return last === -1 ? rows.length : last + 1
}

/** The last `count` rows, those before the failure if there was one, under a heading that says how many there are. */
export const render = (
  events: ReadonlyArray<Event>,
  names: ReadonlyMap<number, string>,
  failed: boolean,
  count: number
): ReadonlyArray<string> => {
  const cuts = events.filter(({ kind }) => kind === "cut").length
  const rows = rowsOf(events, cuts <= maxCuts)
  const end = failed ? endOf(rows) : rows.length
  const shown = rows.slice(Math.max(0, end - count), end)
  const label = (fiber: number) => {
    const name = names.get(fiber)
    return fiber < 0 ? "" : name === undefined ? `#${fiber}` : `#${fiber} ${name}`
  }
  const width = Math.min(32, Math.max("fiber".length, ...shown.map(({ fiber }) => label(fiber).length)))
  return [
    ...(shown.length < end ? [`the last ${shown.length} of ${end} rows`] : []),
    ...(cuts > maxCuts ? [`the ${cuts} pauses of fibers are not shown`] : []),
    `  step         time  ${"fiber".padEnd(width)}  what it does`,
    ...shown.map((row) =>
      `${stamp(row)}${label(row.fiber).padEnd(width)}  ${row.text}${row.times === 1 ? "" : ` (${row.times} times)`}`
    ),
    ...(end < rows.length ? [`and ${rows.length - end} more rows, of fibers that end without a line or a failure`] : [])
  ]
}
