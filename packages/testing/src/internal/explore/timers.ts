/** Timers of virtual time, in order of time and then of birth. */

import type { FiberState, Task } from "./types.js"

interface Timer {
  readonly at: number
  readonly fire: () => void
  readonly owner: FiberState | undefined
  readonly nth: number
  /** a timer can be cancelled until it has fired, also when it is due already */
  cancelled: boolean
}

export class Timers {
  /** the earliest is last; of those of one time, the oldest */
  private readonly waiting: Array<Timer> = []

  /** Adds a timer; the result cancels it. */
  add(at: number, fire: () => void, owner: FiberState | undefined, nth: number): () => void {
    const timer: Timer = { at, fire, owner, nth, cancelled: false }
    let low = 0
    let high = this.waiting.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.waiting[middle]!.at > at) low = middle + 1
      else high = middle
    }
    this.waiting.splice(low, 0, timer)
    return () => {
      timer.cancelled = true
      const index = this.waiting.indexOf(timer)
      if (index >= 0) this.waiting.splice(index, 1)
    }
  }

  /** The time of the earliest. */
  next(): number | undefined {
    return this.waiting[this.waiting.length - 1]?.at
  }

  /** Takes those of `now` and before, the earliest first. Each still does nothing once it is cancelled. */
  due(now: number, priority: number): ReadonlyArray<Task> {
    const tasks: Array<Task> = []
    while (this.waiting.length > 0 && this.waiting[this.waiting.length - 1]!.at <= now) {
      const timer = this.waiting.pop()!
      const { nth, owner } = timer
      const run = () => {
        if (!timer.cancelled) timer.fire()
      }
      tasks.push({ run, fiber: undefined, owner, nth, priority })
    }
    return tasks
  }

  clear(): void {
    this.waiting.length = 0
  }
}
