/** Principals that are kept out for a while. Time is monotonic: no setting of the clock lets anybody in. */
import type { Ban } from "../../HubOptions.js"

/** Beyond this the ban that ends first is lifted: an operator bans by hand. */
const maxBans = 10_000

export class Bans {
  private readonly ends = new Map<string, number>()

  constructor(private readonly now: () => number) {}

  add(principal: string, millis: number) {
    this.sweep()
    if (this.ends.size >= maxBans && !this.ends.has(principal)) {
      const [first] = Array.from(this.ends).reduce((least, one) => one[1] < least[1] ? one : least)
      this.ends.delete(first)
    }
    this.ends.set(principal, this.now() + millis)
  }

  lift(principal: string): boolean {
    return this.remaining(principal) > 0 && this.ends.delete(principal)
  }

  /** Milliseconds; 0: it is not banned. */
  remaining(principal: string | undefined): number {
    if (principal === undefined || this.ends.size === 0) return 0
    return Math.max(0, (this.ends.get(principal) ?? 0) - this.now())
  }

  of(principal: string): Ban | undefined {
    const remainingMillis = this.remaining(principal)
    return remainingMillis > 0 ? { principal, remainingMillis } : undefined
  }

  all(): ReadonlyArray<Ban> {
    this.sweep()
    return Array.from(this.ends, ([principal, end]) => ({ principal, remainingMillis: end - this.now() }))
  }

  private sweep() {
    const now = this.now()
    for (const [principal, end] of this.ends) if (end <= now) this.ends.delete(principal)
  }
}
