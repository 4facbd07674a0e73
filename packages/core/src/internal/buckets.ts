interface Bucket<V> {
  readonly values: Set<V>
  /** The values as an array that nobody changes: a loop over it does not notice what is added or removed meanwhile. */
  snapshot: ReadonlyArray<V> | undefined
}

/** Values by key, in the order in which they were added. Adding and removing take constant time. */
export class Buckets<V> {
  private readonly buckets = new Map<string, Bucket<V>>()

  /** How many keys have values. */
  get size(): number {
    return this.buckets.size
  }

  /** Whether it is the first value of its key. */
  add(key: string, value: V): boolean {
    const bucket = this.buckets.get(key)
    if (bucket === undefined) {
      this.buckets.set(key, { values: new Set([value]), snapshot: undefined })
      return true
    }
    bucket.values.add(value)
    bucket.snapshot = undefined
    return false
  }

  /** Whether it was the last value of its key. */
  remove(key: string, value: V): boolean {
    const bucket = this.buckets.get(key)
    if (bucket === undefined || !bucket.values.delete(value)) return false
    bucket.snapshot = undefined
    return bucket.values.size === 0 && this.buckets.delete(key)
  }

  /** The array stays as it is, whatever is added or removed later. It is made again after a change, at the first look. */
  get(key: string): ReadonlyArray<V> | undefined {
    const bucket = this.buckets.get(key)
    return bucket === undefined ? undefined : bucket.snapshot ??= Array.from(bucket.values)
  }
}
