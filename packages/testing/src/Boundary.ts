/**
 * The boundary between tests and the harness: an Effect that a test runs by itself (`Effect.runPromise`, `runSync`,
 * `runFork`, an `async` test body) has no virtual clock, no captured log, no scope that ends with the test, and no seed.
 *
 * `scan` reads source text, so that it also finds what never ran. A test that is about the edge of the runtime says so
 * in a comment, `// edge: <why>`, on the line, on the line above, or, for a whole file, before the first import.
 *
 * **Limits.** Text is read, not types: `run` under another name is not seen. Strings, templates and comments are skipped.
 *
 * @since 0.1.0
 */
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"

/**
 * @since 0.1.0
 * @category models
 */
export interface Escape {
  readonly file: string
  /** from 1 */
  readonly line: number
  /** `run`: an Effect is run by hand · `async`: the body of a test is an async function */
  readonly kind: "run" | "async"
  readonly text: string
}

const runs =
  /\b(?:Effect\s*\.\s*run(?:Promise|PromiseExit|Sync|SyncExit|Fork|Callback)|Runtime\s*\.\s*run(?:Promise|PromiseExit|Sync|SyncExit|Fork|Callback)|ManagedRuntime\s*\.\s*make)\b/g
// the name of the test is blank by now
const asyncTests = /\b(?:it|test)(?:\s*\.\s*\w+)*\s*(?:\([^()]*\)\s*)?\(\s*,\s*(?:\{[^}]*\}\s*,\s*)?async\b/g
const marker = /\/\/ edge: \S/

/**
 * The escapes in one source text.
 *
 * @since 0.1.0
 * @category checking
 */
export const scan = (file: string, source: string): ReadonlyArray<Escape> => {
  const lines = source.split("\n")
  const firstImport = lines.findIndex((line) => line.startsWith("import"))
  if (lines.slice(0, firstImport === -1 ? 0 : firstImport).some((line) => marker.test(line))) return []
  const code = blank(source)
  const found: Array<Escape> = []
  for (const [kind, pattern] of [["run", runs], ["async", asyncTests]] as const) {
    for (const match of code.matchAll(pattern)) {
      const line = code.slice(0, kind === "async" ? match.index : match.index + match[0].length).split("\n").length
      if (marker.test(lines[line - 1]!) || (line > 1 && marker.test(lines[line - 2]!))) continue
      found.push({ file, line, kind, text: lines[line - 1]!.trim() })
    }
  }
  return found.sort((a, b) => a.line - b.line)
}

/**
 * The escapes in all files below `directories` whose name ends in `suffix`.
 *
 * @since 0.1.0
 * @category checking
 */
export const scanFiles = (
  directories: ReadonlyArray<string>,
  suffix = ".test.ts"
): ReadonlyArray<Escape> =>
  directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(suffix) && !name.includes("node_modules"))
      .map((name) => join(directory, name))
      .filter((path) => statSync(path).isFile())
      .flatMap((path) => scan(path, readFileSync(path, "utf8")))
  )

/**
 * One line for each escape.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (escapes: ReadonlyArray<Escape>): string =>
  escapes.map(({ file, kind, line, text }) =>
    `${file}:${line} ${kind === "run" ? "runs an Effect outside the harness" : "is an async test"}: ${text}`
  ).join("\n")

/** The source with the inside of strings, templates and comments blanked; lines stay where they are. */
const blank = (source: string): string =>
  source.replace(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`/g,
    (text) => text.replace(/[^\n]/g, " ")
  )
