/**
 * What a subscriber of an `EventBus` receives: events in their envelopes, and gaps where it missed some.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"

/**
 * What a union of events is made of: anything with a `_tag`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Event {
  readonly _tag: string
}

/**
 * An event with what the bus knows of it: its number, its time, its topic, its cause.
 *
 * @since 0.1.0
 * @category models
 */
export interface Envelope<out A> {
  /** 1, 2, 3, …, without a gap, in the order of acceptance. */
  readonly id: number
  /** When it was accepted, in milliseconds since the epoch, by the `Clock` of the publisher. */
  readonly at: number
  readonly topic: string
  readonly event: A
  /** Id of the event that this one is a consequence of. */
  readonly causationId?: number | undefined
  /** 0 for an event from outside, otherwise one more than that of its cause. */
  readonly depth: number
  /** W3C `traceparent` of the span that published it. */
  readonly trace?: string | undefined
}

/**
 * Events that a subscriber did not get. It stands where they would have come.
 *
 * @since 0.1.0
 * @category models
 */
export class Gap {
  readonly _tag = "Gap"
  constructor(
    /** Id of the first event that was missed. */
    readonly firstId: number,
    /** Id of the last event that was missed. */
    readonly lastId: number,
    /**
     * How many of the ids in between were events for this subscriber; all of those were missed. When the history no
     * longer holds the events, nobody knows, and every id in between counts.
     */
    readonly count: number
  ) {}
}

/**
 * Whether this stands for events that were lost.
 *
 * @since 0.1.0
 * @category guards
 */
export const isGap = <A>(item: Envelope<A> | Gap): item is Gap => item instanceof Gap

/**
 * Whether this is an event, and no gap.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEnvelope = <A>(item: Envelope<A> | Gap): item is Envelope<A> => !(item instanceof Gap)

/**
 * The schema of an envelope, for transports.
 *
 * @since 0.1.0
 * @category schemas
 */
export const schema = <A, I, R>(event: Schema.Schema<A, I, R>) =>
  Schema.Struct({
    id: Schema.Int.pipe(Schema.positive()),
    at: Schema.Number,
    topic: Schema.String,
    event,
    causationId: Schema.optional(Schema.Int.pipe(Schema.positive())),
    depth: Schema.NonNegativeInt,
    trace: Schema.optional(Schema.String)
  })

/**
 * The `traceparent` of a span.
 *
 * @since 0.1.0
 * @category tracing
 */
export const traceOf = (span: Tracer.AnySpan): string =>
  `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`

const traceparent = /^[0-9a-f]{2}-([^-]+)-([^-]+)-([0-9a-f]{2})$/

/**
 * The span that a `traceparent` names; undefined when it names none.
 *
 * @since 0.1.0
 * @category tracing
 */
export const spanOf = (trace: string): Tracer.ExternalSpan | undefined => {
  const match = traceparent.exec(trace)
  return match === null ? undefined : Tracer.externalSpan({
    traceId: match[1],
    spanId: match[2],
    sampled: (Number.parseInt(match[3], 16) & 1) === 1
  })
}
