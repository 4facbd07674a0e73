/** What the viewer knows of a process: the frames of its console's feed, applied. Values, never changed in place. */
import type { Alert, Cell, Frame, Hello, Row, SectionData } from "@holdfast/http/ConsoleFeed"

export interface Known {
  readonly rows: ReadonlyMap<string, Row>
  readonly total: number
  readonly facts: Readonly<Record<string, Cell>> | undefined
  readonly text: string | undefined
  readonly unavailable: string | undefined
}

export interface Picture {
  readonly hello: Hello | undefined
  /** The newest one, without what is kept beside it. */
  readonly frame: Omit<Frame, "sections" | "history"> | undefined
  /** When it came, by the monotonic clock of this process. */
  readonly at: number
  readonly sections: ReadonlyMap<string, Known>
  readonly alerts: ReadonlyArray<Alert>
  /** The last values of each series, a second apart. */
  readonly series: ReadonlyMap<string, ReadonlyArray<number>>
}

export const empty: Picture = {
  hello: undefined,
  frame: undefined,
  at: 0,
  sections: new Map(),
  alerts: [],
  series: new Map()
}

/** Values of a series that are kept. */
const points = 120

const nothing: Known = { rows: new Map(), total: 0, facts: undefined, text: undefined, unavailable: undefined }

/** Another epoch is another process: nothing of the one before is kept. */
export const greet = (picture: Picture, hello: Hello): Picture =>
  picture.hello?.epoch === hello.epoch ? { ...picture, hello } : { ...empty, hello }

export const apply = (picture: Picture, whole: Frame, at: number): Picture => {
  if (whole.epoch !== picture.hello?.epoch) return picture
  const { history, sections: changed, ...frame } = whole
  const sections = new Map(frame.whole ? [] : picture.sections)
  for (const [id, data] of Object.entries(changed)) sections.set(id, change(sections.get(id) ?? nothing, data))
  const series = new Map(picture.series)
  for (const [id, rings] of Object.entries(history ?? {})) {
    series.set(id, (rings[0]?.points ?? []).flatMap((point) => point === null ? [] : [point[0]]).slice(-points))
  }
  for (const [id, value] of Object.entries(frame.sample?.values ?? {})) {
    // The history of a whole frame ends with its sample.
    if (history?.[id] === undefined) series.set(id, [...(series.get(id) ?? []), value].slice(-points))
  }
  return { hello: picture.hello, frame, at, sections, alerts: frame.alerts ?? picture.alerts, series }
}

const change = (known: Known, { facts, gone, set, text, total, unavailable }: SectionData): Known => {
  const rows = new Map(known.rows)
  for (const key of gone ?? []) rows.delete(key)
  for (const row of set ?? []) rows.set(row.key, row)
  return {
    rows,
    total: total ?? known.total,
    facts: facts ?? known.facts,
    text: text ?? known.text,
    unavailable: unavailable === undefined ? known.unavailable : unavailable === "" ? undefined : unavailable
  }
}
