/** Sets by key, without empty ones. */
export class Multimap<K, V> {
  private readonly sets = new Map<K, Set<V>>()

  get(key: K): ReadonlySet<V> | undefined {
    return this.sets.get(key)
  }

  add(key: K, value: V): void {
    const found = this.sets.get(key)
    if (found === undefined) {
      this.sets.set(key, new Set([value]))
    } else {
      found.add(value)
    }
  }

  remove(key: K, value: V): void {
    const found = this.sets.get(key)
    if (found !== undefined && found.delete(value) && found.size === 0) {
      this.sets.delete(key)
    }
  }
}
