/** How the id of an event is written for clients: the number, behind the epoch of its log where it has one. */
import type { WireId } from "../../SessionSink.js"

export const wireId = (epoch: string | undefined, id: number): WireId => epoch === undefined ? id : `${epoch}.${id}`

/** An id that is none of this log, or of another epoch of it, is beyond every id: the hub says so with a gap. */
export const parseId = (epoch: string | undefined, text: string): number => {
  const prefix = epoch === undefined ? "" : `${epoch}.`
  const digits = text.startsWith(prefix) ? text.slice(prefix.length) : ""
  return /^\d{1,15}$/.test(digits) ? Number(digits) : Number.MAX_SAFE_INTEGER
}
