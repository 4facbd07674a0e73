/**
 * What a player may ask for, and the parser of what a player types.
 *
 * Verbs may be shortened to any beginning that is not ambiguous; the most common have one-letter forms. Parsing is total:
 * any text gives a command or a {@link Refusal} that says what was expected.
 *
 * @since 0.1.0
 */
import { Either, Schema } from "effect"
import { Direction } from "../data/WorldData.js"
import { clean, fold, suggest } from "./PlayerText.js"
import { MissingWords, type Refusal, UnknownCommand } from "./Refusal.js"

const Look = Schema.TaggedStruct("Look", { target: Schema.optional(Schema.String) })
const Go = Schema.TaggedStruct("Go", { direction: Direction })
const Say = Schema.TaggedStruct("Say", { text: Schema.String })
const Whisper = Schema.TaggedStruct("Whisper", { to: Schema.String, text: Schema.String })
const Emote = Schema.TaggedStruct("Emote", { text: Schema.String })
const Who = Schema.TaggedStruct("Who", {})
const Inventory = Schema.TaggedStruct("Inventory", {})
const Take = Schema.TaggedStruct("Take", { thing: Schema.String })
const Drop = Schema.TaggedStruct("Drop", { thing: Schema.String })
const Use = Schema.TaggedStruct("Use", { thing: Schema.String, on: Schema.optional(Schema.String) })
const Exits = Schema.TaggedStruct("Exits", {})
const Map = Schema.TaggedStruct("Map", {})
const Goal = Schema.TaggedStruct("Goal", {})
const Time = Schema.TaggedStruct("Time", {})
const Help = Schema.TaggedStruct("Help", { topic: Schema.optional(Schema.String) })
const Quit = Schema.TaggedStruct("Quit", {})
const Announce = Schema.TaggedStruct("Announce", { text: Schema.String })
const Kick = Schema.TaggedStruct("Kick", { name: Schema.String })
const Shutdown = Schema.TaggedStruct("Shutdown", {})

/**
 * @since 0.1.0
 * @category schemas
 */
export const Command = Schema.Union(
  Look,
  Go,
  Say,
  Whisper,
  Emote,
  Who,
  Inventory,
  Take,
  Drop,
  Use,
  Exits,
  Map,
  Goal,
  Time,
  Help,
  Quit,
  Announce,
  Kick,
  Shutdown
)
/**
 * @since 0.1.0
 * @category models
 */
export type Command = typeof Command.Type

type Parsed = Either.Either<Command, Refusal>

interface Verb {
  /** The first is the verb's own name; the others are never shortened. */
  readonly names: readonly [string, ...Array<string>]
  readonly usage: string
  readonly does: string
  /** As it could be typed here and now, anywhere. */
  readonly example: string
  readonly admin?: true
  readonly parse: (rest: string, usage: string) => Parsed
}

const words = (field: string, make: (text: string) => Command) => (rest: string, usage: string): Parsed =>
  rest === "" ? Either.left(new MissingWords({ field, expected: usage })) : Either.right(make(rest))

const plain = (command: Command) => (): Parsed => Either.right(command)

const directionNames: Readonly<Record<string, Direction>> = {
  n: "north",
  ne: "northeast",
  e: "east",
  se: "southeast",
  s: "south",
  sw: "southwest",
  w: "west",
  nw: "northwest",
  u: "up",
  d: "down",
  ...Object.fromEntries(Direction.literals.map((direction) => [direction, direction]))
}

/**
 * The direction that a word names: in full, as its letters, or as an unambiguous beginning.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parseDirection = (text: string): Either.Either<Direction, Refusal> => {
  const word = fold(text).replaceAll("-", "")
  const exact = Object.hasOwn(directionNames, word) ? directionNames[word] : undefined
  if (exact !== undefined) return Either.right(exact)
  const begun = word.length < 2 ? [] : Direction.literals.filter((direction) => direction.startsWith(word))
  if (begun.length > 0) return Either.right(begun[0])
  const meant = suggest(word, Direction.literals)
  return Either.left(
    new UnknownCommand({
      field: "direction",
      message: word === "" ? "Go where?" : `"${clean(text)}" is not a direction.`,
      expected: Direction.literals.join(", "),
      ...(meant === undefined ? {} : { suggestion: meant })
    })
  )
}

const parseWhisper = (rest: string, usage: string): Parsed => {
  const match = /^(?:to )?("[^"]+"|\S+?)(?:[,:]? )(.+)$/i.exec(rest)
  return match === null
    ? Either.left(new MissingWords({ field: rest === "" ? "to" : "text", expected: usage }))
    : Either.right({ _tag: "Whisper", to: match[1].replaceAll("\"", ""), text: match[2] })
}

const parseUse = (rest: string, usage: string): Parsed => {
  if (rest === "") return Either.left(new MissingWords({ field: "thing", expected: usage }))
  const match = /^(.+?) (?:on|with|to|at|in|into|and) (.+)$/i.exec(rest)
  return Either.right(
    match === null ? { _tag: "Use", thing: rest } : { _tag: "Use", thing: match[1], on: match[2] }
  )
}

const parseLook = (rest: string): Parsed => {
  const target = rest.replace(/^(?:at|in|into|on|around)(?: |$)/i, "")
  return Either.right(target === "" ? { _tag: "Look" } : { _tag: "Look", target })
}

/** In the order in which an ambiguous beginning is given away. */
const verbs: ReadonlyArray<Verb> = [
  {
    names: ["look", "l", "examine", "x", "read"],
    usage: "look [at something]",
    does: "look around, or at something",
    example: "look",
    parse: parseLook
  },
  {
    names: ["go", "walk", "move"],
    usage: "go <direction>",
    does: "walk; n, s, e, w, u and d are enough",
    example: "go north",
    parse: (rest) => Either.map(parseDirection(rest), (direction) => ({ _tag: "Go", direction }))
  },
  {
    names: ["say", "'"],
    usage: "say <words>",
    does: "speak to everybody in the room",
    example: "say hello",
    parse: words("text", (text) => ({ _tag: "Say", text }))
  },
  {
    names: ["whisper", "tell"],
    usage: "whisper <name> <words>",
    does: "speak to one player, wherever they are",
    example: "whisper Maren hello",
    parse: parseWhisper
  },
  {
    names: ["emote", "me", ":"],
    usage: "emote <what you do>",
    does: "do something that the others see",
    example: "emote waves",
    parse: words("text", (text) => ({ _tag: "Emote", text }))
  },
  {
    names: ["exits", "ways"],
    usage: "exits",
    does: "see the ways out",
    example: "exits",
    parse: plain({ _tag: "Exits" })
  },
  {
    names: ["goal", "hint", "next"],
    usage: "goal",
    does: "see what you could do next",
    example: "goal",
    parse: plain({ _tag: "Goal" })
  },
  {
    names: ["map"],
    usage: "map",
    does: "see where you have been",
    example: "map",
    parse: plain({ _tag: "Map" })
  },
  {
    names: ["inventory"],
    usage: "inventory",
    does: "see what you carry",
    example: "inventory",
    parse: plain({ _tag: "Inventory" })
  },
  {
    names: ["take", "get", "pick"],
    usage: "take <thing>",
    does: "pick something up",
    example: "take herring",
    parse: words("thing", (text) => ({ _tag: "Take", thing: text.replace(/^up (?=.)/i, "") }))
  },
  {
    names: ["drop", "put"],
    usage: "drop <thing>",
    does: "put something down",
    example: "drop herring",
    parse: words("thing", (text) => ({ _tag: "Drop", thing: text.replace(/^down (?=.)/i, "") }))
  },
  {
    names: ["use", "open", "pull", "push", "ring", "light", "give"],
    usage: "use <thing> [on something]",
    does: "use what you carry or what is here",
    example: "use lantern",
    parse: parseUse
  },
  { names: ["who"], usage: "who", does: "see who is awake", example: "who", parse: plain({ _tag: "Who" }) },
  {
    names: ["time", "weather"],
    usage: "time",
    does: "the hour and the sky",
    example: "time",
    parse: plain({ _tag: "Time" })
  },
  {
    names: ["help", "?", "commands"],
    usage: "help [command]",
    does: "this list",
    example: "help say",
    parse: (rest) => Either.right(rest === "" ? { _tag: "Help" } : { _tag: "Help", topic: rest })
  },
  {
    names: ["quit", "sleep", "exit", "bye"],
    usage: "quit",
    does: "fall asleep and leave; come back whenever you like",
    example: "quit",
    parse: plain({ _tag: "Quit" })
  },
  {
    names: ["announce"],
    usage: "announce <words>",
    does: "speak to the whole world",
    example: "announce Dinner.",
    admin: true,
    parse: words("text", (text) => ({ _tag: "Announce", text }))
  },
  {
    names: ["kick"],
    usage: "kick <name>",
    does: "end a player's session",
    example: "kick Heron",
    admin: true,
    parse: words("name", (name) => ({ _tag: "Kick", name }))
  },
  {
    names: ["shutdown"],
    usage: "shutdown",
    does: "drain the server and stop it",
    example: "shutdown",
    admin: true,
    parse: plain({ _tag: "Shutdown" })
  }
]

/**
 * How the commands are written, for `help`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const usages = (
  options: { readonly admin: boolean }
): ReadonlyArray<{ readonly usage: string; readonly does: string; readonly example: string }> =>
  verbs.filter((verb) => options.admin || verb.admin === undefined)
    .map(({ does, example, usage }) => ({ usage, does, example }))

/**
 * The verbs by their own names, in the order of `help`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const verbNames: ReadonlyArray<string> = verbs.map(({ names }) => names[0])

/**
 * The usage of one verb, however it is shortened.
 *
 * @since 0.1.0
 * @category accessors
 */
export const usageOf = (
  word: string
): { readonly usage: string; readonly does: string; readonly names: ReadonlyArray<string> } | undefined =>
  findVerb(fold(word))

const findVerb = (word: string): Verb | undefined =>
  word === ""
    ? undefined
    : verbs.find(({ names }) => names.includes(word)) ??
      verbs.find(({ admin, names }) => admin === undefined && names[0].startsWith(word)) ??
      verbs.find(({ names }) => word.length > 2 && names[0].startsWith(word))

/**
 * Parses what a player typed.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (line: string): Parsed => {
  const text = clean(line)
  if (text === "") return Either.left(new MissingWords({ field: "line", expected: "a command; try help" }))
  // 'hello, "hello and :waves need no blank.
  const mark = /^(['":?])\s*(.*)$/.exec(text)
  const [, typed, rest] = mark !== null
    ? [text, mark[1] === "\"" ? "'" : mark[1], mark[1] === "\"" ? mark[2].replace(/"$/, "").trim() : mark[2]]
    : /^(\S+)\s*(.*)$/.exec(text)!
  const word = typed.toLowerCase()
  if (rest === "" && Object.hasOwn(directionNames, word)) {
    return Either.right({ _tag: "Go", direction: directionNames[word] })
  }
  const verb = findVerb(word)
  if (verb !== undefined) return verb.parse(rest, verb.usage)
  if (rest === "") {
    const direction = parseDirection(word)
    if (Either.isRight(direction)) return Either.right({ _tag: "Go", direction: direction.right })
  }
  const meant = suggest(word, [...verbNames, ...Direction.literals])
  return Either.left(
    new UnknownCommand({
      field: "line",
      message: `"${typed.slice(0, 40)}" is not something you can do here.`,
      expected: "a command; help lists them",
      ...(meant === undefined ? {} : { suggestion: meant }),
      // Most who type something that is no command wanted to speak.
      offers: [...(meant === undefined ? [] : [`${meant}${rest === "" ? "" : ` ${rest}`}`]), `say ${text}`, "help"]
    })
  )
}
