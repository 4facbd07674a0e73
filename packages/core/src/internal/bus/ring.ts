import type { Envelope } from "../../Envelope.js"
import { Gap } from "../../Envelope.js"

/** The limits of a ring. Whichever is reached first evicts the oldest event. */
export interface Limits<A> {
  readonly count: number
  readonly bytes: number
  readonly age: number
  /** Monotonic milliseconds. Asked only when `age` is finite, since the wall clock may be set. */
  readonly now: () => number
  /** Asked only when `bytes` is finite. */
  readonly sizeOf: (envelope: Envelope<A>) => number
}

/**
 * The newest events, found by id in constant time. Its slots are reused: once it is full, adding allocates nothing. An
 * event that could not be read back from a store is a `Gap` of one.
 */
export class Ring<A> {
  /** Id of the newest event that was added, also when it has been evicted. */
  last: number
  bytes = 0
  private slots: Array<Envelope<A> | Gap | undefined> = []
  private sizes: Array<number> = []
  /** When each item was added, by `now`, less how old it was. */
  private born: Array<number> = []
  private head = 0
  private size = 0

  constructor(readonly limits: Limits<A>, last: number) {
    this.last = last
  }

  /** Id of the oldest event; `last + 1` when there is none. */
  get first(): number {
    return this.last - this.size + 1
  }

  /** `alreadyOld`: how old it is, in milliseconds. */
  push(item: Envelope<A> | Gap, alreadyOld = 0) {
    const { age, bytes, count, sizeOf } = this.limits
    this.last = item instanceof Gap ? item.lastId : item.id
    if (count === 0) return
    if (this.size === count) this.evictOldest()
    if (this.size === this.slots.length) this.grow()
    const at = (this.head + this.size) % this.slots.length
    this.slots[at] = item
    this.size++
    if (bytes !== Number.POSITIVE_INFINITY) {
      const size = item instanceof Gap ? 0 : sizeOf(item)
      this.sizes[at] = size
      this.bytes += size
      while (this.bytes > bytes) this.evictOldest()
    }
    if (age !== Number.POSITIVE_INFINITY) {
      // a gap has no age: it goes as soon as it is the oldest
      this.born[at] = item instanceof Gap ? Number.NEGATIVE_INFINITY : this.limits.now() - alreadyOld
      this.expire()
    }
  }

  /** Evicts what is too old. */
  expire() {
    const { age } = this.limits
    if (age === Number.POSITIVE_INFINITY) return
    const now = this.limits.now()
    while (this.size > 0 && now - this.born[this.head] > age) this.evictOldest()
  }

  /** The event with an id from `first` to `last`. */
  at(id: number): Envelope<A> | Gap | undefined {
    const offset = id - this.first
    return offset < 0 || offset >= this.size ? undefined : this.slots[(this.head + offset) % this.slots.length]
  }

  private evictOldest() {
    this.slots[this.head] = undefined
    if (this.limits.bytes !== Number.POSITIVE_INFINITY) this.bytes -= this.sizes[this.head]
    this.head = (this.head + 1) % this.slots.length
    this.size--
  }

  private grow() {
    const length = Math.min(this.limits.count, Math.max(16, this.slots.length * 2))
    const order = <X>(from: ReadonlyArray<X>): Array<X> => {
      const to = from.slice(this.head, this.head + this.size)
      for (let i = 0; to.length < this.size; i++) to.push(from[i])
      to.length = length
      return to
    }
    this.slots = order(this.slots).fill(undefined, this.size)
    if (this.limits.bytes !== Number.POSITIVE_INFINITY) this.sizes = order(this.sizes).fill(0, this.size)
    if (this.limits.age !== Number.POSITIVE_INFINITY) this.born = order(this.born).fill(0, this.size)
    this.head = 0
  }
}
