/** Line charts as SVG, one below the other on a common x axis. */

export interface Chart {
  readonly title: string
  readonly points: ReadonlyArray<{ readonly at: number; readonly value: number }>
  /** how a value is written at the axis */
  readonly show: (value: number) => string
}

const width = 860
const height = 130
const left = 90
const gap = 34

const escaped = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;")

const chartAt = ({ points, show, title }: Chart, index: number, from: number, to: number): string => {
  const top = 40 + index * (height + gap)
  const values = points.map(({ value }) => value)
  const low = Math.min(0, ...values)
  const high = Math.max(low + 1e-9, ...values)
  const x = (at: number) => left + (width - left - 10) * (to === from ? 0.5 : (at - from) / (to - from))
  const y = (value: number) => top + height - (height * (value - low)) / (high - low)
  const path = points.map(({ at, value }) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ")
  return [
    `<text x="${left}" y="${top - 6}" font-weight="bold">${escaped(title)}</text>`,
    `<rect x="${left}" y="${top}" width="${width - left - 10}" height="${height}" fill="none" stroke="#bbb"/>`,
    `<text x="${left - 6}" y="${top + 10}" text-anchor="end">${escaped(show(high))}</text>`,
    `<text x="${left - 6}" y="${top + height}" text-anchor="end">${escaped(show(low))}</text>`,
    `<polyline points="${path}" fill="none" stroke="#2563eb" stroke-width="1.5"/>`
  ].join("\n")
}

export const svg = (heading: string, unit: string, charts: ReadonlyArray<Chart>): string => {
  const all = charts.flatMap(({ points }) => points.map(({ at }) => at))
  const from = all.reduce((a, b) => Math.min(a, b), Infinity)
  const to = all.reduce((a, b) => Math.max(a, b), -Infinity)
  const total = 50 + charts.length * (height + gap)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    `<text x="10" y="18" font-size="14">${escaped(heading)}</text>`,
    ...charts.map((chart, index) => chartAt(chart, index, from, to)),
    `<text x="${width - 10}" y="${total - 8}" text-anchor="end">${escaped(unit)}</text>`,
    "</svg>",
    ""
  ].join("\n")
}
