/**
 * Lines for a terminal: wrapped to its width, coloured by tone, and with nothing in them that could move its cursor.
 *
 * @since 0.1.0
 */
import { printable } from "../domain/PlayerText.js"
import type { Line, Tone } from "./Narration.js"

const escape = "\u001b["

const colours: Readonly<Record<Tone, string>> = {
  room: "0",
  speech: "36",
  whisper: "35",
  act: "0",
  move: "2",
  world: "34",
  notice: "33",
  reply: "0",
  error: "31",
  typed: "2"
}

/**
 * Text without anything that a terminal would act on.
 *
 * @since 0.1.0
 * @category rendering
 */
export const plain = (text: string): string => printable(text)

/**
 * Breaks text at blanks into lines of at most `width` characters; longer words are cut.
 *
 * @since 0.1.0
 * @category rendering
 */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(" ")) {
    let rest = word
    while (rest.length > width) {
      if (line !== "") lines.push(line)
      line = ""
      lines.push(rest.slice(0, width))
      rest = rest.slice(width)
    }
    if (line !== "" && line.length + 1 + rest.length > width) {
      lines.push(line)
      line = rest
    } else line = line === "" ? rest : `${line} ${rest}`
  }
  return [...lines, line]
}

/**
 * One line of the log as lines of the terminal.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (
  line: Line,
  options: { readonly columns: number; readonly colours: boolean }
): ReadonlyArray<string> => {
  const width = Math.max(20, Math.min(options.columns, 96) - 2)
  const paint = (code: string, text: string) =>
    options.colours && code !== "0" ? `${escape}${code}m${text}${escape}0m` : text
  const note = (text: string) => wrap(plain(text), width - 2).map((part) => paint("2", `  ${part}`))
  const column = Math.max(0, ...(line.rows ?? []).map(({ label }) => label.length)) + 2
  return [
    ...(line.title === undefined ? [] : ["", paint("1;33", plain(line.title))]),
    ...wrap(plain(line.text), width).map((text) => paint(colours[line.tone], text)),
    ...(line.notes ?? []).flatMap(note),
    ...(line.ways === undefined ? [] : note(line.ways)),
    ...(line.rows ?? []).flatMap(({ label, text }) => {
      const [first, ...rest] = wrap(plain(text), Math.max(10, width - column - 2))
      return [`  ${plain(label).padEnd(column)}${first}`, ...rest.map((more) => `  ${" ".repeat(column)}${more}`)]
    }),
    ...(line.offers === undefined ? [] : note(`You could type: ${line.offers.join(" · ")}`))
  ]
}
