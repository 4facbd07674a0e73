/** An HttpApi, a bus, and the operator's console: open the link that the start logs. `POST /orders` with `{ "item": "tea" }`. */
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpLayerRouter } from "@effect/platform"
import { EventBus } from "@holdfast/core"
import { Console, ConsoleLog } from "@holdfast/http"
import { NodeMain, NodeServer } from "@holdfast/node"
import { Config, Effect, Layer, Schema } from "effect"

const Ordered = Schema.TaggedStruct("Ordered", { item: Schema.NonEmptyString })
class Orders extends EventBus.Tag("shop/Orders")<Orders, typeof Ordered.Type>() {}

const order = HttpApiEndpoint.post("order", "/orders").setPayload(Schema.Struct({ item: Schema.NonEmptyString }))
const Api = HttpApi.make("shop").add(HttpApiGroup.make("shop").add(order))

const place = (item: string) =>
  Effect.flatMap(Orders, (orders) => Effect.orDie(Effect.asVoid(orders.publish(Ordered.make({ item })))))
const Handlers = HttpApiBuilder.group(Api, "shop", (shop) => shop.handle("order", ({ payload }) => place(payload.item)))

const kitchen = Effect.flatMap(
  Orders,
  (orders) => orders.handle({ name: "kitchen" }, ({ event: { item } }) => Effect.log(`one ${item}`))
)

const Routes = Layer.mergeAll(
  HttpLayerRouter.addHttpApi(Api).pipe(Layer.provide(Handlers)),
  Console.layer({ name: "shop" })
)

const App = HttpLayerRouter.serve(Routes).pipe(
  Layer.provide([
    Layer.scopedDiscard(kitchen),
    NodeServer.layerConfig({ port: Config.integer("PORT").pipe(Config.withDefault(3000)) })
  ]),
  Layer.provide(Orders.layer({ schema: Ordered })),
  Layer.provide(ConsoleLog.layer())
)

NodeMain.runMain(App, { name: "shop" })
