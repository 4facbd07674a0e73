import type { Envelope, Gap } from "@holdfast/core/Envelope"
import { isEnvelope } from "@holdfast/core/Envelope"
import type * as EventBus from "@holdfast/core/EventBus"
import type * as EventSubscription from "@holdfast/core/EventSubscription"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/**
 * The events of the suite.
 *
 * @since 0.1.0
 * @category models
 */
export const TestEvent = Schema.Union(
  Schema.TaggedStruct("Said", { who: Schema.String, text: Schema.String }),
  Schema.TaggedStruct("Moved", { who: Schema.String, steps: Schema.Int })
)

/**
 * @since 0.1.0
 * @category models
 */
export type TestEvent = typeof TestEvent.Type

/**
 * What the bus under test is built with.
 *
 * @since 0.1.0
 * @category options
 */
export interface Config {
  readonly schema: typeof TestEvent
  readonly topic: (event: TestEvent) => string
  readonly maxDepth: number
  readonly log: { readonly maxCount: number }
}

/**
 * The bus to test.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly name: string
  /** Whether ids and events are there when the bus is built again over the same medium. */
  readonly durable: boolean
  /** Whether several buses may be open on one medium, as over an `EventJournal`. Default false. */
  readonly shared?: boolean | undefined
  /** A fresh, empty medium: what it returns opens a bus on it, each time that it is called. */
  readonly medium: Effect.Effect<
    (config: Config) => Effect.Effect<EventBus.EventBus<TestEvent>, unknown, Scope.Scope>,
    unknown,
    Scope.Scope
  >
}

export const defaultConfig: Config = {
  schema: TestEvent,
  topic: (event) => `person.${event.who}`,
  maxDepth: 8,
  log: { maxCount: 64 }
}

export const said = (who: string, text = "hello"): TestEvent => ({ _tag: "Said", who, text })
export const moved = (who: string, steps = 1): TestEvent => ({ _tag: "Moved", who, steps })
export const numbered = (count: number): ReadonlyArray<TestEvent> =>
  Array.from({ length: count }, (_, index) => said("anna", `${index + 1}`))

export type Item = Envelope<TestEvent> | Gap

export const show = (items: ReadonlyArray<Item>) =>
  items.map((item) => isEnvelope(item) ? item.id : [item.firstId, item.lastId, item.count])

export const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index)

/** Takes until there are `count` items. */
export const collect = (subscription: EventSubscription.Subscription<TestEvent>, count: number) =>
  Effect.iterate([] as ReadonlyArray<Item>, {
    while: (items) => items.length < count,
    body: (items) => Effect.map(subscription.takeBatch(count - items.length), (more) => items.concat(more))
  })

/** Waits until something is so, without the clock. */
export const until = (what: Effect.Effect<boolean>) =>
  Effect.asVoid(Effect.iterate(false, {
    while: (is) => !is,
    body: () => Effect.zipRight(Effect.promise(() => new Promise((resolve) => setImmediate(resolve))), what)
  }))

export const waiting = (bus: EventBus.EventBus<TestEvent>, count: number) =>
  until(Effect.map(bus.stats, (stats) => stats.waiting === count))

/** One case of the suite, on a bus of its own. */
export type Test = (
  name: string,
  body: (bus: EventBus.EventBus<TestEvent>) => Effect.Effect<unknown, unknown, Scope.Scope>,
  config?: Partial<Config>
) => void
