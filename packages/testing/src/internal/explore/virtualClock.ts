/** Effect's clock, on the time of a simulation. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Globals from "./globals.js"
import * as Waits from "./waits.js"

export class VirtualClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  constructor(private readonly host: Globals.Host) {}
  unsafeCurrentTimeMillis(): number {
    return this.host.now()
  }
  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.round(this.host.now() * 1_000_000))
  }
  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())
  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      const cancel = this.host.after(Duration.toMillis(duration), () => resume(Effect.void))
      Waits.note(() => `a sleep of ${Duration.format(duration)}`)
      return Effect.sync(cancel)
    })
  }
}
