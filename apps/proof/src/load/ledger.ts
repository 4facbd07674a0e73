/** What each connection was sent: which of the messages were lost, came twice, or in the wrong order. */

/** Numbers that one connection is to get once each, in order unless several publish at once. */
export class Ledger {
  received = 0
  repeated = 0
  disordered = 0
  private last: number
  private readonly missing = new Set<number>()

  /** `after`: the last message that was sent before this connection was there. */
  constructor(after: number, private readonly ordered: boolean) {
    this.last = after
  }

  note(n: number): void {
    this.received++
    if (n > this.last) {
      for (let gap = this.last + 1; gap < n; gap++) this.missing.add(gap)
      this.last = n
    } else if (this.missing.delete(n)) {
      if (this.ordered) this.disordered++
    } else this.repeated++
  }

  /** Of the messages up to `sent`, those that count and never came. */
  lost(sent: number, counts: (n: number) => boolean): number {
    let lost = 0
    for (const n of this.missing) if (n <= sent && counts(n)) lost++
    for (let n = this.last + 1; n <= sent; n++) if (counts(n)) lost++
    return lost
  }
}

/** Ids of an event stream: numbers that grow; `contiguous` ones leave none out. */
export class Ids {
  repeated = 0
  disordered = 0
  lost = 0
  private last: number | undefined = undefined
  private readonly recent = new Set<number>()

  constructor(private readonly contiguous: boolean) {}

  note(id: number): void {
    if (this.last !== undefined && id <= this.last) {
      if (this.recent.has(id)) this.repeated++
      else this.disordered++
      return
    }
    if (this.contiguous && this.last !== undefined) this.lost += id - this.last - 1
    this.last = id
    this.recent.add(id)
    if (this.recent.size > 1_000) this.recent.delete(this.recent.values().next().value!)
  }
}
