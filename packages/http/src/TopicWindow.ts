/**
 * What a session follows: topics, each with the ids between which it counts.
 *
 * A window makes a change of topic exact. A player who leaves room `a` at event 120 and enters room `b` follows
 * `{ topic: "room.a", upTo: 120 }` and `{ topic: "room.b", after: 120 }`: live and when resuming, each event is seen
 * exactly if it happened where the player was.
 *
 * A `topic` is always exactly that topic, also when it ends in `*`, so that a name from outside is never a pattern. Every
 * topic that begins with `room.` is `{ prefix: "room." }`, and every topic is `{ prefix: "" }`.
 *
 * @since 0.1.0
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import type * as Topic from "@holdfast/core/Topic"

/**
 * A topic or a prefix, and the part of it that is meant.
 *
 * @since 0.1.0
 * @category models
 */
export type TopicWindow = Target & Bounds

/**
 * One topic, or all topics with a prefix.
 *
 * @since 0.1.0
 * @category models
 */
export type Target =
  | { readonly topic: string; readonly prefix?: undefined }
  | { readonly prefix: string; readonly topic?: undefined }

/**
 * The part of a topic that is meant, by ids of events.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bounds {
  /** Only events with a greater id. Default: where the session begins. */
  readonly after?: number | undefined
  /** Only events with at most this id. Default: no end. */
  readonly upTo?: number | undefined
}

/**
 * A window whose bounds are filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface BoundedWindow {
  readonly target: Topic.Pattern
  readonly after: number
  readonly upTo: number
}

/**
 * Throws `InvalidOption` for a bound that is no id.
 *
 * @since 0.1.0
 * @category guards
 */
export const unsafeCheck = ({ after, upTo }: Bounds): void => {
  if (after !== undefined) {
    InvalidOption.unsafeWhole("TopicWindow.after", after)
  }
  if (upTo !== undefined) {
    InvalidOption.unsafeWhole("TopicWindow.upTo", upTo, { infinite: true })
  }
}

/**
 * The target as a pattern.
 *
 * @since 0.1.0
 * @category conversions
 */
export const targetOf = (target: Target): Topic.Pattern =>
  target.prefix === undefined ? { _tag: "Exact", topic: target.topic } : { _tag: "Prefix", prefix: target.prefix }

/**
 * Whether both mean the same topics.
 *
 * @since 0.1.0
 * @category guards
 */
export const isSameTarget = (one: Topic.Pattern, other: Topic.Pattern): boolean =>
  one._tag === "Exact"
    ? other._tag === "Exact" && one.topic === other.topic
    : other._tag === "Prefix" && one.prefix === other.prefix

/**
 * The pattern by which a log or an index finds at least the topics of a target. An exact topic that ends in `*` has none
 * of its own there: what is found has to be looked at with `includes`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const patternOf = (target: Topic.Pattern): string => target._tag === "Exact" ? target.topic : `${target.prefix}*`

/**
 * Every window with bounds. `floor` is the last id that the session has already been offered: nothing at or below it counts.
 *
 * @example
 * ```ts
 * import { TopicWindow } from "@holdfast/http"
 * import assert from "node:assert"
 *
 * const following = TopicWindow.windows([{ topic: "news", after: 7 }], 0, 0)
 * assert(!TopicWindow.includes(following, "news", 7))
 * assert(TopicWindow.includes(following, "news", 8))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const windows = (
  following: ReadonlyArray<TopicWindow>,
  start: number,
  floor: number
): Array<BoundedWindow> =>
  following.map((window) => ({
    target: targetOf(window),
    after: Math.max(window.after ?? start, floor),
    upTo: window.upTo ?? Infinity
  }))

/**
 * Whether one of the windows holds the event.
 *
 * @since 0.1.0
 * @category matching
 */
export const includes = (windows: ReadonlyArray<BoundedWindow>, topic: string, id: number): boolean => {
  for (const { after, target, upTo } of windows) {
    if (
      id > after && id <= upTo && (target._tag === "Exact" ? target.topic === topic : topic.startsWith(target.prefix))
    ) {
      return true
    }
  }
  return false
}

/**
 * The patterns that are open from `position` on, when nothing but them is left to check: `undefined` when a window begins
 * or ends later, and for an exact topic that ends in `*`. Windows that have passed are left out.
 *
 * @since 0.1.0
 * @category matching
 */
export const plain = (windows: ReadonlyArray<BoundedWindow>, position: number): ReadonlyArray<string> | undefined => {
  const patterns = new Set<string>()
  for (const { after, target, upTo } of windows) {
    if (upTo <= position || upTo <= after) {
      continue
    }
    if (after > position || upTo !== Infinity || (target._tag === "Exact" && target.topic.endsWith("*"))) {
      return undefined
    }
    patterns.add(patternOf(target))
  }
  return Array.from(patterns).sort()
}
