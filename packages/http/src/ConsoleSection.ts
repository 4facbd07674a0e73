/**
 * What stands on the console's page, as values: tables, trees, facts, texts, series, alerts, and buttons. The library's own
 * sections are made of the same.
 *
 * @example
 * ```ts
 * import { ConsoleSection } from "@holdfast/http"
 * import { Effect, Schema } from "effect"
 *
 * const carts = new Map([["c1", { owner: "Ada", items: 3 }]])
 *
 * const sections = [
 *   ConsoleSection.table({
 *     id: "carts",
 *     columns: { owner: "text", items: "count" },
 *     rows: Effect.sync(() => Array.from(carts, ([key, { items, owner }]) => ({ key, cells: { owner, items } })))
 *   }),
 *   ConsoleSection.action({
 *     name: "empty",
 *     on: "carts",
 *     input: Schema.Struct({ key: Schema.String }),
 *     run: ({ key }) => Effect.sync(() => carts.delete(key))
 *   })
 * ]
 * ```
 *
 * What a section reads runs once a second while somebody looks, and not otherwise, but for series, which are read once a
 * second always: they must be cheap. A section that fails, or takes more than a second, says so in its place.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { Alert, Cell, Column, Format, Row } from "./ConsoleFeed.js"

export type {
  /** @since 0.1.0 */
  Alert,
  /** @since 0.1.0 */
  Cell,
  /** @since 0.1.0 */
  Column,
  /** @since 0.1.0 */
  Format,
  /** @since 0.1.0 */
  Row,
  /** @since 0.1.0 */
  Tone
} from "./ConsoleFeed.js"

interface Named {
  /** Unique among the sections. A section with the id of an earlier one takes its place. */
  readonly id: string
  /** Default: the id. */
  readonly title?: string | undefined
  /** One sentence below the title. */
  readonly note?: string | undefined
  /** Said when there is nothing. Default `none`. */
  readonly empty?: string | undefined
}

/**
 * Rows in columns.
 *
 * @since 0.1.0
 * @category models
 */
export interface Table extends Named {
  readonly kind: "table"
  readonly columns: ReadonlyArray<Column>
  readonly sort: { readonly key: string; readonly descending: boolean } | undefined
  readonly rows: Effect.Effect<ReadonlyArray<Row>, unknown>
}

/**
 * Rows that stand under each other: those with a `parent` under the row of that key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tree extends Named {
  readonly kind: "tree"
  readonly columns: ReadonlyArray<Column>
  readonly rows: Effect.Effect<ReadonlyArray<Row>, unknown>
}

/**
 * Names and values.
 *
 * @since 0.1.0
 * @category models
 */
export interface Facts extends Named {
  readonly kind: "facts"
  readonly facts: Effect.Effect<Readonly<Record<string, Cell>>, unknown>
}

/**
 * Lines, as they are.
 *
 * @since 0.1.0
 * @category models
 */
export interface Text extends Named {
  readonly kind: "text"
  readonly text: Effect.Effect<string, unknown>
}

/**
 * A number over time, with an hour of history at falling resolution.
 *
 * @since 0.1.0
 * @category models
 */
export interface Series extends Named {
  readonly kind: "series"
  /** `/s`, `ms`, `B`, `%`, or whatever is counted. */
  readonly unit: string
  /** Above it the graph shows a line and an alert is raised. */
  readonly warn: number | undefined
  /** Is the number a counter since the start, of which the rate per second is shown? */
  readonly counter: boolean
  readonly read: Effect.Effect<number, unknown>
}

/**
 * A button, or a button on each row of a section.
 *
 * @since 0.1.0
 * @category models
 */
export interface Action {
  readonly kind: "action"
  readonly name: string
  readonly title: string
  /** The id of the section whose rows have the button. Its first field is then the key of the row. */
  readonly on: string | undefined
  /** What is asked before it is done. */
  readonly confirm: string | undefined
  readonly danger: boolean
  readonly input: Schema.Schema<never, never>
  readonly run: (input: never) => Effect.Effect<unknown, unknown>
  /** Is it there now? */
  readonly available: Effect.Effect<boolean> | undefined
}

/**
 * What raises alerts: asked once a second while somebody looks.
 *
 * @since 0.1.0
 * @category models
 */
export interface AlertRule {
  readonly kind: "alert"
  readonly id: string
  readonly alerts: Effect.Effect<ReadonlyArray<Omit<Alert, "key" | "rule"> & { readonly key?: string }>, unknown>
}

/**
 * A part of the console, with what it shows and what can be done there.
 *
 * @since 0.1.0
 * @category models
 */
export type Section = Table | Tree | Facts | Text | Series | Action | AlertRule

/**
 * A column by its format alone, or with a title of its own.
 *
 * @since 0.1.0
 * @category options
 */
export type Columns = Readonly<Record<string, Format | Omit<Column, "key">>>

const columnsOf = (columns: Columns): ReadonlyArray<Column> =>
  Object.entries(columns).map(([key, column]) =>
    typeof column === "string" ? { key, title: key, format: column } : { ...column, key }
  )

/**
 * A section that shows a table.
 *
 * @since 0.1.0
 * @category constructors
 */
export const table = (
  options: Named & {
    readonly columns: Columns
    /** The key of a column, with a minus in front for the greatest first. Default: the order of the rows. */
    readonly sort?: string | undefined
    readonly rows: Effect.Effect<ReadonlyArray<Row>, unknown>
  }
): Table => {
  const { columns, sort, ...rest } = options
  return {
    ...rest,
    kind: "table",
    columns: columnsOf(columns),
    sort: sort === undefined ? undefined : { key: sort.replace(/^-/, ""), descending: sort.startsWith("-") }
  }
}

/**
 * A section that shows a tree.
 *
 * @since 0.1.0
 * @category constructors
 */
export const tree = (
  options: Named & { readonly columns: Columns; readonly rows: Effect.Effect<ReadonlyArray<Row>, unknown> }
): Tree => ({ ...options, kind: "tree", columns: columnsOf(options.columns) })

/**
 * A section that shows names and values.
 *
 * @since 0.1.0
 * @category constructors
 */
export const facts = (
  options: Named & { readonly facts: Effect.Effect<Readonly<Record<string, Cell>>, unknown> }
): Facts => ({ ...options, kind: "facts" })

/**
 * A section that shows text.
 *
 * @since 0.1.0
 * @category constructors
 */
export const text = (options: Named & { readonly text: Effect.Effect<string, unknown> }): Text => ({
  ...options,
  kind: "text"
})

/**
 * A section that shows how numbers went.
 *
 * @since 0.1.0
 * @category constructors
 */
export const series = (
  options: Named & {
    readonly unit?: string | undefined
    readonly warn?: number | undefined
    readonly counter?: boolean | undefined
    readonly read: Effect.Effect<number, unknown>
  }
): Series => ({
  ...options,
  kind: "series",
  unit: options.unit ?? "",
  warn: options.warn,
  counter: options.counter ?? false
})

/**
 * The fields of the form are those of the schema, a `Schema.Struct` of texts, numbers, booleans and literals; without any
 * the button asks nothing. Whoever presses it is checked by the `OperatorGuard`, and it is put on record.
 *
 * @since 0.1.0
 * @category constructors
 */
export const action = <A, I extends Readonly<Record<string, unknown>>, E>(options: {
  readonly name: string
  readonly title?: string | undefined
  readonly on?: string | undefined
  readonly confirm?: string | undefined
  readonly danger?: boolean | undefined
  readonly input: Schema.Schema<A, I>
  readonly run: (input: A) => Effect.Effect<unknown, E>
  readonly available?: Effect.Effect<boolean> | undefined
}): Action => ({
  kind: "action",
  name: options.name,
  title: options.title ?? options.name,
  on: options.on,
  confirm: options.confirm,
  danger: options.danger ?? false,
  input: options.input as unknown as Schema.Schema<never, never>,
  run: options.run as (input: never) => Effect.Effect<unknown, unknown>,
  available: options.available
})

/**
 * Alerts as long as the effect gives some. One that fails is an alert itself.
 *
 * @since 0.1.0
 * @category constructors
 */
export const alert = (
  id: string,
  alerts: AlertRule["alerts"]
): AlertRule => ({ kind: "alert", id, alerts })
