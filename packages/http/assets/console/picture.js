// What the page knows: the frames of the feed, applied.
import { History } from "./history.js"

export class Picture {
  constructor() {
    this.hello = undefined
    this.reset()
  }

  reset() {
    this.sections = new Map()
    this.histories = new Map()
    this.alerts = []
    this.actions = new Set()
    this.frame = undefined
    this.values = {}
    // The clock of the process against that of this machine.
    this.offset = 0
  }

  /** Is it another process than before? */
  greet(hello) {
    const another = this.hello !== undefined && this.hello.epoch !== hello.epoch
    if (another) this.reset()
    this.hello = hello
    return another
  }

  apply(frame) {
    if (frame.epoch !== this.hello?.epoch) return
    const { alerts, actions, history, sample, sections, whole } = frame
    if (whole) this.sections.clear()
    this.offset = frame.at - Date.now()
    this.frame = { ...frame, sections: undefined, history: undefined }
    for (const [id, data] of Object.entries(sections)) this.change(id, data)
    if (alerts !== undefined) this.alerts = alerts
    if (actions !== undefined) this.actions = new Set(actions)
    if (history !== undefined) {
      for (const [id, rings] of Object.entries(history)) this.historyOf(id).load(rings)
    }
    if (sample !== undefined) {
      this.values = sample.values
      for (const [id, one] of this.histories) if (!(id in sample.values)) one.push(sample.at, undefined)
      for (const [id, value] of Object.entries(sample.values)) this.historyOf(id).push(sample.at, value)
    }
  }

  historyOf(id) {
    let history = this.histories.get(id)
    if (history === undefined) {
      history = new History(this.hello.intervalMillis)
      this.histories.set(id, history)
    }
    return history
  }

  change(id, { facts, gone, set, text, total, unavailable }) {
    const section = this.sections.get(id) ??
      { rows: new Map(), total: 0, facts: undefined, text: undefined, unavailable: undefined }
    this.sections.set(id, section)
    for (const key of gone ?? []) section.rows.delete(key)
    for (const row of set ?? []) section.rows.set(row.key, row)
    if (total !== undefined) section.total = total
    if (facts !== undefined) section.facts = facts
    if (text !== undefined) section.text = text
    if (unavailable !== undefined) section.unavailable = unavailable === "" ? undefined : unavailable
    section.changed = (section.changed ?? 0) + 1
  }

  now() {
    return Date.now() + this.offset
  }
}
