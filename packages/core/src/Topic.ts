/**
 * What topics are and which of them a subscriber means: the one matcher of the bus, its history and the hub of sessions.
 *
 * A topic is any string. A pattern is a topic, which means exactly that one, or a prefix that ends in `*`: `room.*` is every
 * topic that begins with `room.`, `*` is every topic. A dot has no meaning of its own, and a `*` elsewhere is a character
 * like any other.
 *
 * **For** whoever delivers by topic: parse once, then match, or look targets up in an `Index`. **Not for** queries: there
 * are no wildcards in the middle, so that a lookup costs one map access per length of prefix in use and never depends on
 * the number of patterns.
 *
 * **Guarantees**
 * - `matches`, `Interest.matches` and `Index.lookup` agree for all patterns and topics.
 * - An `Index` may be changed while somebody loops over what a lookup returned: the loop sees what was there at the lookup.
 *
 * **Limits.** A topic that itself ends in `*` can be published, but only be asked for by a prefix.
 *
 * @since 0.1.0
 */
import { Buckets } from "./internal/buckets.js"

/**
 * What a subscriber follows: one topic, or all that begin alike.
 *
 * @since 0.1.0
 * @category models
 */
export type Pattern =
  | { readonly _tag: "Exact"; readonly topic: string }
  | { readonly _tag: "Prefix"; readonly prefix: string }

/**
 * Whether a text is a prefix that ends in `*`.
 *
 * @since 0.1.0
 * @category patterns
 */
export const isPrefix = (pattern: string): boolean => pattern.endsWith("*")

/**
 * `room.*` is all that begin with `room.`; anything else is one topic.
 *
 * @example
 * ```ts
 * import * as Topic from "@holdfast/core/Topic"
 * import assert from "node:assert"
 *
 * assert.deepStrictEqual(Topic.parse("room.*"), { _tag: "Prefix", prefix: "room." })
 * assert.deepStrictEqual(Topic.parse("room.hall"), { _tag: "Exact", topic: "room.hall" })
 * ```
 *
 * @since 0.1.0
 * @category patterns
 */
export const parse = (pattern: string): Pattern =>
  isPrefix(pattern) ? { _tag: "Prefix", prefix: pattern.slice(0, -1) } : { _tag: "Exact", topic: pattern }

/**
 * Whether a topic is one that the pattern means.
 *
 * @since 0.1.0
 * @category matching
 */
export const matches = (pattern: string, topic: string): boolean =>
  isPrefix(pattern) ? topic.startsWith(pattern.slice(0, -1)) : pattern === topic

/**
 * Several patterns, parsed once. A topic is of interest when one of them means it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Interest {
  /** Undefined when every topic is of interest. */
  readonly exact: ReadonlySet<string> | undefined
  readonly prefixes: ReadonlyArray<string>
  readonly matches: (topic: string) => boolean
}

/**
 * Without patterns every topic is of interest; with an empty list none is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const interest = (patterns?: ReadonlyArray<string>): Interest => {
  const exact = new Set<string>()
  const prefixes = new Set<string>()
  for (const pattern of patterns ?? ["*"]) {
    const parsed = parse(pattern)
    if (parsed._tag === "Exact") exact.add(parsed.topic)
    else prefixes.add(parsed.prefix)
  }
  if (prefixes.has("")) return { exact: undefined, prefixes: [], matches: () => true }
  const list = [...prefixes]
  return {
    exact,
    prefixes: list,
    matches: (topic) => exact.has(topic) || list.some((prefix) => topic.startsWith(prefix))
  }
}

/**
 * Finds the targets of a topic without looking at any other. A target that was added under several patterns comes up once
 * for each that means the topic.
 *
 * @example
 * ```ts
 * import * as Topic from "@holdfast/core/Topic"
 * import assert from "node:assert"
 *
 * const index = new Topic.Index<string>()
 * index.add("room.*", "map")
 * index.add("room.hall", "door")
 * assert.deepStrictEqual(index.lookup("room.hall"), [["door"], ["map"]])
 * assert.deepStrictEqual(index.lookup("room.attic"), [["map"]])
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class Index<Target> {
  private readonly byTopic = new Buckets<Target>()
  private readonly byPrefix = new Buckets<Target>()
  /** How many prefixes there are of each length, and the lengths sorted. */
  private readonly lengths = new Map<number, number>()
  private sorted: ReadonlyArray<number> = []

  /** How many patterns have targets. */
  get size(): number {
    return this.byTopic.size + this.byPrefix.size
  }

  /** Adding a target again under the same pattern changes nothing. */
  add(pattern: string, target: Target): void {
    const parsed = parse(pattern)
    if (parsed._tag === "Exact") this.byTopic.add(parsed.topic, target)
    else if (this.byPrefix.add(parsed.prefix, target)) this.count(parsed.prefix.length, 1)
  }

  /** May be called for a target that is not there. */
  remove(pattern: string, target: Target): void {
    const parsed = parse(pattern)
    if (parsed._tag === "Exact") this.byTopic.remove(parsed.topic, target)
    else if (this.byPrefix.remove(parsed.prefix, target)) this.count(parsed.prefix.length, -1)
  }

  /**
   * The targets, as lists without empty ones: those of the topic itself, then those of its prefixes, the shortest first.
   * The lists never change. They are added to `into`, which saves an array on hot paths.
   */
  lookup(topic: string, into: Array<ReadonlyArray<Target>> = []): Array<ReadonlyArray<Target>> {
    if (this.byTopic.size > 0) {
      const found = this.byTopic.get(topic)
      if (found !== undefined) into.push(found)
    }
    const { sorted } = this
    for (let i = 0; i < sorted.length; i++) {
      if (sorted[i] > topic.length) break
      const found = this.byPrefix.get(topic.slice(0, sorted[i]))
      if (found !== undefined) into.push(found)
    }
    return into
  }

  private count(length: number, by: number): void {
    const count = (this.lengths.get(length) ?? 0) + by
    if (count > 0) this.lengths.set(length, count)
    else this.lengths.delete(length)
    if (this.lengths.size !== this.sorted.length) this.sorted = [...this.lengths.keys()].sort((a, b) => a - b)
  }
}
