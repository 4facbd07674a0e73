/** What a subscriber is interested in. `undefined` stands for everything. */
export class Filter {
  readonly exact: ReadonlySet<string> | undefined
  readonly prefixes: ReadonlyArray<string>
  readonly tags: ReadonlySet<string> | undefined

  constructor(topics: ReadonlyArray<string> | undefined, tags: ReadonlyArray<string> | undefined) {
    this.tags = tags === undefined ? undefined : new Set(tags)
    const prefixes = new Set<string>()
    const exact = new Set<string>()
    for (const topic of topics ?? ["*"]) {
      if (topic.endsWith("*")) prefixes.add(topic.slice(0, -1))
      else exact.add(topic)
    }
    const everything = prefixes.has("")
    this.exact = everything ? undefined : exact
    this.prefixes = everything ? [] : [...prefixes]
  }

  matches(topic: string, tag: string): boolean {
    if (this.tags !== undefined && !this.tags.has(tag)) return false
    return this.exact === undefined || this.exact.has(topic) || this.prefixes.some((prefix) => topic.startsWith(prefix))
  }
}

/** Keys to lists, without empty lists. */
class Lists<S> {
  readonly lists = new Map<string, Array<S>>()

  add(key: string, target: S) {
    const list = this.lists.get(key)
    if (list === undefined) this.lists.set(key, [target])
    else list.push(target)
  }

  remove(key: string, target: S): boolean {
    const list = this.lists.get(key)
    if (list === undefined || !drop(list, target)) return false
    if (list.length === 0) this.lists.delete(key)
    return true
  }
}

const drop = <S>(list: Array<S>, target: S): boolean => {
  const index = list.indexOf(target)
  if (index < 0) return false
  const last = list.pop()!
  if (index < list.length) list[index] = last
  return true
}

/**
 * Finds the targets of an event without touching any other. A target may come up more than once; one that has tags and
 * topics comes up by its topics, and its tags are left to the caller.
 */
export class TopicIndex<S extends { readonly filter: Filter }> {
  private readonly all: Array<S> = []
  private readonly byTag = new Lists<S>()
  private readonly byTopic = new Lists<S>()
  private readonly byPrefix = new Lists<S>()
  /** How many prefixes there are of each length, the lengths sorted. */
  private readonly lengths = new Map<number, number>()
  private sorted: ReadonlyArray<number> = []
  private readonly found: Array<ReadonlyArray<S>> = []

  add(target: S) {
    const { exact, prefixes, tags } = target.filter
    if (exact === undefined) {
      if (tags === undefined) this.all.push(target)
      else for (const tag of tags) this.byTag.add(tag, target)
      return
    }
    for (const topic of exact) this.byTopic.add(topic, target)
    for (const prefix of prefixes) {
      this.byPrefix.add(prefix, target)
      this.count(prefix.length, 1)
    }
  }

  /** May be called for one that is not there. */
  remove(target: S) {
    const { exact, prefixes, tags } = target.filter
    if (exact === undefined) {
      if (tags === undefined) drop(this.all, target)
      else for (const tag of tags) this.byTag.remove(tag, target)
      return
    }
    for (const topic of exact) this.byTopic.remove(topic, target)
    for (const prefix of prefixes) {
      if (this.byPrefix.remove(prefix, target)) this.count(prefix.length, -1)
    }
  }

  private count(length: number, by: number) {
    const count = (this.lengths.get(length) ?? 0) + by
    if (count > 0) this.lengths.set(length, count)
    else this.lengths.delete(length)
    if (count <= 1) this.sorted = [...this.lengths.keys()].sort((a, b) => a - b)
  }

  /** The lists that may hold targets. The array is the same one in every call, and valid until the next. */
  lookup(topic: string, tag: string): ReadonlyArray<ReadonlyArray<S>> {
    const found = this.found
    found.length = 0
    if (this.all.length > 0) found.push(this.all)
    if (this.byTag.lists.size > 0) {
      const list = this.byTag.lists.get(tag)
      if (list !== undefined) found.push(list)
    }
    if (this.byTopic.lists.size > 0) {
      const list = this.byTopic.lists.get(topic)
      if (list !== undefined) found.push(list)
    }
    for (const length of this.sorted) {
      if (length > topic.length) break
      const list = this.byPrefix.lists.get(topic.slice(0, length))
      if (list !== undefined) found.push(list)
    }
    return found
  }
}
