import * as Either from "effect/Either"
import type * as Fiber from "effect/Fiber"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Event } from "../../Envelope.js"
import { isGap, traceOf } from "../../Envelope.js"
import type { PublishOptions } from "../../Publishing.js"
import { CycleDetected, InvalidEvent } from "../../Publishing.js"
import type { Handling } from "./handlers.js"
import type { Draft, Item } from "./model.js"
import { predicateOf } from "./predicate.js"

interface Settings<A extends Event, I> {
  readonly name: string
  readonly schema: Schema.Schema<A, I>
  readonly topicOf: (event: A) => string
  readonly validate: boolean
  readonly maxDepth: number
}

/** The tags of a chain that an error names, at most. */
const longestChain = 8

/** Everything that can be said about an event before it is its turn: whether it is one, its topic, its cause. */
export class Intake<A extends Event, I> {
  private readonly isValid: ((event: unknown) => boolean) | undefined
  private readonly explain: (event: A) => Either.Either<A, ParseResult.ParseError>
  private readonly decodeUnknown: (input: unknown) => Either.Either<A, ParseResult.ParseError>

  constructor(
    private readonly settings: Settings<A, I>,
    private readonly itemAt: (id: number) => Item<A> | undefined
  ) {
    this.isValid = settings.validate ? predicateOf(settings.schema) : undefined
    // exact, as `Schema.is` is: a missing key is not `undefined`
    this.explain = Schema.validateEither(settings.schema, { exact: true })
    this.decodeUnknown = Schema.decodeUnknownEither(settings.schema)
  }

  decode(input: unknown): Either.Either<A, InvalidEvent> {
    return Either.mapLeft(this.decodeUnknown(input), (error) => this.invalid(input, error))
  }

  draft(
    event: A,
    options: PublishOptions | undefined,
    handling: Handling | undefined,
    fiber: Fiber.RuntimeFiber<unknown, unknown>
  ): Draft<A> | InvalidEvent | CycleDetected {
    if (this.isValid !== undefined && !this.isValid(event)) {
      return this.invalid(event, Either.getOrThrow(Either.flip(this.explain(event))))
    }
    const topic = options?.topic ?? this.settings.topicOf(event)
    const cause = options?.causation ?? handling?.envelope
    // Ids of another bus mean nothing here; how long the chain is does.
    const causationId = options?.causation?.id ??
      (handling?.bus === this.settings.name ? handling.envelope.id : undefined)
    const depth = cause === undefined ? 0 : cause.depth + 1
    if (depth > this.settings.maxDepth) return this.cycle(event, topic, cause!.id, depth, causationId)
    const span = fiber.currentSpan
    return { id: 0, at: 0, topic, event, causationId, depth, trace: span === undefined ? undefined : traceOf(span) }
  }

  invalid(input: unknown, error: ParseResult.ParseError): InvalidEvent {
    const tag = typeof input === "object" && input !== null && "_tag" in input ? String(input._tag) : undefined
    return new InvalidEvent({
      bus: this.settings.name,
      tag,
      issue: ParseResult.TreeFormatter.formatErrorSync(error)
    })
  }

  private cycle(event: A, topic: string, causeId: number, depth: number, from: number | undefined): CycleDetected {
    const chain: Array<string> = []
    for (let id = from; id !== undefined && chain.length < longestChain;) {
      const item = this.itemAt(id)
      if (item === undefined || isGap(item)) break
      chain.unshift(item.event._tag)
      id = item.causationId
    }
    return new CycleDetected({ bus: this.settings.name, tag: event._tag, topic, causationId: causeId, depth, chain })
  }
}
