/**
 * What a session follows: topics, each with the ids between which it counts.
 *
 * A window makes a change of topic exact. A player who leaves room `a` at event 120 and enters room `b` follows
 * `{ topic: "room.a", upTo: 120 }` and `{ topic: "room.b", after: 120 }`: live and when resuming, each event is seen
 * exactly if it happened where the player was.
 *
 * A topic is exact, or a prefix that ends in `*`: `room.*` is every topic that begins with `room.`, `*` is every topic.
 * What matches is for `Topic` of core to say.
 *
 * @since 0.1.0
 */
import * as Topic from "@holdfast/core/Topic"

/**
 * @since 0.1.0
 * @category models
 */
export interface TopicWindow {
  readonly topic: string
  /** Only events with a greater id. Default: where the session begins. */
  readonly after?: number | undefined
  /** Only events with at most this id. Default: no end. */
  readonly upTo?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface BoundedWindow {
  readonly topic: string
  readonly after: number
  readonly upTo: number
}

/**
 * Every window with bounds. `floor` is the last id that the session has already dealt with: nothing at or below it counts.
 *
 * @since 0.1.0
 * @category constructors
 */
export const windows = (
  following: ReadonlyArray<TopicWindow>,
  start: number,
  floor: number
): Array<BoundedWindow> =>
  following.map(({ after, topic, upTo }) => ({
    topic,
    after: Math.max(after ?? start, floor),
    upTo: upTo ?? Infinity
  }))

/**
 * @since 0.1.0
 * @category matching
 */
export const includes = (windows: ReadonlyArray<BoundedWindow>, topic: string, id: number): boolean => {
  for (const window of windows) {
    if (id > window.after && id <= window.upTo && Topic.matches(window.topic, topic)) {
      return true
    }
  }
  return false
}

/**
 * The topics that are open from `position` on, when nothing but topics is left to check: `undefined` when a window begins
 * or ends later. Windows that have passed are left out.
 *
 * @since 0.1.0
 * @category matching
 */
export const plain = (windows: ReadonlyArray<BoundedWindow>, position: number): ReadonlyArray<string> | undefined => {
  const topics = new Set<string>()
  for (const window of windows) {
    if (window.upTo <= position || window.upTo <= window.after) {
      continue
    }
    if (window.after > position || window.upTo !== Infinity) {
      return undefined
    }
    topics.add(window.topic)
  }
  return Array.from(topics).sort()
}
