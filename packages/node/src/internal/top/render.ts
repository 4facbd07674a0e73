/** The picture as lines of text, no wider and no more than the terminal. Pure. */
import type { Tone } from "@holdfast/http/ConsoleFeed"
import { cut, fit, isNumber, plain, span, width, wrap } from "./format.js"
import * as State from "./state.js"
import * as Table from "./table.js"

export interface Size {
  readonly columns: number
  readonly rows: number
  /** Without colour: bold, dim and reverse only. */
  readonly colour: boolean
}

type Style = "bold" | "dim" | "reverse" | Tone

const codes: Readonly<Record<Style, string>> = {
  bold: "1",
  dim: "2",
  reverse: "7",
  bad: "31",
  warn: "33",
  good: "32",
  quiet: "2"
}

const painter = (colour: boolean) => (text: string, ...styles: ReadonlyArray<Style | undefined>): string => {
  const on = styles.flatMap((style) => style === undefined || (!colour && codes[style].length > 1) ? [] : codes[style])
  return on.length === 0 || text === "" ? text : `\u001b[${on.join(";")}m${text}\u001b[0m`
}

type Paint = ReturnType<typeof painter>

/** As wide as what is in them, as far as there is room: first words are cut, then the last columns go. */
export const widths = (table: Table.Table, room: number): ReadonlyArray<number> => {
  const { lines, section, sort } = table
  const all = section.columns.map(({ key, title }, index) =>
    lines.reduce(
      (most, line) => Math.max(most, width(line.cells[index]) + (index === 0 ? indent(line).length : 0)),
      width(plain(title)) + (key === sort?.key ? 2 : 0)
    )
  )
  const least = section.columns.map(({ format }, index) => isNumber(format) ? all[index] : Math.min(all[index], 8))
  const sum = () => all.reduce((sum, one) => sum + one, 2 * (all.length - 1))
  while (all.length > 0 && sum() > room) {
    let widest = -1
    for (let i = 0; i < all.length; i++) {
      if (all[i] > least[i] && (widest < 0 || all[i] > all[widest])) widest = i
    }
    if (widest >= 0) all[widest] = Math.max(least[widest], all[widest] - (sum() - room), second(all, widest))
    else if (all.length > 1) all.pop()
    else all[0] = room
  }
  return all
}

/** The widest but one: the two shrink together from there. */
const second = (all: ReadonlyArray<number>, widest: number): number => {
  const next = Math.max(0, ...all.filter((_, index) => index !== widest))
  return next < all[widest] ? next : all[widest] - 1
}

const marks = { none: "  ", open: "- ", folded: "+ " } as const

/** Only a tree has marks. */
const indent = ({ depth, fold }: Table.Line): string =>
  depth === 0 && fold === "none" ? "" : "  ".repeat(depth) + marks[fold]

const body = (
  state: State.State,
  table: Table.Table,
  room: Size,
  paint: Paint
): { readonly lines: ReadonlyArray<string>; readonly from: number } => {
  const { chosen, lines, section, sort } = table
  const { opened } = State.lookAt(state, section.id)
  const all = widths(table, room.columns)
  const columns = section.columns.slice(0, all.length)
  const arrow = (key: string) => key !== sort?.key ? "" : sort.descending ? " ↓" : " ↑"
  const head = columns.map(({ format, key, title }, i) => fit(plain(title) + arrow(key), all[i], isNumber(format)))
    .join("  ").trimEnd()
  if (lines.length === 0) {
    const nothing = section.rows.length === 0 ? section.instead ?? "nothing" : "nothing fits the filter"
    return { lines: [...head === "" ? [] : [paint(head, "dim")], ...wrap(nothing, room.columns)], from: 0 }
  }
  const painted: Array<string> = []
  let at = 0
  for (const [index, line] of lines.entries()) {
    const text = columns.map(({ format }, i) =>
      fit(i === 0 ? indent(line) + line.cells[0] : line.cells[i], all[i], isNumber(format))
    ).join("  ").trimEnd()
    if (index === chosen) at = painted.length
    painted.push(index === chosen ? paint(fit(text, room.columns), "reverse") : paint(text, line.row.tone))
    if (!opened.has(line.row.key)) continue
    for (const [name, value] of Object.entries(line.row.detail ?? {})) {
      for (const one of wrap(`${name}: ${value}`, room.columns - 4)) {
        painted.push(paint(cut(`    ${one}`, room.columns), "dim"))
      }
    }
  }
  const height = Math.max(1, room.rows - (head === "" ? 0 : 1))
  // The chosen row stays in the middle: nothing has to be remembered.
  const from = Math.max(0, Math.min(at - Math.floor(height / 2), painted.length - height))
  return { lines: [...head === "" ? [] : [paint(head, "dim")], ...painted.slice(from, from + height)], from }
}

/** Parts of a line, as many as fit, each with its style. */
const parts = (
  paint: Paint,
  room: number,
  ...all: ReadonlyArray<readonly [string, ...ReadonlyArray<Style | undefined>]>
) => {
  let left = room
  let line = ""
  for (const [text, ...styles] of all) {
    if (text === "" || left <= 3) continue
    const short = cut(`${line === "" ? "" : "  "}${text}`, left)
    left -= width(short)
    line += paint(short, ...styles)
  }
  return line
}

const alertsText = ({ picture }: State.State): string => {
  const count = (severity: string) => picture.alerts.filter((alert) => alert.severity === severity).length
  const words = (["critical", "warning", "info"] as const).flatMap((severity) =>
    count(severity) === 0 ? [] : [`${count(severity)} ${severity}`]
  )
  return words.length === 0 ? "no alerts" : words.join(", ")
}

const linkText = ({ link, now, picture }: State.State): string =>
  link._tag === "Lost"
    ? `${picture.frame?.ending === true ? "it has shut down" : "connection lost"} (${plain(link.why)}), again in ${
      span(link.again - now)
    }`
    : link._tag === "Connecting"
    ? "connecting"
    : ""

const header = (state: State.State, columns: number, paint: Paint): ReadonlyArray<string> => {
  const { frame, hello } = state.picture
  const lost = linkText(state)
  if (hello === undefined || frame === undefined) return [cut("holdfast-top", columns), cut(lost, columns)]
  const stale = State.age(state) > State.staleAfter
  const worst = state.picture.alerts[0]?.severity
  const tone = worst === "critical" ? "bad" : worst === "warning" ? "warn" : "good"
  const first = parts(
    paint,
    columns,
    [plain(hello.name), "bold"],
    [plain(frame.phase), frame.phase === "accepting" ? "good" : "warn"],
    [stale ? `stale: ${span(State.age(state))} old` : `${span(State.age(state))} old`, stale ? "warn" : undefined],
    [alertsText(state), tone]
  )
  if (lost !== "") return [first, paint(cut(lost, columns), "bad")]
  const left = frame.shutdownLeftMillis
  if (frame.phase !== "accepting") {
    const waiting = frame.waitingFor ?? []
    return [
      first,
      parts(
        paint,
        columns,
        [left === undefined ? "shuts down" : `shuts down, ${span(left)} left`, "warn"],
        [waiting.length === 0 ? "" : `waits for ${waiting.map(plain).join(", ")}`]
      )
    ]
  }
  return [
    first,
    parts(
      paint,
      columns,
      [hello.version === undefined ? "" : plain(hello.version), "dim"],
      [`up ${span(State.processNow(state) - hello.startedAt)}`, "dim"],
      [hello.pid === undefined ? "" : `pid ${hello.pid}`, "dim"],
      [hello.host === undefined ? "" : plain(hello.host), "dim"],
      [hello.role, "dim"]
    )
  ]
}

/** Beside the table where there is room, and one line above it where there is none. */
const minimumForList = 72
const listWidth = 20

const labelOf = ({ title, total }: Table.Section, columns: number): string => {
  const count = total === 0 ? "" : ` ${total}`
  return fit(cut(title, columns - count.length) + count, columns)
}

const list = (
  sections: ReadonlyArray<Table.Section>,
  at: number,
  rows: number,
  paint: Paint
): ReadonlyArray<string> => {
  const from = Math.max(0, Math.min(at - Math.floor(rows / 2), sections.length - rows))
  return sections.slice(from, from + rows).map((section, index) => {
    const number = from + index < 9 ? `${from + index + 1} ` : "  "
    return paint(number + labelOf(section, listWidth - 3), from + index === at ? "reverse" : undefined) + " "
  })
}

const strip = (sections: ReadonlyArray<Table.Section>, at: number, columns: number, paint: Paint): string =>
  parts(
    paint,
    columns,
    [`${at + 1}/${sections.length}`, "dim"],
    ...sections.slice(at, at + 9).map((section, index) =>
      [
        cut(section.title, 24) + (section.total === 0 ? "" : ` ${section.total}`),
        index === 0 ? "reverse" : undefined
      ] as const
    )
  )

const footer = (state: State.State, table: Table.Table, columns: number, paint: Paint): string => {
  const { filter } = State.lookAt(state, table.section.id)
  if (state.typing) return cut(`/${filter}_  Enter keeps it, Esc clears it`, columns)
  const { lines, section } = table
  return parts(
    paint,
    columns,
    [
      section.total > section.rows.length || filter !== ""
        ? `${lines.length} of ${Math.max(section.total, section.rows.length)}`
        : `${lines.length === 0 ? 0 : table.chosen + 1}/${lines.length}`
    ],
    [filter === "" ? "" : `filter "${filter}"`, "bold"],
    ["q quit  Tab section  s S sort  / filter  Space fold  Enter details", "dim"]
  )
}

/** Lines for a terminal of this size. */
export const render = (state: State.State, size: Size): ReadonlyArray<string> => {
  const ordinary = painter(size.colour)
  const stale = state.picture.frame !== undefined && State.age(state) > State.staleAfter
  // What is old is grey, whatever it was.
  const paint: Paint = stale
    ? (text, ...styles) => ordinary(text, styles.includes("reverse") ? "reverse" : "dim")
    : ordinary
  const top = header(state, size.columns, ordinary)
  if (state.picture.frame === undefined) return top.slice(0, size.rows)
  const sections = Table.sections(state.picture)
  const section = State.current(state, sections)
  const at = sections.indexOf(section)
  const table = State.shown(state, section)
  const wide = size.columns >= minimumForList
  const above = wide ? [...top, ""] : [...top, strip(sections, at, size.columns, paint)]
  const rows = Math.max(2, size.rows - above.length - 1)
  const columns = wide ? size.columns - listWidth : size.columns
  const { lines } = body(state, table, { ...size, columns, rows }, paint)
  const names = wide ? list(sections, at, rows, paint) : []
  const middle = Array.from(
    { length: rows },
    (_, i) => wide ? (names[i] ?? " ".repeat(listWidth)) + (lines[i] ?? "") : lines[i] ?? ""
  )
  return [...above, ...middle, footer(state, table, size.columns, ordinary)].slice(-Math.max(1, size.rows))
}

/** Everything, once, as text: for a script. */
export const snapshot = (state: State.State): ReadonlyArray<string> => {
  const bare: Paint = (text) => text
  const lines = [...header(state, Infinity, bare)]
  for (const section of Table.sections(state.picture)) {
    const table = { ...State.shown(state, section), chosen: -1 }
    const all = body(state, table, { columns: Infinity, rows: Infinity, colour: false }, bare).lines
    const hidden = section.total - section.rows.length
    lines.push("", `== ${section.title}${section.total === 0 ? "" : ` (${section.total})`}`, ...all)
    if (hidden > 0 && section.rows.length > 0) lines.push(`and ${hidden} more`)
  }
  return lines
}
