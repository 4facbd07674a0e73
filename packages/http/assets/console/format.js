// Values as people read them. `now` is the clock of the process.

export const make = (tag, properties = {}, ...children) => {
  const { dataset, ...rest } = properties
  const node = Object.assign(document.createElement(tag), rest)
  if (dataset !== undefined) Object.assign(node.dataset, dataset)
  node.append(...children)
  return node
}

export const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text
}

export const span = (millis) => {
  const seconds = Math.max(0, Math.floor(millis / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`
}

export const few = (value) => {
  const size = Math.abs(value)
  if (size >= 100_000) return `${Math.round(value / 1000).toLocaleString("en")} k`
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en")
  return String(Math.round(value * (size < 1 ? 100 : 10)) / (size < 1 ? 100 : 10))
}

export const bytes = (value) => {
  const size = Math.abs(value)
  if (size < 1024) return `${Math.round(value)} B`
  if (size < 1024 ** 2) return `${few(value / 1024)} KiB`
  if (size < 1024 ** 3) return `${few(value / 1024 ** 2)} MiB`
  return `${few(value / 1024 ** 3)} GiB`
}

export const millis = (value) =>
  value >= 10_000 ? span(value) : value >= 1000 ? `${few(value / 1000)} s` : `${few(value)} ms`

const two = (value) => String(value).padStart(2, "0")

export const clock = (at) => {
  const date = new Date(at)
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

export const unit = (value, name) =>
  name === "B"
    ? bytes(value)
    : name === "ms"
    ? millis(value)
    : `${few(value)}${name === "%" ? " %" : name === "/s" ? "/s" : name === "" ? "" : ` ${name}`}`

const left = new Set(["text", "code", "at"])
export const isNumber = (format) => !left.has(format)

export const cell = (value, format, now) => {
  if (value === null || value === undefined || value === "") return ""
  if (typeof value !== "number") return typeof value === "boolean" ? (value ? "yes" : "no") : value
  switch (format) {
    case "since":
      return span(now - value)
    case "at":
      return now - value < 20 * 3_600_000 ? clock(value) : new Date(value).toISOString().slice(0, 16).replace("T", " ")
    case "bytes":
      return bytes(value)
    case "millis":
    case "left":
      return millis(value)
    case "code":
      return String(value)
    case "rate":
      return `${few(value)}/s`
    default:
      return typeof value === "number" ? value.toLocaleString("en") : value
  }
}
