/**
 * Places in user code: stacks that are captured cheaply, and formatted only when somebody reads them. A report names the
 * first frame of user code; failing that, of a dependency; never of this package, of the Effect runtime or of vitest,
 * which would tell nobody where to look.
 */
import { existsSync, readFileSync } from "node:fs"
import { resolve } from "node:path"
import { fileURLToPath } from "node:url"

/** Where a piece of code was: formatted only when somebody reads it. */
export interface Place {
  readonly stack?: string
}

interface Frame {
  /** `file:line`, relative to the working directory or to `node_modules` */
  readonly shown: string
  /** the package in `node_modules` that the frame is of; none for user code */
  readonly dependency: string | undefined
}

/** The stack of here. */
export const here = (frames: number): Place => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = frames
  const place: Place = {}
  Error.captureStackTrace(place, here)
  Error.stackTraceLimit = limit
  return place
}

const slashes = (path: string) => path.replaceAll("\\", "/")
const root = `${slashes(process.cwd())}/`
// this file is in `src/internal` or in `dist/internal`; source maps tell of `src` even then
const own = slashes(fileURLToPath(new URL("../..", import.meta.url)))
const ownFolders = [`${own}src/`, `${own}dist/`]

/** What runs the tests: nothing that it makes is theirs. */
export const runners: ReadonlySet<string> = new Set(["vitest", "@vitest/runner", "vite-node", "tinypool"])
const machinery = new Set(["effect", "@effect/vitest", ...runners])

const framesOf = (place: Place | undefined): ReadonlyArray<Frame> =>
  (place?.stack ?? "").split("\n").flatMap((line) => {
    const match = /(?:^|[ (])((?:file:\/\/|\/|[A-Za-z]:[\\/])[^()]*?):(\d+)(?::\d+)?\)?$/.exec(line.trim())
    if (match === null) return []
    const file = slashes(match[1]!.replace(/^file:\/\//, "").replace(/\?.*$/, ""))
    if (ownFolders.some((folder) => file.startsWith(folder))) return []
    const [, dependency, rest] = /^.*\/node_modules\/((?:@[^/]+\/)?[^/]+)(\/.*)$/.exec(file) ?? []
    const shown = dependency !== undefined
      ? `${dependency}${rest}`
      : file.startsWith(root)
      ? file.slice(root.length)
      : file
    return [{ shown: `${shown}:${match[2]}`, dependency }]
  })

/** `file:line` of the first frame of user code in any of the places; else of the first dependency. */
export const show = (...places: ReadonlyArray<Place | undefined>): string | undefined => {
  const frames = places.flatMap(framesOf)
  return (frames.find(({ dependency }) => dependency === undefined) ??
    frames.find(({ dependency }) => !machinery.has(dependency!)))?.shown
}

/** `file:line` where it is user code, and nothing else. */
export const showUser = (place: Place | undefined): string | undefined =>
  framesOf(place).find(({ dependency }) => dependency === undefined)?.shown

/** `file:line` of the first frame, also in the code of a dependency. */
export const showAny = (place: Place | undefined): string | undefined => framesOf(place)[0]?.shown

/**
 * Who called: `"user"`, or the name of a dependency. Nobody when all of the stack is of this package or of the platform.
 */
export const caller = (place: Place | undefined): string | undefined => {
  const [first] = framesOf(place)
  return first === undefined ? undefined : first.dependency ?? "user"
}

const maxFrames = 3

/** A stack, for an error, that leads to places as `show` gives them: reporters print the code around its first line. */
export const stackTo = (header: string, shown: ReadonlyArray<string>): string =>
  [
    header,
    ...shown.slice(0, maxFrames).flatMap((place) => {
      const [, file, line] = /^(.*):(\d+)$/.exec(place) ?? []
      const path = file === undefined ? "" : resolve(root, file)
      return file !== undefined && existsSync(path) ? [`    at ${path}:${line}:1`] : []
    })
  ].join("\n")

/** Reads lines of source for places as `show` gives them; each file is read once. */
export const makeReader = (): (shown: string) => string => {
  const files = new Map<string, ReadonlyArray<string>>()
  return (shown) => {
    const [, file, line] = /^(.*):(\d+)$/.exec(shown) ?? []
    if (file === undefined) return ""
    let lines = files.get(file)
    if (lines === undefined) {
      const path = resolve(root, file)
      lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : []
      files.set(file, lines)
    }
    return lines[Number(line) - 1]?.trim() ?? ""
  }
}
