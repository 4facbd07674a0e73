/** What is looked at and how, and what each key does to it. Pure. */
import { cell } from "./format.js"
import * as Picture from "./picture.js"
import * as Table from "./table.js"

export type Link =
  | { readonly _tag: "Connecting" }
  | { readonly _tag: "Live" }
  /** `again`: when it is tried again, by the monotonic clock. */
  | { readonly _tag: "Lost"; readonly why: string; readonly again: number }

export interface State {
  readonly picture: Picture.Picture
  readonly link: Link
  /** The monotonic clock. */
  readonly now: number
  readonly section: string
  readonly looks: ReadonlyMap<string, Table.Look>
  /** Are keys letters of the filter? */
  readonly typing: boolean
  /** Rows that a page has, as it was painted. */
  readonly page: number
}

export const initial: State = {
  picture: Picture.empty,
  link: { _tag: "Connecting" },
  now: 0,
  section: "alerts",
  looks: new Map(),
  typing: false,
  page: 10
}

/** As Node.js reads it from a terminal. */
export interface Key {
  readonly name?: string | undefined
  readonly sequence?: string | undefined
  readonly ctrl?: boolean | undefined
  readonly shift?: boolean | undefined
}

/** The clock of the process that is looked at, as far as its last frame tells. */
export const processNow = ({ now, picture }: State): number => (picture.frame?.at ?? 0) + Math.max(0, now - picture.at)

export const age = ({ now, picture }: State): number => Math.max(0, now - picture.at)

/** A picture that is older is grey. */
export const staleAfter = 3000

/** The section that is looked at, or the first one when it is no longer there. */
export const current = (state: State, sections: ReadonlyArray<Table.Section>): Table.Section =>
  sections.find(({ id }) => id === state.section) ?? sections[0]

export const lookAt = (state: State, id: string): Table.Look => state.looks.get(id) ?? Table.unseen

export const shown = (state: State, section: Table.Section): Table.Table =>
  Table.tableOf(section, lookAt(state, section.id), processNow(state))

const toggled = (keys: ReadonlySet<string>, key: string): ReadonlySet<string> => {
  const next = new Set(keys)
  if (!next.delete(key)) next.add(key)
  return next
}

/** The next column to sort by; behind the last one, the order of the process, where it has none of these. */
const nextSort = ({ section, sort }: Table.Table): Table.Sort | undefined => {
  const next = section.columns[section.columns.findIndex(({ key }) => key === sort?.key) + 1] ??
    (section.sort === undefined ? undefined : section.columns[0])
  return next === undefined
    ? undefined
    : { key: next.key, descending: section.rows.some(({ cells }) => typeof cells[next.key] === "number") }
}

/** The letters that a key stands for, if it does. */
const typed = ({ ctrl, sequence = "" }: Key): string =>
  ctrl === true || sequence === "" || cell(sequence, "text", 0) !== sequence ? "" : sequence

/** What follows from a key. Undefined: the end. */
export const press = (state: State, key: Key): State | undefined => {
  if (key.ctrl === true && key.name === "c") return undefined
  const sections = Table.sections(state.picture)
  const section = current(state, sections)
  const look = lookAt(state, section.id)
  const looking = (changes: Partial<Table.Look>): State => ({
    ...state,
    looks: new Map(state.looks).set(section.id, { ...look, ...changes })
  })
  if (state.typing) {
    switch (key.name) {
      case "return":
      case "enter":
        return { ...state, typing: false }
      case "escape":
        return { ...looking({ filter: "" }), typing: false }
      case "backspace":
        return looking({ filter: Array.from(look.filter).slice(0, -1).join("") })
      default:
        return looking({ filter: look.filter + typed(key) })
    }
  }
  const to = (index: number): State => {
    const { id } = sections[(index + sections.length) % sections.length]
    return { ...state, section: id }
  }
  const at = sections.indexOf(section)
  const table = shown(state, section)
  const move = (by: number): State => {
    const index = Math.max(0, Math.min(table.lines.length - 1, table.chosen + by))
    return looking({ index, key: table.lines[index]?.row.key })
  }
  const line = table.lines[table.chosen]
  const open = () => line?.row.detail === undefined ? state : looking({ opened: toggled(look.opened, line.row.key) })
  const command = key.sequence !== undefined && /^[a-zA-Z0-9/ ]$/.test(key.sequence) ? key.sequence : key.name
  switch (command) {
    case "q":
      return undefined
    case "j":
    case "down":
      return move(1)
    case "k":
    case "up":
      return move(-1)
    case "pagedown":
      return move(state.page)
    case "pageup":
      return move(-state.page)
    case "g":
    case "home":
      return move(-Infinity)
    case "G":
    case "end":
      return move(Infinity)
    case "tab":
      return to(at + (key.shift === true ? -1 : 1))
    case "l":
    case "right":
      return to(at + 1)
    case "h":
    case "left":
      return to(at - 1)
    case "s":
      return looking({ sort: nextSort(table) })
    case "S":
      return table.sort === undefined ? state : looking({ sort: { ...table.sort, descending: !table.sort.descending } })
    case "/":
      return { ...state, typing: true }
    case "escape":
      return looking({ filter: "" })
    case " ":
    case "space":
      return line === undefined || line.fold === "none"
        ? open()
        : looking({ folded: toggled(look.folded, line.row.key), key: line.row.key, index: table.chosen })
    case "return":
    case "enter": {
      const link = section.links.get(line?.row.key ?? "")
      // An alert about a series stands in the table of all of them.
      const target = sections.find(({ id }) => id === link?.section) ??
        sections.find(({ id, rows }) => id === "history" && rows.some(({ key }) => key === link?.section))
      if (link === undefined || target === undefined) return open()
      const chosen = target.id === link.section ? link.key : link.section
      return {
        ...state,
        section: target.id,
        looks: new Map(state.looks).set(target.id, { ...lookAt(state, target.id), filter: "", key: chosen })
      }
    }
    default:
      return command !== undefined && /^[1-9]$/.test(command) && Number(command) <= sections.length
        ? to(Number(command) - 1)
        : state
  }
}
