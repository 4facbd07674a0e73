/** What is known of each section, and what has changed since the frame before. */
import type { Cell, Row, SectionData } from "../../ConsoleFeed.js"

/** Rows of a section that are sent; the others are counted. */
export const maxRows = 2000

export class Picture {
  private readonly sections = new Map<string, {
    rows: Map<string, Row>
    total: number
    facts: Readonly<Record<string, Cell>> | undefined
    text: string | undefined
    unavailable: string | undefined
  }>()

  private of(id: string) {
    let section = this.sections.get(id)
    if (section === undefined) {
      section = { rows: new Map(), total: 0, facts: undefined, text: undefined, unavailable: undefined }
      this.sections.set(id, section)
    }
    return section
  }

  /** Forgets sections that are no longer there. */
  keep(ids: ReadonlySet<string>) {
    for (const id of this.sections.keys()) if (!ids.has(id)) this.sections.delete(id)
  }

  rows(id: string, rows: ReadonlyArray<Row>): SectionData | undefined {
    const section = this.of(id)
    const before = section.rows
    const shown = rows.length > maxRows ? rows.slice(0, maxRows) : rows
    const after = new Map<string, Row>()
    const set: Array<Row> = []
    for (const row of shown) {
      const known = before.get(row.key)
      if (known !== undefined && sameRow(known, row)) {
        after.set(row.key, known)
      } else {
        after.set(row.key, row)
        set.push(row)
      }
    }
    const gone: Array<string> = []
    if (after.size < before.size + set.length) {
      for (const key of before.keys()) if (!after.has(key)) gone.push(key)
    }
    const recovered = section.unavailable !== undefined
    const total = section.total !== rows.length
    section.rows = after
    section.total = rows.length
    section.unavailable = undefined
    if (set.length === 0 && gone.length === 0 && !total && !recovered) return undefined
    return {
      ...(set.length === 0 ? {} : { set }),
      ...(gone.length === 0 ? {} : { gone }),
      total: rows.length,
      ...(recovered ? { unavailable: "" } : {})
    }
  }

  facts(id: string, facts: Readonly<Record<string, Cell>>): SectionData | undefined {
    const section = this.of(id)
    if (section.unavailable === undefined && section.facts !== undefined && sameRecord(section.facts, facts)) {
      return undefined
    }
    section.facts = facts
    section.unavailable = undefined
    return { facts, unavailable: "" }
  }

  text(id: string, text: string): SectionData | undefined {
    const section = this.of(id)
    if (section.unavailable === undefined && section.text === text) return undefined
    section.text = text
    section.unavailable = undefined
    return { text, unavailable: "" }
  }

  unavailable(id: string, why: string): SectionData | undefined {
    const section = this.of(id)
    if (section.unavailable === why) return undefined
    section.unavailable = why
    return { unavailable: why }
  }

  whole(): Record<string, SectionData> {
    const all: Record<string, SectionData> = {}
    for (const [id, { facts, rows, text, total, unavailable }] of this.sections) {
      all[id] = {
        set: Array.from(rows.values()),
        total,
        ...(facts === undefined ? {} : { facts }),
        ...(text === undefined ? {} : { text }),
        ...(unavailable === undefined ? {} : { unavailable })
      }
    }
    return all
  }
}

const sameRow = (a: Row, b: Row): boolean =>
  a.parent === b.parent && a.tone === b.tone && sameRecord(a.cells, b.cells) &&
  (a.detail === b.detail || (a.detail !== undefined && b.detail !== undefined && sameRecord(a.detail, b.detail))) &&
  (a.without === b.without || JSON.stringify(a.without) === JSON.stringify(b.without))

const sameRecord = (a: Readonly<Record<string, Cell>>, b: Readonly<Record<string, Cell>>): boolean => {
  // Without lists of the keys: this is asked for each row of each look.
  let more = 0
  for (const key in a) {
    if (a[key] !== b[key]) return false
    more++
  }
  for (const _ in b) more--
  return more === 0
}
