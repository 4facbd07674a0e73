// A graph with axes, the least and the greatest, a line for the threshold, and a cursor for mouse and keyboard.
import { clock, make, setText, span, unit } from "./format.js"

const svg = (tag, attributes = {}, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  if (text !== undefined) node.textContent = text
  return node
}

const height = 96
const bottom = 16

/** Points without a value over which the line goes on. */
const bridged = 3

const top = 6

/** A round number at or above. */
const roundUp = (value, isWhole = false) => {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  const found = [1, 1.5, 2, 3, 5, 7.5, 10].find((step) => step * power >= value) * power
  return isWhole ? Math.ceil(found) : found
}

/** Units of what has no fractions. */
const fractions = new Set(["B", "ms", "%", "/s"])

const roundBytes = (value) => {
  const power = 1024 ** Math.floor(Math.log(Math.max(1, value)) / Math.log(1024))
  return roundUp(value / power) * power
}

export class Graph {
  constructor(info) {
    this.info = info
    this.cursor = undefined
    this.title = make("h3", { textContent: info.title })
    this.value = make("p", { className: "value" })
    this.bounds = make("p", { className: "bounds" })
    this.picture = svg("svg", { role: "img", tabindex: "0", "aria-label": info.title })
    this.node = make(
      "figure",
      { className: "graph", dataset: { series: info.id } },
      this.title,
      this.value,
      this.picture,
      this.bounds
    )
    this.picture.addEventListener("pointermove", (event) => {
      const box = this.picture.getBoundingClientRect()
      this.point((event.clientX - box.left) / box.width)
    })
    this.picture.addEventListener("pointerleave", () => this.point(undefined))
    this.picture.addEventListener("blur", () => this.point(undefined))
    this.picture.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      if (move === undefined || this.last === undefined) return
      event.preventDefault()
      const { size } = this.last
      this.cursor = Math.max(0, Math.min(size - 1, (this.cursor ?? size) + move))
      this.draw(this.last)
    })
  }

  point(share) {
    if (this.last === undefined) return
    this.cursor = share === undefined
      ? undefined
      : Math.max(0, Math.min(this.last.size - 1, Math.round(share * (this.last.size - 1))))
    this.draw(this.last)
  }

  /** `data`: what History.range gives, with the time of the newest point. */
  draw(data) {
    this.last = data
    const { at, points, size, step } = data
    const known = points.filter((point) => point !== null)
    if (known.length === 0) {
      setText(this.value, "–")
      this.picture.replaceChildren()
      setText(this.bounds, "nothing read yet")
      return
    }
    const width = Math.max(120, this.picture.clientWidth || 240)
    const least = Math.min(...known.map(([mean]) => mean))
    const most = Math.max(...known.map(([, greatest]) => greatest))
    const { unit: name, warn } = this.info
    // A floor, so that half a millisecond of lag is no mountain; from zero, but for what is always far from it.
    const floor = name === "ms" ? 10 : name === "%" ? 10 : name === "B" ? 1024 : 2
    const base = name === "B" && least > most * 0.5 ? Math.max(0, least - (most - least) * 0.5 - most * 0.02) : 0
    const above = Math.max(most, floor)
    const ceiling = name === "B" ? roundBytes(above * 1.02) : roundUp(above, !fractions.has(name))
    const from = size - points.length
    const x = (index) => (index + from) / (size - 1) * width
    const y = (value) => top + (1 - (value - base) / (ceiling - base)) * (height - top - bottom)
    const line = (which) => {
      let path = ""
      // A reading that came late is no gap; a second or two without any is bridged.
      let missing = bridged + 1
      points.forEach((point, index) => {
        if (point === null) missing++
        else {
          path += `${missing > bridged ? "M" : "L"}${x(index).toFixed(1)} ${y(point[which]).toFixed(1)}`
          missing = 0
        }
      })
      return path
    }
    const parts = [
      svg("line", { class: "axis", x1: 0, x2: width, y1: y(base), y2: y(base) }),
      svg("line", { class: "grid", x1: 0, x2: width, y1: y(ceiling), y2: y(ceiling) })
    ]
    if (warn !== undefined && warn <= ceiling) {
      parts.push(svg("line", { class: "warn", x1: 0, x2: width, y1: y(warn), y2: y(warn) }))
    }
    if (step > this.info.step) parts.push(svg("path", { class: "most", d: line(1) }))
    parts.push(svg("path", { class: "mean", d: line(0) }))
    // In front of the lines, so that they stay readable.
    parts.push(
      svg("text", { class: "tick", x: 0, y: y(ceiling) + 11 }, unit(ceiling, name)),
      svg("text", { class: "tick", x: 0, y: y(base) - 3 }, base === 0 ? "0" : unit(base, name)),
      svg("text", { class: "tick", x: 0, y: height - 3 }, `−${span(step * size).replace(/ 0 (min|s)$/, "")}`),
      svg("text", { class: "tick end", x: width, y: height - 3 }, "now")
    )
    const shown = this.cursor === undefined ? undefined : points[this.cursor - from]
    if (this.cursor !== undefined) {
      const mark = this.cursor / (size - 1) * width
      parts.push(svg("line", { class: "cursor", x1: mark, x2: mark, y1: 0, y2: height - bottom }))
      if (shown) parts.push(svg("circle", { class: "mark", cx: mark, cy: y(shown[0]), r: 3 }))
    }
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`)
    this.picture.replaceChildren(...parts)
    const last = points.at(-1)
    setText(this.value, last === null ? "–" : unit(last[0], name))
    setText(
      this.bounds,
      this.cursor === undefined
        ? `${unit(least, name)} to ${unit(most, name)}`
        : `${clock(at - (size - 1 - this.cursor) * step)}: ${
          shown
            ? `${unit(shown[0], name)}${step > this.info.step ? `, at most ${unit(shown[1], name)}` : ""}`
            : "not known"
        }`
    )
    this.node.classList.toggle("over", warn !== undefined && last !== null && last[1] > warn)
    this.picture.setAttribute(
      "aria-label",
      `${this.info.title}: ${this.value.textContent}, from ${this.bounds.textContent}`
    )
  }
}
