import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Monotonic from "../../Monotonic.js"
import * as Race from "../../Race.js"
import { Signal } from "../../Signal.js"
import type { Mailbox } from "./mailbox.js"

/** One fiber per bus, which cuts off the subscribers that keep publishers waiting for too long. It sleeps otherwise. */
export class StallWatch<A> {
  private readonly watched = new Set<Mailbox<A>>()
  private wakeAt = Number.POSITIVE_INFINITY
  private stale = false
  private readonly changed = new Signal()

  constructor(
    private readonly clock: Clock.Clock,
    private readonly cutOff: (mailbox: Mailbox<A>) => Effect.Effect<void>
  ) {}

  /** Called when the first publisher begins to wait. */
  add(mailbox: Mailbox<A>) {
    if (mailbox.limit === Number.POSITIVE_INFINITY) return
    this.watched.add(mailbox)
    if (mailbox.stalledSince + mailbox.limit >= this.wakeAt) return
    this.stale = true
    this.changed.wake()
  }

  private readonly awaitStale = this.changed.wait(() => this.stale)

  readonly run: Effect.Effect<never> = Effect.forever(Effect.suspend(() => {
    const now = Monotonic.unsafeNow(this.clock)
    const late: Array<Mailbox<A>> = []
    this.stale = false
    this.wakeAt = Number.POSITIVE_INFINITY
    for (const mailbox of this.watched) {
      const due = mailbox.stalledSince + mailbox.limit
      if (mailbox.waiting.length === 0) this.watched.delete(mailbox)
      else if (due > now) this.wakeAt = Math.min(this.wakeAt, due)
      else {
        this.watched.delete(mailbox)
        late.push(mailbox)
      }
    }
    const wait = Math.min(this.wakeAt - now, longestSleep)
    return Effect.zipRight(
      Effect.forEach(late, this.cutOff, { discard: true }),
      this.wakeAt === Number.POSITIVE_INFINITY
        ? this.awaitStale
        : Race.first(this.awaitStale, this.clock.sleep(Duration.millis(wait)))
    )
  }))
}

/** Half of the longest time-out that JavaScript timers can do. */
const longestSleep = 2 ** 30
