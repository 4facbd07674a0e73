/**
 * Reads a folder of YAML files into a {@link WorldData}, or says what is wrong with it: every problem at once, each with
 * its file, line, column and path.
 *
 * Checked beyond the Schema: an id is defined once, and every id that is named (exits, things, flags that an exit waits
 * for, weathers, characters' rooms) exists.
 *
 * @since 0.1.0
 */
import { FileSystem, Path } from "@effect/platform"
import { Effect, Either, ParseResult, Schema } from "effect"
import { type Document, isMap, LineCounter, type Node, parseDocument, type Scalar } from "yaml"
import { exitsOf, phaseAt, type Use, type When, type WorldData, WorldFile } from "./WorldData.js"

/**
 * One thing that is wrong with the data.
 *
 * @since 0.1.0
 * @category errors
 */
export const Problem = Schema.Struct({
  file: Schema.String,
  line: Schema.Int,
  column: Schema.Int,
  path: Schema.String,
  message: Schema.String
})
/**
 * @since 0.1.0
 * @category errors
 */
export type Problem = typeof Problem.Type

/**
 * The world could not be read. The message has one line for each problem, as `file:line:column path: what is wrong`.
 *
 * @since 0.1.0
 * @category errors
 */
export class WorldDataError extends Schema.TaggedError<WorldDataError>()("WorldDataError", {
  problems: Schema.NonEmptyArray(Problem)
}) {
  override get message() {
    const lines = this.problems.map(({ column, file, line, message, path }) =>
      `  ${file}:${line}:${column} ${path === "" ? "" : `${path}: `}${message}`
    )
    return `the world data has ${lines.length === 1 ? "a problem" : `${lines.length} problems`}\n${lines.join("\n")}`
  }
}

type PathLike = ReadonlyArray<PropertyKey>

/** A parsed file that can still say where in its text a path is. */
interface Source {
  readonly file: string
  readonly document: Document.Parsed
  readonly lines: LineCounter
}

const keyNode = (parent: unknown, key: PropertyKey): Node | undefined => {
  if (!isMap(parent)) return undefined
  const pair = parent.items.find((item) => String((item.key as Scalar | null)?.value ?? item.key) === String(key))
  return pair?.key as Node | undefined
}

/** The nearest place in the text to a path: the key itself, or what should have held it. */
const locate = (source: Source, path: PathLike): { readonly line: number; readonly column: number } => {
  for (let length = path.length; length > 0; length--) {
    const parent = length === 1 ? source.document.contents : source.document.getIn(path.slice(0, length - 1), true)
    const node = keyNode(parent, path[length - 1]) ??
      (source.document.getIn(path.slice(0, length), true) as Node | undefined)
    const start = (node as { readonly range?: ReadonlyArray<number> | null } | undefined)?.range?.[0]
    if (start !== undefined) {
      const { col, line } = source.lines.linePos(start)
      return { line, column: col }
    }
  }
  return { line: 1, column: 1 }
}

const problemAt = (source: Source, path: PathLike, message: string): Problem => ({
  file: source.file,
  ...locate(source, path),
  path: path.map(String).join("."),
  message
})

const decode = Schema.decodeUnknownEither(WorldFile, { errors: "all", onExcessProperty: "error" })

/**
 * Parses the text of one file.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (
  file: string,
  text: string
): Either.Either<{ readonly file: WorldFile; readonly source: Source }, ReadonlyArray<Problem>> => {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const source = { file, document, lines }
  if (document.errors.length > 0) {
    return Either.left(document.errors.map((error) => {
      const { col, line } = lines.linePos(error.pos[0])
      return { file, line, column: col, path: "", message: error.message }
    }))
  }
  const decoded = decode(document.toJS() ?? {})
  if (Either.isRight(decoded)) return Either.right({ file: decoded.right, source })
  const issues = ParseResult.ArrayFormatter.formatErrorSync(decoded.left)
  // An optional part reports once more for the whole of it, and a union once for each member: the deepest says it best.
  const within = (outer: PathLike, inner: PathLike) =>
    outer.length <= inner.length && outer.every((key, index) => key === inner[index])
  const told = issues.filter((issue, index) =>
    !issues.some((other, at) =>
      at !== index && within(issue.path, other.path) && (other.path.length > issue.path.length || at < index)
    )
  )
  return Either.left(told.map(({ message, path }) => problemAt(source, path, shorten(message))))
}

const shorten = (message: string) => message.length > 200 ? `${message.slice(0, 200)}…` : message

/**
 * Puts parsed files together and checks that what they name exists.
 *
 * @since 0.1.0
 * @category parsing
 */
export const combine = (
  parsed: ReadonlyArray<{ readonly file: WorldFile; readonly source: Source }>
): Either.Either<WorldData, ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  const homes = new Map<string, Source>()
  const record = <K extends "rooms" | "things" | "characters">(kind: K): WorldData[K] => {
    const all: Record<string, WorldData[K][string]> = {}
    for (const { file, source } of parsed) {
      for (const [id, value] of Object.entries(file[kind])) {
        const first = homes.get(`${kind}.${id}`)
        if (first === undefined) {
          homes.set(`${kind}.${id}`, source)
          all[id] = value as WorldData[K][string]
        } else {
          const { line } = locate(first, [kind, id])
          problems.push(problemAt(source, [kind, id], `is defined twice, first at ${first.file}:${line}`))
        }
      }
    }
    return all as WorldData[K]
  }
  const [rooms, things, characters] = [record("rooms"), record("things"), record("characters")]
  const realms = parsed.filter(({ file }) => file.realm !== undefined)
  const at = (path: PathLike, message: string, source = homes.get(`${String(path[0])}.${String(path[1])}`)) => {
    if (source !== undefined) problems.push(problemAt(source, path, message))
  }
  if (realms.length === 0) {
    return Either.left([...problems, {
      file: parsed[0]?.source.file ?? ".",
      line: 1,
      column: 1,
      path: "realm",
      message: "no file defines the realm"
    }])
  }
  for (const { source } of realms.slice(1)) {
    at(["realm"], `is defined twice, first in ${realms[0].source.file}`, source)
  }
  const realm = realms[0].file.realm!
  const realmSource = realms[0].source

  const flags = new Set<string>()
  const uses: Array<{ readonly path: PathLike; readonly use: Use; readonly room?: string }> = []
  for (const [id, thing] of Object.entries(things)) {
    thing.use.forEach((use, index) => uses.push({ path: ["things", id, "use", index], use }))
  }
  for (const [id, room] of Object.entries(rooms)) {
    for (const [name, feature] of Object.entries(room.features)) {
      feature.use.forEach((use, index) =>
        uses.push({ path: ["rooms", id, "features", name, "use", index], use, room: id })
      )
    }
  }
  for (const { use } of uses) for (const flag of use.set) flags.add(flag)
  const features = new Set(Object.values(rooms).flatMap((room) => Object.keys(room.features)))

  const known = (
    table: { has(id: string): boolean },
    what: string,
    id: string | undefined,
    path: PathLike,
    source?: Source
  ) => {
    if (id !== undefined && !table.has(id)) at(path, `names ${what} that does not exist: "${id}"`, source)
  }
  const keys = (object: object) => ({ has: (id: string) => Object.hasOwn(object, id) })
  const room = keys(rooms)
  const thing = keys(things)
  const weather = keys(realm.weather)
  const target = { has: (id: string) => thing.has(id) || features.has(id) || Object.hasOwn(characters, id) }

  const condition = (when: When | undefined, path: PathLike) => {
    if (when === undefined) return
    known(flags, "a flag (that no use sets)", when.flag, [...path, "flag"])
    known(flags, "a flag (that no use sets)", when.not, [...path, "not"])
    known(thing, "a thing", when.holding, [...path, "holding"])
    when.weather?.forEach((id, index) => known(weather, "a weather", id, [...path, "weather", index]))
  }
  const details = (list: ReadonlyArray<{ readonly when: When }>, path: PathLike) =>
    list.forEach(({ when }, index) => condition(when, [...path, "details", index, "when"]))

  known(room, "a room", realm.start, ["realm", "start"], realmSource)
  known(weather, "a weather", realm.firstWeather, ["realm", "firstWeather"], realmSource)
  for (const [id, { next }] of Object.entries(realm.weather)) {
    for (const follow of Object.keys(next)) {
      known(weather, "a weather", follow, ["realm", "weather", id, "next", follow], realmSource)
    }
  }
  for (const [id, value] of Object.entries(rooms)) {
    details(value.details, ["rooms", id])
    for (const exit of exitsOf(value)) {
      known(room, "a room", exit.to, ["rooms", id, "exits", exit.direction])
      condition(exit.when, ["rooms", id, "exits", exit.direction, "when"])
    }
    for (const [name, feature] of Object.entries(value.features)) {
      details(feature.details, ["rooms", id, "features", name])
    }
  }
  for (const [id, value] of Object.entries(things)) {
    details(value.details, ["things", id])
    known(room, "a room", value.start, ["things", id, "start"])
    known(flags, "a flag (that no use sets)", value.light, ["things", id, "light"])
  }
  for (const [id, value] of Object.entries(characters)) {
    known(room, "a room", value.start, ["characters", id, "start"])
    value.roams.forEach((to, index) => known(room, "a room", to, ["characters", id, "roams", index]))
  }
  for (const { path, use } of uses) {
    condition(use.when, [...path, "when"])
    known(target, "something", use.on, [...path, "on"])
    known(room, "a room", use.moveTo, [...path, "moveTo"])
    use.where?.forEach((id, index) => known(room, "a room", id, [...path, "where", index]))
    for (const list of ["reveal", "give", "consume"] as const) {
      use[list].forEach((id, index) => known(thing, "a thing", id, [...path, list, index]))
    }
    use.clear.forEach((id, index) => known(flags, "a flag (that no use sets)", id, [...path, "clear", index]))
  }
  // Phases that begin at the same minute would hide one another.
  const phases = new Set(Object.values(realm.phases).map(({ from }) => from))
  if (phases.size < 4) at(["realm", "phases"], "two parts of the day begin at the same time", realmSource)
  phaseAt(realm, 0)
  return problems.length > 0 ? Either.left(problems) : Either.right({ realm, rooms, things, characters })
}

/**
 * Reads every `*.yaml` file below a folder, in the order of their names.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = (
  folder: string
): Effect.Effect<WorldData, WorldDataError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const failed = (file: string, message: string) =>
      new WorldDataError({ problems: [{ file, line: 1, column: 1, path: "", message }] })
    const names = yield* fs.readDirectory(folder, { recursive: true }).pipe(
      Effect.mapError((error) => failed(folder, `the folder cannot be read (${error.message})`))
    )
    const files = names.filter((name) => /\.ya?ml$/.test(name)).sort()
    if (files.length === 0) return yield* failed(folder, "expected at least one .yaml file")
    const parsed = yield* Effect.forEach(files, (name) =>
      fs.readFileString(path.join(folder, name)).pipe(
        Effect.mapError((error) => failed(name, `the file cannot be read (${error.message})`)),
        Effect.map((text) => parse(name, text))
      ))
    const broken = parsed.flatMap((result) => Either.isLeft(result) ? result.left : [])
    if (broken.length > 0) return yield* new WorldDataError({ problems: [broken[0], ...broken.slice(1)] })
    const combined = combine(parsed.flatMap((result) => Either.isRight(result) ? [result.right] : []))
    if (Either.isRight(combined)) return combined.right
    const [first, ...rest] = combined.left
    return yield* new WorldDataError({ problems: [first, ...rest] })
  }).pipe(Effect.withSpan("WorldLoader.load", { attributes: { folder } }))
