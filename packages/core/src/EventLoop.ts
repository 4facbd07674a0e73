/**
 * One turn of the event loop, before a timer may say that a peer is silent.
 *
 * **Why.** A process that stood still (a laptop that slept, `SIGSTOP`, a virtual machine that was paused, a long synchronous
 * stall) runs its timers first and reads its sockets after that. Whoever concludes from a timer that nothing has come gives
 * peers up whose answers lie in the kernel all the while.
 *
 * **How.** When the time is over, wait for one turn, then judge: whether there is still no sign, not whether the answer is
 * complete. A turn reads at most a few times 64 KiB of each socket, and what comes over a compressed stream may take another.
 *
 * **Limits.** Where there is no `setImmediate`, in a browser, a turn is a timer of 0 ms: a page does not tell what it runs first.
 *
 * **Not for** time that has to be kept whatever comes: the budget of a shutdown, a close that was asked for.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"

/**
 * Runs the task when what had come by now has been read.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeAfterTurn = (task: () => void): void => {
  if (typeof setImmediate === "function") setImmediate(task)
  else setTimeout(task, 0)
}

const realClock = Context.get(DefaultServices.liveServices, Clock.Clock)

const realTurn = Effect.async<void>((resume) => unsafeAfterTurn(() => resume(Effect.void)))

/**
 * Waits until what had come by now has been read. On a clock that a test moves no process stands still, and nothing is waited
 * for.
 *
 * @since 0.1.0
 * @category accessors
 */
export const turn: Effect.Effect<void> = Effect.clockWith((clock) => clock === realClock ? realTurn : Effect.void)
