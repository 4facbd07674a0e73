/**
 * An HttpApi that was there before, with an end added to it: the two lines that name `NodeServer` and `NodeMain` stood for
 * `NodeHttpServer` and `NodeRuntime`. Nothing of the API changes.
 */
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSchema, HttpServer } from "@effect/platform"
import { Cleanup } from "@holdfast/core"
import { NodeMain, NodeServer } from "@holdfast/node"
import { Config, Context, Effect, Layer, Ref, Schema } from "effect"

class Note extends Schema.Class<Note>("Note")({ id: Schema.Int, text: Schema.NonEmptyString }) {}
class NoteMissing extends Schema.TaggedError<NoteMissing>()(
  "NoteMissing",
  { id: Schema.Int },
  HttpApiSchema.annotations({ status: 404 })
) {}

const id = HttpApiSchema.param("id", Schema.NumberFromString)

const Api = HttpApi.make("notes").add(
  HttpApiGroup.make("notes")
    .add(HttpApiEndpoint.get("list", "/notes").addSuccess(Schema.Array(Note)))
    .add(HttpApiEndpoint.get("read")`/notes/${id}`.addSuccess(Note).addError(NoteMissing))
    .add(
      HttpApiEndpoint.post("write", "/notes").setPayload(Schema.Struct({ text: Schema.NonEmptyString })).addSuccess(
        Note
      )
    )
)

class Notes extends Context.Tag("api/Notes")<Notes, Ref.Ref<ReadonlyArray<Note>>>() {}

/** Notes in memory, which are written down before the process ends; a disk that hangs costs 2 seconds and no more. */
const NotesLive = Layer.scoped(
  Notes,
  Cleanup.acquireRelease(
    Ref.make<ReadonlyArray<Note>>([]),
    {
      label: "write the notes down",
      budget: "2 seconds",
      fallbacks: [{ label: "say so", run: () => Effect.logError("the notes were not written down") }]
    },
    (notes) => Effect.flatMap(Ref.get(notes), (all) => Effect.log(`${all.length} notes written down`))
  )
)

const Handlers = HttpApiBuilder.group(Api, "notes", (handlers) =>
  handlers
    .handle("list", () => Effect.flatMap(Notes, Ref.get))
    .handle("read", ({ path }) =>
      Effect.flatMap(Effect.flatMap(Notes, Ref.get), (notes) => {
        const note = notes.find((note) => note.id === path.id)
        return note === undefined ? new NoteMissing({ id: path.id }) : Effect.succeed(note)
      }))
    .handle("write", ({ payload }) =>
      Effect.flatMap(Notes, (notes) =>
        Ref.modify(notes, (all) => {
          const note = new Note({ id: all.length + 1, text: payload.text })
          return [note, [...all, note]]
        }))))

const App = HttpApiBuilder.serve().pipe(
  HttpServer.withLogAddress,
  Layer.provide(HttpApiBuilder.api(Api)),
  Layer.provide(Handlers),
  Layer.provide(NotesLive),
  Layer.provide(NodeServer.layerConfig({ port: Config.withDefault(Config.integer("PORT"), 3000) }))
)

NodeMain.runMain(App, { name: "api", gracefulShutdownTimeout: "5 seconds" })
