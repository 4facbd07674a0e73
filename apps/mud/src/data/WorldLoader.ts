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
import { type Document, isMap, LineCounter, type Node, parseDocument, type Scalar, visit } from "yaml"
import { exitsOf, type When, type WorldData, WorldFile } from "./WorldData.js"

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
 * Parses the text of one file. Whatever the text is, it gives a file or problems: a file that would unfold into something
 * huge, or that is nested too deep, is a problem as any other.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (
  file: string,
  text: string
): Either.Either<{ readonly file: WorldFile; readonly source: Source }, ReadonlyArray<Problem>> => {
  const lines = new LineCounter()
  const read = Either.try(() => parseDocument(text, { lineCounter: lines, prettyErrors: false }))
  if (Either.isLeft(read)) return Either.left([unreadable(file, read.left)])
  const document = read.right
  const source = { file, document, lines }
  if (document.errors.length > 0) {
    return Either.left(document.errors.map((error) => {
      const { col, line } = lines.linePos(error.pos[0])
      return { file, line, column: col, path: "", message: error.message }
    }))
  }
  const unfolded = Either.try((): unknown => document.toJS({ maxAliasCount }) ?? {})
  if (Either.isLeft(unfolded)) return Either.left([{ ...unreadable(file, unfolded.left), ...firstAlias(source) }])
  const decoded = decode(unfolded.right)
  if (Either.isRight(decoded)) return Either.right({ file: decoded.right, source })
  return Either.left(
    deepest(ParseResult.ArrayFormatter.formatErrorSync(decoded.left))
      .map(({ message, path }) => problemAt(source, path, shorten(message)))
  )
}

/** How many nodes a file may repeat by aliases before it counts as a bomb. */
const maxAliasCount = 100

const unreadable = (file: string, error: unknown): Problem => ({
  file,
  line: 1,
  column: 1,
  path: "",
  message: `the file cannot be unfolded: ${shorten(error instanceof Error ? error.message : String(error))}`
})

/** Where the aliases begin, in a file that has too many. */
const firstAlias = ({ document, lines }: Source) => {
  let at = 0
  visit(document, {
    Alias: (_, { range }) => {
      at = range?.[0] ?? 0
      return visit.BREAK
    }
  })
  const { col, line } = lines.linePos(at)
  return { line: Math.max(1, line), column: Math.max(1, col) }
}

/** An optional part reports once more for the whole of it, and a union once for each member: the deepest says it best. */
const deepest = (issues: ReadonlyArray<ParseResult.ArrayFormatterIssue>) => {
  const within = (outer: PathLike, inner: PathLike) =>
    outer.length <= inner.length && outer.every((key, index) => key === inner[index])
  return issues.filter((issue, index) =>
    !issues.some((other, at) =>
      at !== index && within(issue.path, other.path) && (other.path.length > issue.path.length || at < index)
    )
  )
}

const shorten = (message: string) => message.length > 200 ? `${message.slice(0, 200)}…` : message

type Parsed = ReadonlyArray<{ readonly file: WorldFile; readonly source: Source }>

/** Collects problems, and knows in which file an id is at home. */
class Findings {
  readonly problems: Array<Problem> = []
  readonly homes = new Map<string, Source>()

  at(path: PathLike, message: string, source = this.homes.get(`${String(path[0])}.${String(path[1])}`)): void {
    if (source !== undefined) this.problems.push(problemAt(source, path, message))
  }

  known(table: Table, what: string, id: string | undefined, path: PathLike, source?: Source): void {
    if (id !== undefined && !table.has(id)) this.at(path, `names ${what} that does not exist: "${id}"`, source)
  }
}

interface Table {
  has(id: string): boolean
}

const keysOf = (object: object): Table => ({ has: (id) => Object.hasOwn(object, id) })

/** The records of one kind of all files: an id is defined once. */
const gather = <K extends "rooms" | "things" | "characters">(
  parsed: Parsed,
  kind: K,
  findings: Findings
): WorldData[K] => {
  const all: Record<string, WorldData[K][string]> = {}
  for (const { file, source } of parsed) {
    for (const [id, value] of Object.entries(file[kind])) {
      const first = findings.homes.get(`${kind}.${id}`)
      if (first === undefined) {
        findings.homes.set(`${kind}.${id}`, source)
        all[id] = value as WorldData[K][string]
      } else {
        const { line } = locate(first, [kind, id])
        findings.problems.push(problemAt(source, [kind, id], `is defined twice, first at ${first.file}:${line}`))
      }
    }
  }
  return all as WorldData[K]
}

/** Every use of the data, and where it stands. */
const usesOf = ({ rooms, things }: Pick<WorldData, "rooms" | "things">) => [
  ...Object.entries(things).flatMap(([id, { use }]) =>
    use.map((one, index) => ({ path: ["things", id, "use", index] as PathLike, use: one }))
  ),
  ...Object.entries(rooms).flatMap(([id, { features }]) =>
    Object.entries(features).flatMap(([name, { use }]) =>
      use.map((one, index) => ({ path: ["rooms", id, "features", name, "use", index] as PathLike, use: one }))
    )
  )
]

/** Checks that what is named exists. */
class References {
  readonly room: Table
  readonly thing: Table
  readonly weather: Table
  readonly flag: Table
  readonly target: Table
  readonly uses: ReturnType<typeof usesOf>

  constructor(readonly data: WorldData, readonly realmSource: Source, readonly findings: Findings) {
    this.uses = usesOf(data)
    this.room = keysOf(data.rooms)
    this.thing = keysOf(data.things)
    this.weather = keysOf(data.realm.weather)
    this.flag = new Set(this.uses.flatMap(({ use }) => use.set))
    const features = new Set(Object.values(data.rooms).flatMap((room) => Object.keys(room.features)))
    this.target = {
      has: (id) => this.thing.has(id) || features.has(id) || Object.hasOwn(data.characters, id)
    }
  }

  check(): void {
    this.realm()
    this.quest()
    this.rooms()
    this.things()
    this.characters()
    this.everyUse()
  }

  private aFlag(id: string | undefined, path: PathLike, source?: Source): void {
    this.findings.known(this.flag, "a flag (that no use sets)", id, path, source)
  }

  private condition(when: When | undefined, path: PathLike): void {
    if (when === undefined) return
    this.aFlag(when.flag, [...path, "flag"])
    this.aFlag(when.not, [...path, "not"])
    this.findings.known(this.thing, "a thing", when.holding, [...path, "holding"])
    when.weather?.forEach((id, index) =>
      this.findings.known(this.weather, "a weather", id, [...path, "weather", index])
    )
  }

  private details(list: ReadonlyArray<{ readonly when: When }>, path: PathLike): void {
    list.forEach(({ when }, index) => this.condition(when, [...path, "details", index, "when"]))
  }

  private realm(): void {
    const { data: { realm }, findings, realmSource, room, weather } = this
    findings.known(room, "a room", realm.start, ["realm", "start"], realmSource)
    findings.known(weather, "a weather", realm.firstWeather, ["realm", "firstWeather"], realmSource)
    for (const [id, { next }] of Object.entries(realm.weather)) {
      for (const follow of Object.keys(next)) {
        findings.known(weather, "a weather", follow, ["realm", "weather", id, "next", follow], realmSource)
      }
    }
    // Phases that begin at the same minute would hide one another.
    const phases = new Set(Object.values(realm.phases).map(({ from }) => from))
    if (phases.size < 4) findings.at(["realm", "phases"], "two parts of the day begin at the same time", realmSource)
  }

  private quest(): void {
    const { data: { realm: { quest } }, findings, realmSource, room, thing } = this
    quest.forEach((step, index) => {
      const path = ["realm", "quest", index]
      if (quest.findIndex(({ id }) => id === step.id) < index) {
        findings.at([...path, "id"], `is the id of an earlier step: "${step.id}"`, realmSource)
      }
      step.until.forEach(({ flag, holding, seen }, at) => {
        findings.known(room, "a room", seen, [...path, "until", at, "seen"], realmSource)
        findings.known(thing, "a thing", holding, [...path, "until", at, "holding"], realmSource)
        this.aFlag(flag, [...path, "until", at, "flag"], realmSource)
      })
    })
  }

  private rooms(): void {
    for (const [id, room] of Object.entries(this.data.rooms)) {
      this.details(room.details, ["rooms", id])
      for (const exit of exitsOf(room)) {
        this.findings.known(this.room, "a room", exit.to, ["rooms", id, "exits", exit.direction])
        this.condition(exit.when, ["rooms", id, "exits", exit.direction, "when"])
      }
      for (const [name, feature] of Object.entries(room.features)) {
        this.details(feature.details, ["rooms", id, "features", name])
      }
    }
  }

  private things(): void {
    for (const [id, thing] of Object.entries(this.data.things)) {
      this.details(thing.details, ["things", id])
      this.findings.known(this.room, "a room", thing.start, ["things", id, "start"])
      this.aFlag(thing.light, ["things", id, "light"])
    }
  }

  private characters(): void {
    for (const [id, character] of Object.entries(this.data.characters)) {
      this.findings.known(this.room, "a room", character.start, ["characters", id, "start"])
      character.roams.forEach((to, index) =>
        this.findings.known(this.room, "a room", to, ["characters", id, "roams", index])
      )
    }
  }

  private everyUse(): void {
    const { findings, room, target, thing } = this
    for (const { path, use } of this.uses) {
      this.condition(use.when, [...path, "when"])
      findings.known(target, "something", use.on, [...path, "on"])
      findings.known(room, "a room", use.moveTo, [...path, "moveTo"])
      use.where?.forEach((id, index) => findings.known(room, "a room", id, [...path, "where", index]))
      for (const list of ["reveal", "give", "consume"] as const) {
        use[list].forEach((id, index) => findings.known(thing, "a thing", id, [...path, list, index]))
      }
      use.clear.forEach((id, index) => this.aFlag(id, [...path, "clear", index]))
    }
  }
}

/**
 * Puts parsed files together and checks that what they name exists.
 *
 * @since 0.1.0
 * @category parsing
 */
export const combine = (parsed: Parsed): Either.Either<WorldData, ReadonlyArray<Problem>> => {
  const findings = new Findings()
  const rooms = gather(parsed, "rooms", findings)
  const things = gather(parsed, "things", findings)
  const characters = gather(parsed, "characters", findings)
  const realms = parsed.flatMap(({ file: { realm }, source }) => realm === undefined ? [] : [{ realm, source }])
  if (realms.length === 0) {
    const file = parsed[0]?.source.file ?? "."
    const missing = { file, line: 1, column: 1, path: "realm", message: "no file defines the realm" }
    return Either.left([...findings.problems, missing])
  }
  const [{ realm, source }, ...more] = realms
  for (const other of more) findings.at(["realm"], `is defined twice, first in ${source.file}`, other.source)
  const data = { realm, rooms, things, characters }
  new References(data, source, findings).check()
  return findings.problems.length > 0 ? Either.left(findings.problems) : Either.right(data)
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
