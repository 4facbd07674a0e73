/**
 * A chat over WebSocket with presence: who connects is announced, what is said reaches everybody in order, who reconnects
 * goes on where the connection broke, and who leaves is announced however the connection ends.
 */
import { HttpLayerRouter, HttpServerResponse } from "@effect/platform"
import { EventBus } from "@holdfast/core"
import { type Admission, Health, HttpErrors, SseHub, WebSocketRoute } from "@holdfast/http"
import { NodeMain, NodeServer, NodeSseSink } from "@holdfast/node"
import { Config, Effect, Layer, Schema } from "effect"

const Came = Schema.TaggedStruct("Came", { name: Schema.String })
const Left = Schema.TaggedStruct("Left", { name: Schema.String })
const Said = Schema.TaggedStruct("Said", { name: Schema.String, text: Schema.String })
const ChatEvent = Schema.Union(Came, Left, Said)

class Chat extends EventBus.Tag("chat/Chat")<Chat, typeof ChatEvent.Type>() {}

const Name = Schema.NonEmptyTrimmedString.pipe(Schema.maxLength(20))
const Say = Schema.Struct({ text: Schema.NonEmptyTrimmedString.pipe(Schema.maxLength(500)) })

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
  ol { list-style: none; padding: 0; min-height: 12rem } .news { color: #595959 }
  form { display: flex; gap: .5rem } input { flex: 1; font: inherit; padding: .4rem } button { font: inherit }
</style>
<main>
  <h1>Chat</h1>
  <ol id="log" aria-live="polite"></ol>
  <form><input id="text" aria-label="Say" maxlength="500" autofocus required><button>Say</button></form>
  <p id="state" role="status">connecting</p>
</main>
<script>
  const name = (prompt("Your name") ?? "").trim().slice(0, 20) || "guest"
  let last, socket
  const connect = () => {
    socket = new WebSocket(location.origin.replace("http", "ws") + "/socket?name=" + encodeURIComponent(name) +
      (last === undefined ? "" : "&lastEventId=" + last))
    socket.onopen = () => state.textContent = "connected as " + name
    socket.onclose = () => { state.textContent = "reconnecting"; setTimeout(connect, 1000 + 1000 * Math.random()) }
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      if (message.id !== undefined) last = message.id
      const event = message.event ?? message.data
      if (event?._tag === undefined) return
      const line = document.createElement("li")
      line.textContent = event._tag === "Said" ? event.name + ": " + event.text : event.name + " " + event._tag.toLowerCase()
      if (event._tag !== "Said") line.className = "news"
      log.append(line)
    }
  }
  document.querySelector("form").onsubmit = (submit) => {
    submit.preventDefault()
    socket.send(JSON.stringify({ text: text.value }))
    text.value = ""
  }
  connect()
</script>
`

const socket = Effect.gen(function*() {
  const hub = yield* SseHub.SseHub
  const chat = yield* Chat
  return {
    hub,
    authorize: ({ query }: Admission.Incoming) =>
      Effect.gen(function*() {
        const name = yield* Effect.mapError(
          Schema.decodeUnknown(Name)(query.get("name")),
          () => HttpErrors.make("InvalidRequest", "who are you?", { field: "name", expected: "1 to 20 characters" })
        )
        // The scope is the session's: its end is announced, whoever ends it.
        yield* Effect.acquireRelease(
          Effect.orDie(chat.publish({ _tag: "Came", name })),
          () => Effect.ignore(chat.publish({ _tag: "Left", name }))
        )
        return { principal: name, following: [{ topic: "chat" }] }
      }),
    commands: {
      schema: Say,
      handle: ({ text }: typeof Say.Type, _: SseHub.Session, { principal }: Admission.Grant) =>
        Effect.as(chat.publish({ _tag: "Said", name: principal ?? "guest", text }), undefined)
    }
  }
})

const Routes = Layer.mergeAll(
  HttpLayerRouter.add("GET", "/", HttpServerResponse.html(page)),
  WebSocketRoute.layer("/socket", socket),
  Health.layerRoutes()
)

const App = HttpLayerRouter.serve(Routes, { disableLogger: true }).pipe(
  Layer.provide(NodeSseSink.layer),
  Layer.provide(NodeServer.layerConfig({ port: Config.withDefault(Config.integer("PORT"), 3000) })),
  Layer.provide(SseHub.layer(Effect.map(Chat, (bus) => ({ source: SseHub.fromBus(bus) })))),
  Layer.provide([Chat.layer({ schema: ChatEvent, topic: () => "chat" }), Health.layer()])
)

NodeMain.runMain(App, { name: "chat", gracefulShutdownTimeout: "5 seconds" })
