import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"

const maxDepth = 12
const maxItems = 1000
const maxText = 2000

/** Any value as one that `JSON.stringify` takes: bounded, without cycles, and with Effect's data types as plain ones. */
export const toJson = (value: unknown): unknown => convert(value, 0, new Set())

const convert = (value: unknown, depth: number, above: Set<object>): unknown => {
  switch (typeof value) {
    case "string":
      return value.length > maxText ? `${value.slice(0, maxText)}…` : value
    case "number":
      return Number.isFinite(value) ? value : String(value)
    case "boolean":
      return value
    case "bigint":
      return String(value)
    case "object":
      break
    default:
      return undefined
  }
  if (value === null) {
    return null
  }
  if (Redacted.isRedacted(value)) {
    return "<redacted>"
  }
  if (Cause.isCause(value)) {
    return convert(Cause.pretty(value, { renderErrorCause: true }), depth, above)
  }
  if (Fiber.isFiber(value)) {
    return undefined
  }
  if (Option.isOption(value)) {
    return Option.isNone(value) ? null : convert(value.value, depth, above)
  }
  if (Exit.isExit(value)) {
    return value._tag === "Success"
      ? { success: convert(value.value, depth, above) }
      : convert(value.cause, depth, above)
  }
  if (Duration.isDuration(value)) {
    return Duration.format(value)
  }
  if (value instanceof Date) {
    return value.toJSON()
  }
  if (value instanceof Error) {
    return `${value.name}: ${value.message}`
  }
  if (ArrayBuffer.isView(value)) {
    return `${value.byteLength} bytes`
  }
  if (depth >= maxDepth || above.has(value)) {
    return "…"
  }
  above.add(value)
  const result = Array.isArray(value) || value instanceof Set || Chunk.isChunk(value)
    ? items(value as Iterable<unknown>, depth, above)
    : value instanceof Map
    ? fields(value, depth, above)
    : fields(Object.entries(value), depth, above)
  above.delete(value)
  return result
}

const items = (values: Iterable<unknown>, depth: number, above: Set<object>): Array<unknown> => {
  const into: Array<unknown> = []
  for (const value of values) {
    if (into.length === maxItems) {
      into.push("…")
      break
    }
    into.push(convert(value, depth + 1, above) ?? null)
  }
  return into
}

const fields = (entries: Iterable<readonly [unknown, unknown]>, depth: number, above: Set<object>) => {
  const into: Record<string, unknown> = {}
  let count = 0
  for (const [key, value] of entries) {
    if (count++ === maxItems) {
      into["…"] = "…"
      break
    }
    into[String(key)] = convert(value, depth + 1, above)
  }
  return into
}
