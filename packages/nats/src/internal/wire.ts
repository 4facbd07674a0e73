/**
 * How an event lies in the stream: one line of JSON that says everything about it, then the event itself as it is. A text that
 * UTF-8 cannot hold is in the line, where JSON escapes it.
 */
import type { Draft, Row } from "@holdfast/core/EventJournal"

interface Head {
  readonly attempt?: string
  readonly at: number
  readonly topic: string
  readonly tag: string
  readonly meta: string
  readonly event?: string
}

const newline = 10
const loneSurrogate = /\p{Surrogate}/u

export const encode = (draft: Draft, attempt: string): Buffer => {
  const { at, meta, payload, tag, topic } = draft
  const whole = !loneSurrogate.test(payload)
  const head: Head = whole ? { attempt, at, topic, tag, meta } : { attempt, at, topic, tag, meta, event: payload }
  return Buffer.from(`${JSON.stringify(head)}\n${whole ? payload : ""}`, "utf8")
}

const isHead = (value: unknown): value is Head => {
  if (typeof value !== "object" || value === null) return false
  const { at, attempt, event, meta, tag, topic } = value as Partial<Head>
  return typeof at === "number" && typeof topic === "string" && typeof tag === "string" && typeof meta === "string" &&
    (attempt === undefined || typeof attempt === "string") && (event === undefined || typeof event === "string")
}

/** The line of a message, or none when it is not one of ours. `from` is where the event begins. */
export const headOf = (data: Buffer): { readonly head: Head; readonly from: number } | undefined => {
  const end = data.indexOf(newline)
  if (end < 0) return undefined
  try {
    const head: unknown = JSON.parse(data.toString("utf8", 0, end))
    return isHead(head) ? { head, from: end + 1 } : undefined
  } catch {
    return undefined
  }
}

export const decode = (id: number, data: Buffer): Row | undefined => {
  const found = headOf(data)
  if (found === undefined) return undefined
  const { head: { at, attempt, event, meta, tag, topic }, from } = found
  return { id, at, topic, tag, meta, payload: event ?? data.toString("utf8", from), attempt }
}

/** The message id of the row `index` of an attempt: the server gives no two messages the same one. */
export const messageId = (attempt: string, index: number): string => {
  const name = /^[\w./:-]+$/.test(attempt) ? attempt : `=${Buffer.from(attempt, "utf16le").toString("base64url")}`
  return index === 0 ? name : `${name}~${index + 1}`
}
