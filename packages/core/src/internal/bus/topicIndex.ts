import * as Topic from "../../Topic.js"
import { Buckets } from "../buckets.js"

/** What a subscriber is interested in. */
export class Filter {
  readonly topics: Topic.Interest
  readonly patterns: ReadonlyArray<string>
  /** Undefined stands for every tag. */
  readonly tags: ReadonlySet<string> | undefined

  constructor(topics: ReadonlyArray<string> | undefined, tags: ReadonlyArray<string> | undefined) {
    this.patterns = topics === undefined ? ["*"] : [...topics]
    this.topics = Topic.interest(this.patterns)
    this.tags = tags === undefined ? undefined : new Set(tags)
  }

  matches(topic: string, tag: string): boolean {
    return (this.tags === undefined || this.tags.has(tag)) && this.topics.matches(topic)
  }
}

/**
 * Finds the targets of an event without touching any other. A target may come up more than once; one that has tags and
 * topics comes up by its topics, and its tags are left to the caller.
 */
export class TopicIndex<S extends { readonly filter: Filter }> {
  private readonly byTopic = new Topic.Index<S>()
  /** Those that have tags and are interested in every topic. */
  private readonly byTag = new Buckets<S>()

  add(target: S) {
    const { patterns, tags, topics } = target.filter
    if (topics.exact === undefined) {
      if (tags === undefined) this.byTopic.add("*", target)
      else for (const tag of tags) this.byTag.add(tag, target)
    } else for (const pattern of patterns) this.byTopic.add(pattern, target)
  }

  /** May be called for one that is not there. */
  remove(target: S) {
    const { patterns, tags, topics } = target.filter
    if (topics.exact === undefined) {
      if (tags === undefined) this.byTopic.remove("*", target)
      else for (const tag of tags) this.byTag.remove(tag, target)
    } else for (const pattern of patterns) this.byTopic.remove(pattern, target)
  }

  /** The lists that may hold targets, in `into` after emptying it. No list changes afterwards. */
  lookup(topic: string, tag: string, into: Array<ReadonlyArray<S>> = []): ReadonlyArray<ReadonlyArray<S>> {
    into.length = 0
    if (this.byTag.size > 0) {
      const list = this.byTag.get(tag)
      if (list !== undefined) into.push(list)
    }
    return this.byTopic.lookup(topic, into)
  }
}
