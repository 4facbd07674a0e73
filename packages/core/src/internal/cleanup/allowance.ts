/**
 * The time of a tree of finalizers. There is one deadline for all of them, at whatever depth they are: what a nested scope
 * takes is taken once.
 */

/** The part of the time that is there for whoever needs it; the rest is kept for those behind. */
const mainShare = 0.85

/** The part of the time after which nobody is waited for, so that what holds the finalizers ends in time as well. */
const endShare = 0.98

export class Allowance {
  /** Finalizers that are known and have not begun. */
  pending = 0
  private readonly main: number
  private readonly end: number

  constructor(startedAt: number, readonly deadline: number) {
    this.main = startedAt + (deadline - startedAt) * mainShare
    this.end = startedAt + (deadline - startedAt) * endShare
  }

  /**
   * Until when a finalizer that begins or goes on now may run: to the end of the main part, and after that it has an even
   * share of the reserve with those that are known to wait.
   */
  until(now: number): number {
    if (this.deadline === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY
    return Math.max(this.main, now + Math.max(0, this.end - now) / (this.pending + 1))
  }
}
