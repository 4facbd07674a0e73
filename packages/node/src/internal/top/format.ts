/**
 * Values as people read them, in the columns of a terminal. They are those of the console's page (`assets/console/format.js`
 * of `@holdfast/http`, which runs in browsers as it is): a test holds the two to each other.
 */
import type { Cell, Format } from "@holdfast/http/ConsoleFeed"

export const span = (millis: number): string => {
  const seconds = Math.max(0, Math.floor(millis / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`
}

const few = (value: number): string => {
  const size = Math.abs(value)
  if (size >= 100_000) return `${Math.round(value / 1000).toLocaleString("en")} k`
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en")
  const digits = size < 1 ? 100 : 10
  return String(Math.round(value * digits) / digits)
}

const bytes = (value: number): string => {
  const size = Math.abs(value)
  if (size < 1024) return `${Math.round(value)} B`
  if (size < 1024 ** 2) return `${few(value / 1024)} KiB`
  if (size < 1024 ** 3) return `${few(value / 1024 ** 2)} MiB`
  return `${few(value / 1024 ** 3)} GiB`
}

const millis = (value: number): string =>
  value >= 10_000 ? span(value) : value >= 1000 ? `${few(value / 1000)} s` : `${few(value)} ms`

const two = (value: number): string => String(value).padStart(2, "0")

const clock = (at: number, now: number): string => {
  const date = new Date(at)
  return now - at < 20 * 3_600_000
    ? `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
    : date.toISOString().slice(0, 16).replace("T", " ")
}

const endings: Readonly<Record<string, string>> = { "": "", "/s": "/s" }

export const amount = (value: number, unit: string): string =>
  unit === "B" ? bytes(value) : unit === "ms" ? millis(value) : `${few(value)}${endings[unit] ?? ` ${unit}`}`

/** `now` is the clock of the process that is looked at. */
export const cell = (value: Cell | undefined, format: Format, now: number): string => {
  if (value === null || value === undefined) return ""
  if (typeof value === "boolean") return value ? "yes" : "no"
  if (typeof value === "string") return plain(value)
  switch (format) {
    case "since":
      return span(now - value)
    case "at":
      return clock(value, now)
    case "bytes":
      return bytes(value)
    case "millis":
    case "left":
      return millis(value)
    case "rate":
      return `${few(value)}/s`
    case "code":
      return String(value)
    default:
      return value.toLocaleString("en")
  }
}

const words: ReadonlySet<Format> = new Set(["text", "code", "at"])
export const isNumber = (format: Format): boolean => !words.has(format)

// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

/** What a terminal would obey, or read backwards, is shown as a blank or a mark: names and log lines can come from anybody. */
export const plain = (text: string): string =>
  text.replace(control, (one) => one === "\n" || one === "\t" || one === "\r" ? " " : "\ufffd")

const noWidth = /^(?:\p{M}|[\u200b-\u200d])$/u
const twoWide =
  /^[\p{Emoji_Presentation}\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]$/u

const widthOf = (point: string): number => point < "\u0300" ? 1 : noWidth.test(point) ? 0 : twoWide.test(point) ? 2 : 1

/** Columns that a text takes. */
export const width = (text: string): number => {
  let sum = 0
  for (const point of text) sum += widthOf(point)
  return sum
}

/** No wider than this: what is cut ends with an ellipsis. */
export const cut = (text: string, columns: number): string => {
  if (text.length * 2 <= columns || width(text) <= columns) return text
  let kept = ""
  let sum = 0
  for (const point of text) {
    sum += widthOf(point)
    if (sum > columns - 1) break
    kept += point
  }
  return columns < 1 ? "" : `${kept}…`
}

/** Exactly this wide. */
export const fit = (text: string, columns: number, right = false): string => {
  const short = cut(text, columns)
  const blank = " ".repeat(Math.max(0, columns - width(short)))
  return right ? blank + short : short + blank
}

/** In lines no wider than this, at blanks where there are some. */
export const wrap = (text: string, columns: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const paragraph of text.split("\n")) {
    let line = ""
    for (const word of plain(paragraph).split(" ")) {
      if (line !== "" && width(line) + 1 + width(word) > columns) {
        lines.push(line)
        line = ""
      }
      line = cut(line === "" ? word : `${line} ${word}`, columns)
    }
    lines.push(line)
  }
  return lines
}

const bars = "▁▂▃▄▅▆▇█"

export const spark = (values: ReadonlyArray<number>): string => {
  const least = Math.min(...values)
  const range = Math.max(...values) - least
  return values.map((value) => bars[range === 0 ? 0 : Math.round((value - least) / range * (bars.length - 1))]).join("")
}
