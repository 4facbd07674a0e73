/** Every section as one thing: columns and lines, sorted, filtered and folded as the view says. */
import type { Alert, Cell, Column, Row, SectionInfo, Tone } from "@holdfast/http/ConsoleFeed"
import * as Format from "./format.js"
import type { Known, Picture } from "./picture.js"

export interface Sort {
  readonly key: string
  readonly descending: boolean
}

/** How one section is looked at. */
export interface Look {
  readonly sort: Sort | undefined
  readonly filter: string
  /** The chosen row; where it was, for when it goes. */
  readonly key: string | undefined
  readonly index: number
  /** Rows of a tree without their children, and rows with their details. */
  readonly folded: ReadonlySet<string>
  readonly opened: ReadonlySet<string>
}

export const unseen: Look = {
  sort: undefined,
  filter: "",
  key: undefined,
  index: 0,
  folded: new Set(),
  opened: new Set()
}

export interface Section {
  readonly id: string
  readonly title: string
  readonly columns: ReadonlyArray<Column>
  readonly sort: Sort | undefined
  readonly rows: ReadonlyArray<Row>
  /** Rows that there are, with those that are not shown; 0 where their number says nothing. */
  readonly total: number
  /** Why there is nothing. */
  readonly instead: string | undefined
  readonly links: ReadonlyMap<string, NonNullable<Alert["link"]>>
}

export interface Line {
  readonly row: Row
  readonly cells: ReadonlyArray<string>
  readonly depth: number
  readonly fold: "none" | "open" | "folded"
}

export interface Table {
  readonly section: Section
  readonly sort: Sort | undefined
  readonly lines: ReadonlyArray<Line>
  /** Which line is chosen; -1 when there is none. */
  readonly chosen: number
}

const column = (key: string, format: Column["format"] = "text", title = key): Column => ({ key, title, format })

const severities: Readonly<Record<Alert["severity"], Tone | undefined>> = {
  critical: "bad",
  warning: "warn",
  info: undefined
}

const alerts = ({ alerts }: Picture): Section => ({
  id: "alerts",
  title: "Alerts",
  columns: [column("severity"), column("what"), column("about"), column("since", "since"), column("text")],
  sort: undefined,
  rows: alerts.map(({ key, severity, since, subject, text, title }): Row => {
    const tone = severities[severity]
    return {
      key,
      cells: { severity, what: title, about: subject ?? "", since: since ?? null, text },
      ...(tone === undefined ? {} : { tone }),
      detail: { text }
    }
  }),
  total: alerts.length,
  instead: "nothing asks to be looked at",
  links: new Map(alerts.flatMap(({ key, link }) => link === undefined ? [] : [[key, link] as const]))
})

const history = (infos: ReadonlyArray<SectionInfo>, { series }: Picture): Section => {
  const rows = infos.map(({ id, title, unit = "", warn }): Row => {
    const values = series.get(id) ?? []
    const last = values.at(-1)
    const says = (value: number | undefined) => value === undefined ? "" : Format.amount(value, unit)
    return {
      key: id,
      cells: {
        series: title,
        now: says(last),
        least: says(values.length === 0 ? undefined : Math.min(...values)),
        most: says(values.length === 0 ? undefined : Math.max(...values)),
        last: Format.spark(values.slice(-30))
      },
      ...(warn !== undefined && last !== undefined && last > warn ? { tone: "warn" as const } : {})
    }
  })
  return {
    id: "history",
    title: "History",
    columns: [column("series"), column("now"), column("least"), column("most"), column("last", "text", "")],
    sort: undefined,
    rows,
    total: 0,
    instead: "no series",
    links: new Map()
  }
}

const facts = (values: Readonly<Record<string, Cell>>): ReadonlyArray<Row> =>
  Object.entries(values).map(([key, value]) => ({ key, cells: { fact: key, value } }))

const shownAs = (info: SectionInfo, known: Known | undefined): Section => {
  const rows = known?.unavailable !== undefined
    ? []
    : info.kind === "facts"
    ? facts(known?.facts ?? {})
    : info.kind === "text"
    ? (known?.text ?? "").split("\n").map((text, index): Row => ({ key: String(index), cells: { text } }))
    : Array.from(known?.rows.values() ?? [])
  return {
    id: info.id,
    title: Format.plain(info.title),
    columns: info.kind === "facts"
      ? [column("fact"), column("value", "code")]
      : info.kind === "text"
      ? [column("text", "text", "")]
      : info.columns ?? [],
    sort: info.sort,
    rows,
    total: info.kind === "facts" || info.kind === "text" ? 0 : Math.max(rows.length, known?.total ?? 0),
    instead: known?.unavailable === undefined ? info.empty ?? "nothing" : `unavailable: ${known.unavailable}`,
    links: new Map()
  }
}

/** Those that there are, in the order of the page: alerts, the series as one, and what the process announces. */
export const sections = (picture: Picture): ReadonlyArray<Section> => {
  const infos = picture.hello?.sections ?? []
  return [
    alerts(picture),
    history(infos.filter(({ kind }) => kind === "series"), picture),
    ...infos.filter(({ kind }) => kind !== "series").map((info) => shownAs(info, picture.sections.get(info.id)))
  ]
}

const isBlank = (cell: Cell | undefined): boolean => cell === undefined || cell === null || cell === ""

const compare = (a: Cell | undefined, b: Cell | undefined): number =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true })

/** What has no value is last, whichever way round. */
const sorted = (rows: ReadonlyArray<Row>, sort: Sort | undefined): ReadonlyArray<Row> =>
  sort === undefined ? rows : rows.toSorted((one, other) => {
    const [a, b] = [one.cells[sort.key], other.cells[sort.key]]
    return isBlank(a) || isBlank(b)
      ? Number(isBlank(a)) - Number(isBlank(b))
      : compare(a, b) * (sort.descending ? -1 : 1)
  })

export const tableOf = (section: Section, look: Look, now: number): Table => {
  const sort = look.sort ?? section.sort
  const texts = new Map(
    section.rows.map((
      row
    ) => [row.key, section.columns.map(({ format, key }) => Format.cell(row.cells[key], format, now))])
  )
  const byKey = new Map(section.rows.map((row) => [row.key, row]))
  const wanted = look.filter.toLowerCase()
  /** What fits the filter, and what it hangs on. */
  const kept = new Set<string>()
  for (const row of section.rows) {
    if (!texts.get(row.key)!.some((text) => text.toLowerCase().includes(wanted))) continue
    for (let one: Row | undefined = row; one !== undefined && !kept.has(one.key); one = byKey.get(one.parent ?? "")) {
      kept.add(one.key)
    }
  }
  const children = new Map<string | undefined, Array<Row>>()
  for (const row of section.rows) {
    if (!kept.has(row.key)) continue
    const parent = row.parent !== undefined && byKey.has(row.parent) ? row.parent : undefined
    const siblings = children.get(parent)
    if (siblings === undefined) children.set(parent, [row])
    else siblings.push(row)
  }
  const lines: Array<Line> = []
  const add = (parent: string | undefined, depth: number) => {
    for (const row of sorted(children.get(parent) ?? [], sort)) {
      const fold = !children.has(row.key) ? "none" : wanted === "" && look.folded.has(row.key) ? "folded" : "open"
      lines.push({ row, cells: texts.get(row.key)!, depth, fold })
      if (fold === "open") add(row.key, depth + 1)
    }
  }
  add(undefined, 0)
  const found = lines.findIndex(({ row }) => row.key === look.key)
  return { section, sort, lines, chosen: found >= 0 ? found : Math.min(look.index, lines.length - 1) }
}
