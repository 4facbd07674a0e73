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
  --operator TOKEN joins as an operator
  --no-colour      plain text; NO_COLOR in the environment does the same
  --help           this text`

const Joined = Schema.Struct({
  player: Schema.Struct({ id: Schema.String, name: Schema.String }),
  token: Schema.String,
  after: Schema.Number,
  welcome: Schema.String,
  view: RoomView
})

/** What the server answers when it does not do what was asked. */
const Refused = Schema.Struct({
  _tag: Schema.String,
  message: Schema.String,
  suggestion: Schema.optional(Schema.String)
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
    Effect.timeout("10 seconds"),
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

const game = (options: {
  readonly url: string
  readonly name: string
  readonly token: string | undefined
  readonly operator: string | undefined
  readonly colours: boolean
}) =>
  Effect.gen(function*() {
    let scene: Narration.Scene
    const input = yield* Effect.acquireRelease(
      Effect.sync(() =>
        createInterface({
          input: process.stdin,
          output: process.stdout,
          prompt: "› ",
          historySize: 200,
          removeHistoryDuplicates: true,
          completer: complete(() => scene)
        })
      ),
      (readline) => Effect.sync(() => readline.close())
    )
    const screen = makeScreen(input, options.colours)
    const leave = yield* Deferred.make<void>()
    const name = options.token !== undefined || options.name !== "" || !screen.interactive
      ? options.name
      : yield* Effect.async<string>((resume) => input.question("Your name: ", (typed) => resume(Effect.succeed(typed))))
    const joined = yield* ask(
      `${options.url}/api/join`,
      options.token === undefined
        ? { name, ...(options.operator === undefined ? {} : { operatorToken: options.operator }) }
        : { token: options.token },
      Joined
    )
    const me = joined.player
    scene = joined.view
    yield* screen.show({ tone: "notice", text: `You are ${me.name}. ${joined.welcome}` })
    yield* screen.show(Narration.room(joined.view))

    const sse = yield* SseClient.SseClient
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
        scene = Narration.scene(scene, happened.right, me.id)
        const line = Narration.event(happened.right, me.id)
        if (line !== undefined) yield* screen.show(line)
      })
    const stream = sse.messages(
      HttpClientRequest.get(`${options.url}/events`).pipe(HttpClientRequest.bearerToken(joined.token)),
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
    let reading = yield* Effect.forkScoped(stream)

    const obey = (typed: string) =>
      Effect.gen(function*() {
        const reply = yield* ask(
          `${options.url}/api/command`,
          { line: typed },
          Schema.Struct({ reply: Reply }),
          joined.token
        )
        const line = Narration.reply(reply.reply)
        if (reply.reply._tag === "Room") scene = reply.reply.view
        if (line !== undefined) yield* screen.show(line)
        if (reply.reply._tag === "Sleeping") yield* Deferred.succeed(leave, undefined)
      }).pipe(
        Effect.catchAll(({ line, tag }) =>
          tag === "Asleep"
            ? Effect.gen(function*() {
              yield* ask(`${options.url}/api/join`, { token: joined.token }, Joined)
              yield* Fiber.interrupt(reading)
              reading = yield* Effect.forkScoped(stream)
            }).pipe(Effect.catchAll((refusal) => screen.show(refusal.line)))
            : screen.show(line)
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
      Effect.race(Deferred.await(leave))
    )
    yield* screen.show({ tone: "notice", text: "Until next time." })
    // Whole, so that it can be copied.
    yield* Effect.sync(() => process.stdout.write(`To come back as ${me.name}: --token ${joined.token}\n`))
  }).pipe(Effect.scoped)

/**
 * Runs the client until its input ends, the player leaves, or Ctrl-C. The edge of the program.
 *
 * @since 0.1.0
 * @category running
 */
export const run = (argv: ReadonlyArray<string>): void => {
  const { positionals, values } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    strict: false,
    options: {
      url: { type: "string", default: "http://127.0.0.1:7070" },
      token: { type: "string" },
      operator: { type: "string" },
      "no-colour": { type: "boolean", default: false },
      help: { type: "boolean", default: false }
    }
  })
  if (values["help"] === true) {
    process.stdout.write(`${usage}\n`)
    return
  }
  const text = (value: unknown) => typeof value === "string" ? value : undefined
  const program = game({
    url: (text(values["url"]) ?? "").replace(/\/+$/, ""),
    name: positionals[0] ?? "",
    token: text(values["token"]),
    operator: text(values["operator"]),
    colours: values["no-colour"] !== true && (process.env["NO_COLOR"] ?? "") === "" && process.stdout.isTTY
  }).pipe(Effect.provide(SseClient.layer.pipe(Layer.provideMerge(NodeHttpClient.layer))))
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
