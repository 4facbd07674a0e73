/** Ratios as bars, one block for each title. */
import type { Row } from "../shared/measure.js"

const width = 860
const label = 300
const line = 18

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

/** What a title measures, contender by contender, in the order of their first appearance. */
export const byTitle = <A extends Row>(rows: ReadonlyArray<A>): ReadonlyMap<string, ReadonlyArray<A>> => {
  const titles = new Map<string, Array<A>>()
  for (const row of rows) titles.set(row.title, [...titles.get(row.title) ?? [], row])
  return titles
}

export const svg = (heading: string, rows: ReadonlyArray<Row>): string => {
  const parts: Array<string> = []
  let top = 44
  for (const [title, group] of byTitle(rows)) {
    const most = Math.max(...group.map(({ value }) => value), Number.MIN_VALUE)
    parts.push(
      `<text x="10" y="${top}" font-weight="bold">${escaped(title)} (${
        group[0]!.less === false ? "more" : "less"
      } is better)</text>`
    )
    for (const { contender, ratio, value } of group) {
      top += line
      const length = Math.max(1, (width - label - 150) * value / most)
      // what is compared stands out from what it is compared with
      const fill = /EventBus|FiberRegistry|Cleanup|Ticker$|store|NodeServer|holdfast/.test(contender)
        ? "#2563eb"
        : "#9ca3af"
      parts.push(
        `<text x="${label - 8}" y="${top}" text-anchor="end">${escaped(contender)}</text>`,
        `<rect x="${label}" y="${top - 10}" width="${length.toFixed(1)}" height="12" fill="${fill}"/>`,
        `<text x="${(label + length + 6).toFixed(1)}" y="${top}">${value.toFixed(2)}${
          ratio === undefined ? "" : `, ${ratio.toFixed(2)} x`
        }</text>`
      )
    }
    top += 34
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${top}" font-family="sans-serif" font-size="11">`,
    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
    `<text x="10" y="20" font-size="14">${escaped(heading)}</text>`,
    ...parts,
    "</svg>",
    ""
  ].join("\n")
}
