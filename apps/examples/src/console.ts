/**
 * An HttpApi, a bus, and the operator's console: run it, and open the link that it prints. `POST /orders` with
 * `{ "item": "tea" }` gives it something to show.
 */
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpLayerRouter } from "@effect/platform"
import { EventBus } from "@holdfast/core"
import { Console, ConsoleLog, ConsoleSection } from "@holdfast/http"
import { NodeMain, NodeServer } from "@holdfast/node"
import { Config, Effect, Layer, Schema } from "effect"

const Ordered = Schema.TaggedStruct("Ordered", { item: Schema.NonEmptyString })
class Orders extends EventBus.Tag("console/Orders")<Orders, typeof Ordered.Type>() {}

const Order = HttpApiEndpoint.post("order", "/orders").setPayload(Schema.Struct({ item: Schema.NonEmptyString }))
const Api = HttpApi.make("shop").add(HttpApiGroup.make("shop").add(Order))

const Handlers = HttpApiBuilder.group(
  Api,
  "shop",
  (handlers) =>
    handlers.handle(
      "order",
      ({ payload: { item } }) =>
        Effect.asVoid(Effect.orDie(Effect.flatMap(Orders, (orders) => orders.publish({ _tag: "Ordered", item }))))
    )
)

const sold = new Map<string, number>()
const Kitchen = Layer.scopedDiscard(
  Effect.flatMap(
    Orders,
    (orders) =>
      orders.handle(
        { name: "kitchen" },
        ({ event: { item } }) =>
          Effect.log(`one ${item}`).pipe(Effect.tap(() => sold.set(item, (sold.get(item) ?? 0) + 1)))
      )
  )
)

const items = ConsoleSection.table({
  id: "items",
  title: "Items",
  columns: { item: "text", sold: "count" },
  sort: "-sold",
  rows: Effect.sync(() => Array.from(sold, ([item, count]) => ({ key: item, cells: { item, sold: count } })))
})

const Routes = Layer.mergeAll(
  HttpLayerRouter.addHttpApi(Api).pipe(Layer.provide(Handlers)),
  Console.layer({ name: "shop", sections: [items] })
)

const App = HttpLayerRouter.serve(Routes).pipe(
  Layer.provide([Kitchen, NodeServer.layerConfig({ port: Config.withDefault(Config.integer("PORT"), 3000) })]),
  Layer.provide(Orders.layer({ schema: Ordered })),
  Layer.provide(ConsoleLog.layer())
)

NodeMain.runMain(App, { name: "shop" })
