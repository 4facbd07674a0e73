/**
 * Plays in a terminal: a line to type into, with history and completion, and above it what happens.
 *
 * The stream is that of `SseClient`: it comes back by itself after a restart of the server and goes on behind the last
 * event, so nothing is missing and nothing is there twice. Input comes from `readline`; when it is not a terminal, each
 * line of it is a command, and the end of it is the end of the game.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Race from "@holdfast/core/Race"
import * as SseClient from "@holdfast/http/SseClient"
import { Cause, Data, Deferred, Duration, Effect, Either, Exit, Fiber, Layer, Option, Schema, Stream } from "effect"
import { createInterface, type Interface } from "node:readline"
import { parseArgs } from "node:util"
import { Direction } from "../data/WorldData.js"
import { verbNames } from "../domain/Command.js"
import { Reply } from "../domain/Reply.js"
import { RoomView, WorldEvent } from "../domain/WorldEvent.js"
import * as Narration from "./Narration.js"
import * as Terminal from "./Terminal.js"

const usage = `Plays in this terminal.

Usage: npm run play -- [name] [flags]

  --url URL        the server (http://127.0.0.1:7070)
  --token TOKEN    comes back as somebody who has joined before
  --give-up        gives the name of --token up for good, so that somebody else can have it
  --operator TOKEN joins as an operator
  --no-colour      plain text; NO_COLOR in the environment does the same
  --help           this text`

const Joined = Schema.Struct({
  player: Schema.Struct({ id: Schema.String, name: Schema.String }),
  token: Schema.String,
  after: Schema.Union(Schema.Number, Schema.String),
  welcome: Schema.String,
  view: RoomView,
  hint: Schema.optional(Schema.String)
})
type Joined = typeof Joined.Type

/** What the server answers when it does not do what was asked. */
const Refused = Schema.Struct({
  _tag: Schema.String,
  message: Schema.String,
  expected: Schema.optional(Schema.String),
  suggestion: Schema.optional(Schema.String),
  offers: Schema.optional(Schema.Array(Schema.String))
})

class Refusal extends Data.TaggedError("Refusal")<{ readonly tag: string; readonly line: Narration.Line }> {}

const unreachable = new Refusal({
  tag: "Unreachable",
  line: { tone: "error", text: "The world cannot be reached right now." }
})

/** Posts JSON, and decodes the answer; everything that can go wrong is something to read. */
const ask = <A, I>(url: string, body: unknown, schema: Schema.Schema<A, I>, token?: string) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const response = yield* HttpClientRequest.post(url).pipe(
      token === undefined ? (request) => request : HttpClientRequest.bearerToken(token),
      HttpClientRequest.bodyUnsafeJson(body),
      client.execute
    )
    const answer = yield* response.json
    if (response.status < 300) return yield* Schema.decodeUnknown(schema)(answer)
    const refused = yield* Schema.decodeUnknown(Refused)(answer)
    return yield* new Refusal({ tag: refused._tag, line: Narration.refusal(refused) })
  }).pipe(
    Effect.scoped,
    Race.timeoutFail({ duration: "10 seconds", onTimeout: () => unreachable }),
    Effect.mapError((error) => error instanceof Refusal ? error : unreachable)
  )

/** The terminal: lines go above what is being typed, which stays as it is. */
const makeScreen = (input: Interface, colours: boolean) => {
  // Some terminals say 0 when they do not know.
  const columns = () => process.stdout.columns || 80
  const interactive = process.stdin.isTTY && process.stdout.isTTY
  return {
    interactive,
    show: (line: Narration.Line) =>
      Effect.sync(() => {
        const text = Terminal.render(line, { columns: columns(), colours }).join("\n")
        process.stdout.write(interactive ? `\r\u001b[J${text}\n` : `${text}\n`)
        if (interactive) input.prompt(true)
      })
  }
}

const complete = (scene: () => Narration.Scene) => (line: string): [Array<string>, string] => {
  const word = line.split(" ").at(-1)!.toLowerCase()
  const view = scene()
  const words = line.includes(" ")
    ? [...(view?.people ?? []), ...(view?.things ?? [])].map(({ name }) => name)
    : [...verbNames, ...(view?.exits ?? []).map(({ direction }) => direction), ...Direction.literals]
  const found = [...new Set(words)].filter((candidate) => word !== "" && candidate.toLowerCase().startsWith(word))
  return [found.map((name) => `${name} `), line.slice(line.length - word.length)]
}

const isEvent = Schema.decodeUnknownEither(Schema.parseJson(WorldEvent))

interface Options {
  readonly url: string
  readonly name: string
  readonly token: string | undefined
  readonly operator: string | undefined
  readonly colours: boolean
}

type Screen = ReturnType<typeof makeScreen>

const openInput = (scene: () => Narration.Scene) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      createInterface({
        input: process.stdin,
        output: process.stdout,
        prompt: "› ",
        historySize: 200,
        removeHistoryDuplicates: true,
        completer: complete(scene)
      })
    ),
    (readline) => Effect.sync(() => readline.close())
  )

const join = (options: Options, input: Interface, interactive: boolean) =>
  Effect.gen(function*() {
    const name = options.token !== undefined || options.name !== "" || !interactive
      ? options.name
      : yield* Effect.async<string>((resume) => input.question("Your name: ", (typed) => resume(Effect.succeed(typed))))
    return yield* ask(
      `${options.url}/api/join`,
      options.token === undefined
        ? { name, ...(options.operator === undefined ? {} : { operatorToken: options.operator }) }
        : { token: options.token },
      Joined
    )
  })

/** What a game in the terminal goes on with from one line to the next. */
interface State {
  scene: Narration.Scene
}

/** Shows what happens until the server ends the stream. */
const follow = (url: string, joined: Joined, state: State, screen: Screen) =>
  Effect.gen(function*() {
    const sse = yield* SseClient.SseClient
    const me = joined.player.id
    const onEvent = ({ data, event }: { readonly data: string; readonly event: string }) =>
      Effect.gen(function*() {
        if (event === "farewell") {
          return yield* screen.show({ tone: "notice", text: "The world goes to sleep for a moment." })
        }
        if (event === "gap") {
          return yield* screen.show({ tone: "notice", text: "Some of what happened is lost." })
        }
        const happened = isEvent(data)
        if (Either.isLeft(happened)) return
        state.scene = Narration.scene(state.scene, happened.right, me)
        const line = Narration.event(happened.right, me)
        if (line !== undefined) yield* screen.show(line)
        if (happened.right._tag === "Reached" && happened.right.hint !== undefined) {
          yield* screen.show(Narration.hint(happened.right.hint))
        }
      })
    yield* sse.messages(
      HttpClientRequest.get(`${url}/events`).pipe(HttpClientRequest.bearerToken(joined.token)),
      {
        lastEventId: String(joined.after),
        idleTimeout: "40 seconds",
        onDisconnect: (_, delay) =>
          screen.show({
            tone: "world",
            text: `The connection is lost; trying again in ${Math.ceil(Duration.toSeconds(delay))} s.`
          })
      }
    ).pipe(
      Stream.runForEach(onEvent),
      Effect.catchAll((error) =>
        screen.show({
          tone: "notice",
          text: error.status === 409 ? "You are asleep. Type anything to wake up." : error.message
        })
      )
    )
  })

/** Refusals after which the same line can be sent again as it is. */
const notAccepted = new Set(["Unreachable", "Unavailable", "TooFast", "TooLong"])

const game = (options: Options) =>
  Effect.gen(function*() {
    const state: State = { scene: undefined }
    const input = yield* openInput(() => state.scene)
    const screen = makeScreen(input, options.colours)
    const joined = yield* join(options, input, screen.interactive)
    state.scene = joined.view
    yield* screen.show({ tone: "notice", text: `You are ${joined.player.name}. ${joined.welcome}` })
    yield* screen.show(Narration.room(joined.view))
    if (joined.hint !== undefined) yield* screen.show(Narration.hint(joined.hint))

    const leave = yield* Deferred.make<void>()
    const stream = follow(options.url, joined, state, screen)
    let reading = yield* Effect.forkScoped(stream)
    const wake = Effect.gen(function*() {
      yield* ask(`${options.url}/api/join`, { token: joined.token }, Joined)
      yield* Fiber.interrupt(reading)
      reading = yield* Effect.forkScoped(stream)
    })
    const send = (typed: string) =>
      Effect.gen(function*() {
        const { reply } = yield* ask(
          `${options.url}/api/command`,
          { line: typed },
          Schema.Struct({ reply: Reply }),
          joined.token
        )
        const line = Narration.reply(reply)
        if (reply._tag === "Room") state.scene = reply.view
        if (line !== undefined) yield* screen.show(line)
        if (reply._tag === "Sleeping") yield* Deferred.succeed(leave, undefined)
      })
    const obey = (typed: string) =>
      send(typed).pipe(
        Effect.catchIf(({ tag }) => tag === "Asleep", () => Effect.zipRight(wake, send(typed))),
        Effect.catchAll(({ line, tag }) =>
          // What was not accepted is in the line again.
          Effect.zipRight(
            screen.show(line),
            Effect.sync(() => {
              if (screen.interactive && notAccepted.has(tag)) input.write(typed)
            })
          )
        )
      )
    const lines = Stream.async<string>((emit) => {
      input.on("line", (typed) => void emit.single(typed))
      input.once("close", () => void emit.end())
    })
    if (screen.interactive) input.prompt()
    yield* lines.pipe(
      Stream.map((typed) => typed.trim()),
      Stream.filter((typed) => typed !== ""),
      Stream.runForEach(obey),
      // What was typed last is still on its way back when the input is at its end.
      Effect.zipRight(screen.interactive ? Effect.void : Effect.sleep("500 millis")),
      Race.first(Deferred.await(leave))
    )
    yield* screen.show({ tone: "notice", text: "Until next time." })
    // Whole, so that it can be copied.
    yield* Effect.sync(() => process.stdout.write(`To come back as ${joined.player.name}: --token ${joined.token}\n`))
  }).pipe(Effect.scoped)

/** The name is free for others; what was held is put down where its bearer stood. */
const giveUp = ({ token, url }: { readonly url: string; readonly token: string }) =>
  Effect.gen(function*() {
    const { player } = yield* ask(`${url}/api/join`, { token }, Joined)
    yield* ask(`${url}/api/leave`, {}, Schema.Struct({ _tag: Schema.Literal("Done") }), token)
    yield* Effect.sync(() => process.stdout.write(`${player.name} is given up: the name is free again.\n`))
  })

/** What was asked for on the command line, or what is wrong with it. */
const parse = (argv: ReadonlyArray<string>) =>
  Either.try({
    try: () =>
      parseArgs({
        args: [...argv],
        allowPositionals: true,
        options: {
          url: { type: "string", default: "http://127.0.0.1:7070" },
          token: { type: "string" },
          operator: { type: "string" },
          "give-up": { type: "boolean", default: false },
          "no-colour": { type: "boolean", default: false },
          help: { type: "boolean", default: false }
        }
      }),
    catch: (error) => error instanceof Error ? error.message : String(error)
  }).pipe(
    Either.filterOrLeft(
      ({ positionals }) => positionals.length < 2,
      ({ positionals }) => `expected one name, not ${positionals.map((name) => `"${name}"`).join(" and ")}`
    ),
    Either.filterOrLeft(
      ({ values }) => !values["give-up"] || values.token !== undefined,
      () => "--give-up needs the --token of the name: a name is given up by whom it belongs to"
    )
  )

/**
 * Runs the client until its input ends, the player leaves, or Ctrl-C. The edge of the program.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (argv: ReadonlyArray<string>): void => {
  const asked = parse(argv)
  if (Either.isLeft(asked)) {
    process.stderr.write(`play: ${asked.left}\n\n${usage}\n`)
    process.exitCode = 2
    return
  }
  const { positionals, values } = asked.right
  if (values.help) {
    process.stdout.write(`${usage}\n`)
    return
  }
  const url = values.url.replace(/\/+$/, "")
  const asGiven = values["give-up"] && values.token !== undefined ? giveUp({ url, token: values.token }) : game({
    url,
    name: positionals[0] ?? "",
    token: values.token,
    operator: values.operator,
    colours: !values["no-colour"] && (process.env["NO_COLOR"] ?? "") === "" && process.stdout.isTTY
  })
  const program = asGiven.pipe(Effect.provide(SseClient.layer.pipe(Layer.provideMerge(NodeHttpClient.layer))))
  const fiber = Effect.runFork(program)
  const interrupt = () => fiber.unsafeInterruptAsFork(fiber.id())
  process.once("SIGINT", interrupt)
  process.once("SIGTERM", interrupt)
  fiber.addObserver((exit) => {
    process.off("SIGINT", interrupt)
    process.off("SIGTERM", interrupt)
    if (Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)) {
      const refused = Option.getOrUndefined(Cause.failureOption(exit.cause))
      process.stderr.write(`${refused instanceof Refusal ? refused.line.text : Cause.pretty(exit.cause)}\n`)
      process.exitCode = 1
    }
    process.stdin.unref?.()
  })
}
