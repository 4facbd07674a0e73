/**
 * What the server is told from outside: flags before environment variables before defaults, each checked by a Schema.
 * Everything that is wrong is reported at once, with the name that was used and what was expected.
 *
 * @since 0.1.0
 */
import { Duration, Either, ParseResult, Schema } from "effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const folder = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url))

const integer = (least: number, most: number) =>
  Schema.NumberFromString.pipe(Schema.int(), Schema.between(least, most)).annotations({
    message: () => ({ message: `expected a whole number from ${least} to ${most}`, override: true })
  })

const seconds = (least: number, most: number) =>
  Schema.transform(
    Schema.NumberFromString.pipe(Schema.between(least, most)).annotations({
      message: () => ({ message: `expected seconds, from ${least} to ${most}`, override: true })
    }),
    Schema.DurationFromSelf,
    { strict: true, decode: (value) => Duration.seconds(value), encode: (value) => Duration.toSeconds(value) }
  )

const oneOf = <const A extends readonly [string, ...Array<string>]>(...values: A) =>
  Schema.Literal(...values).annotations({
    message: () => ({ message: `expected one of ${values.join(", ")}`, override: true })
  })

const words = Schema.NonEmptyTrimmedString.annotations({
  message: () => ({ message: "expected some text", override: true })
})

const token = Schema.Redacted(
  Schema.String.pipe(Schema.minLength(16)).annotations({
    message: () => ({ message: "expected at least 16 characters", override: true })
  })
)

const servers = Schema.transform(
  Schema.String.pipe(Schema.pattern(/^(nats|tls|ws|wss):\/\/[^,\s]+(,(nats|tls|ws|wss):\/\/[^,\s]+)*$/)).annotations({
    message: () => ({
      message: "expected addresses such as nats://10.0.0.1:4222, with commas between them",
      override: true
    })
  }),
  Schema.Array(Schema.String),
  { strict: true, decode: (text) => text.split(","), encode: (all) => all.join(",") }
)

const setting = <S extends Schema.Schema.AnyNoContext>(options: {
  readonly schema: S
  readonly value: string
  /** The default, in the form in which it would be typed; none: the setting may be absent. */
  readonly default: string
  readonly says: string
}) => options

/** Every setting: the flag is its name in kebab case, the variable `MUD_` and its name in capitals. */
const table = {
  port: setting({ schema: integer(0, 65535), value: "NUMBER", default: "7070", says: "TCP port; 0 takes a free one" }),
  host: setting({ schema: words, value: "ADDRESS", default: "127.0.0.1", says: "address to listen on" }),
  world: setting({ schema: words, value: "FOLDER", default: folder("world"), says: "the world's data files" }),
  data: setting({
    schema: words,
    value: "FOLDER",
    default: "data",
    says: "where the state is kept; \"memory\" keeps none. With port 0 the default is memory"
  }),
  operatorToken: setting({
    schema: token,
    value: "TOKEN",
    default: "",
    says: "opens the operator's page; without one a token is made for this run, and its link printed"
  }),
  operatorTokenFile: setting({
    schema: words,
    value: "FILE",
    default: "",
    says: "a file that holds the operator's token"
  }),
  operatorViewerToken: setting({
    schema: token,
    value: "TOKEN",
    default: "",
    says: "opens the operator's page for looking only"
  }),
  operatorOrigin: setting({
    schema: Schema.String.pipe(Schema.pattern(/^https?:\/\/[^/]+$/)).annotations({
      message: () => ({ message: "expected an origin such as https://ops.example", override: true })
    }),
    value: "ORIGIN",
    default: "",
    says: "the operator's page as browsers know it, behind a proxy that does not pass the Host on"
  }),
  idleTimeout: setting({
    schema: seconds(1, 86_400),
    value: "SECONDS",
    default: "900",
    says: "a player that types nothing for so long falls asleep"
  }),
  linger: setting({
    schema: seconds(0.1, 3_600),
    value: "SECONDS",
    default: "30",
    says: "a player whose connection is lost stays awake for so long"
  }),
  tick: setting({
    schema: seconds(0.01, 60),
    value: "SECONDS",
    default: "1",
    says: "how long a world minute is"
  }),
  shutdownTimeout: setting({
    schema: seconds(0.5, 60),
    value: "SECONDS",
    default: "5",
    says: "everything is stopped within this time after SIGTERM"
  }),
  maxPlayers: setting({
    schema: integer(1, 10_000),
    value: "NUMBER",
    default: "1000",
    says: "players awake at once; one place in twenty is kept for those who come back"
  }),
  perAddress: setting({
    schema: integer(1, 10_000),
    value: "NUMBER",
    default: "50",
    says: "players awake from one address; it may have twice as many streams"
  }),
  joinRate: setting({
    schema: integer(1, 10_000),
    value: "NUMBER",
    default: "5",
    says: "joins a second from one address; five times as many at once"
  }),
  proxies: setting({
    schema: integer(0, 10),
    value: "NUMBER",
    default: "0",
    says: "trusted proxies in front, whose X-Forwarded-For says where a request comes from"
  }),
  nats: setting({
    schema: servers,
    value: "URL[,URL]",
    default: "",
    says: "plays one world with every node that is given the same servers and name; nothing is kept in --data then"
  }),
  natsName: setting({
    schema: Schema.String.pipe(Schema.pattern(/^[A-Za-z0-9_-]{1,32}$/)).annotations({
      message: () => ({ message: "expected 1 to 32 letters, digits, dashes or underscores", override: true })
    }),
    value: "NAME",
    default: "mud",
    says: "the world on these servers: what it keeps there begins with it"
  }),
  natsCredentials: setting({
    schema: words,
    value: "FILE",
    default: "",
    says: "a credentials file for these servers"
  }),
  natsCa: setting({
    schema: words,
    value: "FILE",
    default: "",
    says: "the authority that these servers are certified by"
  }),
  natsReplicas: setting({
    schema: Schema.transform(oneOf("1", "3", "5"), Schema.Literal(1, 3, 5), {
      strict: true,
      decode: (text) => Number(text) as 1 | 3 | 5,
      encode: (count) => String(count) as "1" | "3" | "5"
    }),
    value: "COUNT",
    default: "1",
    says: "on how many servers the world is kept: 1, 3 or 5"
  }),
  node: setting({
    schema: words,
    value: "NAME",
    default: "",
    says: "this node, for the others; default: the host and four letters"
  }),
  lease: setting({
    schema: seconds(1, 300),
    value: "SECONDS",
    default: "10",
    says: "another node drives the world when the one that did was not heard for so long"
  }),
  log: setting({
    schema: oneOf("auto", "pretty", "json", "none"),
    value: "FORMAT",
    default: "auto",
    says: "pretty, json or none; auto is pretty on a terminal"
  }),
  logLevel: setting({
    schema: oneOf("debug", "info", "warning", "error"),
    value: "LEVEL",
    default: "info",
    says: "debug, info, warning or error"
  })
}

type Table = typeof table

/**
 * @since 0.1.0
 * @category models
 */
export type Settings =
  & { readonly [K in Exclude<keyof Table, Absent>]: Schema.Schema.Type<Table[K]["schema"]> }
  & { readonly [K in Exclude<Absent, "operatorTokenFile">]?: Schema.Schema.Type<Table[K]["schema"]> | undefined }

/** What has no default. */
type Absent =
  | "operatorToken"
  | "operatorTokenFile"
  | "operatorViewerToken"
  | "operatorOrigin"
  | "nats"
  | "natsCredentials"
  | "natsCa"
  | "node"

const names = Object.keys(table) as ReadonlyArray<keyof Table>

const flagOf = (name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
const variableOf = (name: string) => `MUD_${name.replace(/[A-Z]/g, "_$&").toUpperCase()}`

/**
 * What was asked for on the command line.
 *
 * @since 0.1.0
 * @category models
 */
export type Asked =
  | { readonly _tag: "Run"; readonly settings: Settings }
  | { readonly _tag: "Help"; readonly text: string }
  | { readonly _tag: "Version"; readonly text: string }

/**
 * The version of the package.
 *
 * @since 0.1.0
 * @category accessors
 */
export const version = (): string =>
  (JSON.parse(readFileSync(folder("package.json"), "utf8")) as { readonly version: string }).version

/**
 * The text of `--help`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const help = (): string => {
  const rows = [
    ...names.map((name) => {
      const { default: value, says, value: kind } = table[name]
      return [`${flagOf(name)} ${kind}`, `${says}${value === "" ? "" : ` (${value})`}`, variableOf(name)] as const
    }),
    ["--help", "this text", ""] as const,
    ["--version", "the version", ""] as const
  ]
  const width = Math.max(...rows.map(([flag]) => flag.length))
  return [
    "mud: a multi-player text world",
    "",
    "Usage: npm start -- [flags]",
    "",
    ...rows.flatMap(([flag, says, variable]) => [
      `  ${flag.padEnd(width)}  ${says}`,
      ...(variable === "" ? [] : [`  ${" ".repeat(width)}  environment: ${variable}`])
    ]),
    "",
    "A flag goes before its variable, and a variable before the default."
  ].join("\n")
}

interface Given {
  readonly text: string
  readonly from: string
}

const readFlags = (argv: ReadonlyArray<string>) => {
  const given = new Map<keyof Table, Given>()
  const problems: Array<string> = []
  for (let index = 0; index < argv.length; index++) {
    const [flag, inline] = /^(--[^=]+)=(.*)$/s.exec(argv[index])?.slice(1) ?? [argv[index]]
    const name = names.find((candidate) => flagOf(candidate) === flag)
    if (name === undefined) {
      problems.push(`${flag}: there is no such flag; --help lists them`)
      continue
    }
    const text = inline ?? argv[index + 1]
    if (text === undefined || (inline === undefined && text.startsWith("--"))) {
      problems.push(`${flag}: expected a value, ${table[name].value}`)
      continue
    }
    if (inline === undefined) index++
    given.set(name, { text, from: flag })
  }
  return { given, problems }
}

/** The token of a file takes the place of one that was given in another way. */
const readTokenFile = (settings: Record<string, unknown>, problems: Array<string>): void => {
  const path = settings["operatorTokenFile"]
  delete settings["operatorTokenFile"]
  if (typeof path !== "string") return
  try {
    const decoded = Schema.decodeUnknownEither(token)(readFileSync(path, "utf8").trim())
    if (Either.isRight(decoded)) settings["operatorToken"] = decoded.right
    else problems.push(`${flagOf("operatorTokenFile")}: ${path} holds fewer than 16 characters`)
  } catch (error) {
    problems.push(`${flagOf("operatorTokenFile")}: cannot be read: ${(error as Error).message}`)
  }
}

/**
 * Reads the flags and the environment. A `Left` has one line for each problem.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (
  argv: ReadonlyArray<string>,
  environment: Readonly<Record<string, string | undefined>>
): Either.Either<Asked, ReadonlyArray<string>> => {
  if (argv.includes("--help") || argv.includes("-h")) return Either.right({ _tag: "Help", text: help() })
  if (argv.includes("--version")) return Either.right({ _tag: "Version", text: version() })
  const { given, problems } = readFlags(argv)
  for (const name of names) {
    const text = environment[variableOf(name)]
    if (text !== undefined && text !== "" && !given.has(name)) given.set(name, { text, from: variableOf(name) })
  }
  const settings: Record<string, unknown> = {}
  for (const name of names) {
    const from = given.get(name)
    if (from === undefined && table[name].default === "") continue
    const decoded = Schema.decodeUnknownEither(table[name].schema as Schema.Schema.AnyNoContext)(
      from?.text ?? table[name].default
    )
    if (Either.isRight(decoded)) settings[name] = decoded.right
    else {
      const [issue] = ParseResult.ArrayFormatter.formatErrorSync(decoded.left)
      // A secret that is wrong is still a secret.
      const shown = name === "operatorToken" || name === "operatorViewerToken"
        ? "what was given"
        : JSON.stringify(from?.text)
      problems.push(`${from?.from ?? flagOf(name)}: ${issue.message}, not ${shown}`)
    }
  }
  readTokenFile(settings, problems)
  // A port that nobody knows beforehand is for trying things out: nothing of it should be found there the next time.
  if (settings["port"] === 0 && !given.has("data")) settings["data"] = "memory"
  if (settings["nats"] !== undefined) settings["data"] = "memory"
  return problems.length > 0 ? Either.left(problems) : Either.right({ _tag: "Run", settings: settings as Settings })
}

/**
 * Runs `start` with the settings of this process, or answers `--help` and `--version`, or says what is wrong and exits
 * with 2. The edge of the program: it writes and exits by itself.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (start: (settings: Settings) => void): void => {
  const asked = parse(process.argv.slice(2), process.env)
  if (Either.isLeft(asked)) {
    process.stderr.write(`${asked.left.map((line) => `mud: ${line}`).join("\n")}\n`)
    process.exitCode = 2
  } else if (asked.right._tag === "Run") start(asked.right.settings)
  else process.stdout.write(`${asked.right.text}\n`)
}
