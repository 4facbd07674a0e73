/**
 * What the console's feed says, as schemas: for its page, for a terminal, for a client of your own.
 *
 * `GET <path>/feed` is a stream of server-sent events without ids: what a client missed it gets as a new picture, and nothing
 * of a process outlives it. The first event is `hello`. Then comes `frame` at least once a second, the first one whole
 * (`whole: true`), the others with what has changed. A client that reads too slowly misses frames and gets a whole one
 * again. When the process shuts down, frames come faster, and the last one has `ending: true`.
 *
 * A client applies a frame like this: a section with `rows` is replaced when the frame is whole; otherwise the rows of `set`
 * replace those of the same key or are added, and those of `gone` go. Everything else that is there replaces what was there
 * before.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * How a value is shown. `since` and `at` are milliseconds since the epoch, shown as an age and as a time of day;
 * `millis` and `bytes` are amounts of these.
 *
 * @since 0.1.0
 * @category models
 */
export const Format = Schema.Literal("text", "code", "count", "rate", "bytes", "millis", "since", "at", "left")

/**
 * How a value is written.
 *
 * @since 0.1.0
 * @category models
 */
export type Format = typeof Format.Type

/**
 * A value in a table.
 *
 * @since 0.1.0
 * @category models
 */
export const Cell = Schema.Union(Schema.String, Schema.Number, Schema.Boolean, Schema.Null)

/**
 * A value in a table.
 *
 * @since 0.1.0
 * @category models
 */
export type Cell = typeof Cell.Type

/**
 * How a value is meant to be looked at.
 *
 * @since 0.1.0
 * @category models
 */
export const Tone = Schema.Literal("bad", "warn", "good", "quiet")

/**
 * How a value is meant to be looked at.
 *
 * @since 0.1.0
 * @category models
 */
export type Tone = typeof Tone.Type

/**
 * A column of a table.
 *
 * @since 0.1.0
 * @category models
 */
export const Column = Schema.Struct({
  key: Schema.String,
  title: Schema.String,
  format: Format,
  /** Offers the values that there are as a filter. */
  choice: Schema.optional(Schema.Boolean)
})

/**
 * A column of a table.
 *
 * @since 0.1.0
 * @category models
 */
export type Column = typeof Column.Type

/**
 * A row of a table.
 *
 * @since 0.1.0
 * @category models
 */
export const Row = Schema.Struct({
  key: Schema.String,
  /** In a tree. */
  parent: Schema.optional(Schema.String),
  cells: Schema.Record({ key: Schema.String, value: Cell }),
  tone: Schema.optional(Tone),
  /** Shown when the row is opened. */
  detail: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String })),
  /** Names of actions that this row does not have. */
  without: Schema.optional(Schema.Array(Schema.String))
})

/**
 * A row of a table.
 *
 * @since 0.1.0
 * @category models
 */
export type Row = typeof Row.Type

/**
 * Something that asks to be looked at.
 *
 * @since 0.1.0
 * @category models
 */
export const Alert = Schema.Struct({
  /** Of the rule and what it is about: the same alert keeps it. */
  key: Schema.String,
  rule: Schema.String,
  severity: Schema.Literal("critical", "warning", "info"),
  /** What happened, in a few words. */
  title: Schema.String,
  /** What it is about, by name. */
  subject: Schema.optional(Schema.String),
  /** Where, why, and what to do. */
  text: Schema.String,
  /** The section, and the row in it, to jump to. */
  link: Schema.optional(Schema.Struct({ section: Schema.String, key: Schema.optional(Schema.String) })),
  /** Milliseconds since the epoch. */
  since: Schema.optional(Schema.Number)
})

/**
 * Something that asks to be looked at.
 *
 * @since 0.1.0
 * @category models
 */
export type Alert = typeof Alert.Type

/**
 * A section, without what is in it.
 *
 * @since 0.1.0
 * @category models
 */
export const SectionInfo = Schema.Struct({
  id: Schema.String,
  title: Schema.String,
  kind: Schema.Literal("table", "tree", "facts", "text", "series"),
  /** Is it the application's own? */
  application: Schema.optional(Schema.Boolean),
  note: Schema.optional(Schema.String),
  empty: Schema.optional(Schema.String),
  columns: Schema.optional(Schema.Array(Column)),
  sort: Schema.optional(Schema.Struct({ key: Schema.String, descending: Schema.Boolean })),
  unit: Schema.optional(Schema.String),
  warn: Schema.optional(Schema.Number)
})

/**
 * A section, without what is in it.
 *
 * @since 0.1.0
 * @category models
 */
export type SectionInfo = typeof SectionInfo.Type

/**
 * An input of a button.
 *
 * @since 0.1.0
 * @category models
 */
export const Field = Schema.Struct({
  name: Schema.String,
  title: Schema.String,
  type: Schema.Literal("text", "number", "boolean", "choice"),
  required: Schema.Boolean,
  choices: Schema.optional(Schema.Array(Schema.String))
})

/**
 * An input of a button.
 *
 * @since 0.1.0
 * @category models
 */
export type Field = typeof Field.Type

/**
 * `POST <path>/act/<name>` with the fields as JSON, and what the `OperatorGuard` asks of an act.
 *
 * @since 0.1.0
 * @category models
 */
export const ActionInfo = Schema.Struct({
  name: Schema.String,
  title: Schema.String,
  on: Schema.optional(Schema.String),
  confirm: Schema.optional(Schema.String),
  danger: Schema.Boolean,
  fields: Schema.Array(Field)
})

/**
 * A button of a section, and what it asks for.
 *
 * @since 0.1.0
 * @category models
 */
export type ActionInfo = typeof ActionInfo.Type

/**
 * What the page is told first.
 *
 * @since 0.1.0
 * @category models
 */
export const Hello = Schema.Struct({
  /** Of this run of the process. Another one: forget everything. */
  epoch: Schema.String,
  name: Schema.String,
  version: Schema.optional(Schema.String),
  pid: Schema.optional(Schema.Number),
  host: Schema.optional(Schema.String),
  /** Milliseconds since the epoch of 1970, as all times. */
  startedAt: Schema.Number,
  /** What may the one who looks do? */
  role: Schema.Literal("operator", "viewer"),
  /** Between two frames. */
  intervalMillis: Schema.Number,
  sections: Schema.Array(SectionInfo),
  actions: Schema.Array(ActionInfo)
})

/**
 * What the page is told first.
 *
 * @since 0.1.0
 * @category models
 */
export type Hello = typeof Hello.Type

/**
 * What a section shows now.
 *
 * @since 0.1.0
 * @category models
 */
export const SectionData = Schema.Struct({
  set: Schema.optional(Schema.Array(Row)),
  gone: Schema.optional(Schema.Array(Schema.String)),
  /** How many rows there are; more than are shown when the section is cut. */
  total: Schema.optional(Schema.Number),
  facts: Schema.optional(Schema.Record({ key: Schema.String, value: Cell })),
  text: Schema.optional(Schema.String),
  /** Why there is nothing to show; an empty text: there is again. */
  unavailable: Schema.optional(Schema.String)
})

/**
 * What a section shows now.
 *
 * @since 0.1.0
 * @category models
 */
export type SectionData = typeof SectionData.Type

/**
 * A ring of history: points of `step` milliseconds, oldest first, the last one at `at`. A point is the mean and the
 * greatest of its time; `null` where nothing was read.
 *
 * @since 0.1.0
 * @category models
 */
export const Ring = Schema.Struct({
  step: Schema.Number,
  at: Schema.Number,
  points: Schema.Array(Schema.NullOr(Schema.Tuple(Schema.Number, Schema.Number)))
})

/**
 * The last values of a number.
 *
 * @since 0.1.0
 * @category models
 */
export type Ring = typeof Ring.Type

/**
 * A message to the page.
 *
 * @since 0.1.0
 * @category models
 */
export const Frame = Schema.Struct({
  epoch: Schema.String,
  whole: Schema.Boolean,
  /** By the clock of the process. */
  at: Schema.Number,
  phase: Schema.String,
  /** Until the phase, and the shutdown, must be over. Only while it shuts down. */
  phaseLeftMillis: Schema.optional(Schema.Number),
  shutdownLeftMillis: Schema.optional(Schema.Number),
  /** What a shutdown waits for. */
  waitingFor: Schema.optional(Schema.Array(Schema.String)),
  /** Nothing comes behind it: the process is about to end, or at least its server. */
  ending: Schema.optional(Schema.Boolean),
  sections: Schema.Record({ key: Schema.String, value: SectionData }),
  /** All that there are now. */
  alerts: Schema.optional(Schema.Array(Alert)),
  /** The newest value of each series. */
  sample: Schema.optional(
    Schema.Struct({ at: Schema.Number, values: Schema.Record({ key: Schema.String, value: Schema.Number }) })
  ),
  /** The history of each series, in a whole frame. */
  history: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.Array(Ring) })),
  /** Names of the actions that are there now. */
  actions: Schema.optional(Schema.Array(Schema.String)),
  /** Frames that this client missed because it read too slowly, and how many look. */
  missed: Schema.optional(Schema.Number),
  viewers: Schema.optional(Schema.Number)
})

/**
 * A message to the page.
 *
 * @since 0.1.0
 * @category models
 */
export type Frame = typeof Frame.Type
