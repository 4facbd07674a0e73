import type * as Clock from "effect/Clock"

/** Milliseconds that never go back when somebody sets the clock of the machine; virtual under a virtual clock. */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6
