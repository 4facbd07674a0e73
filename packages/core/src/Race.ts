/**
 * Races and time-outs that end when they are interrupted, whenever that happens.
 *
 * **Why.** Effect 3.22 makes the two fibers of a race in one operation and starts them in the next. A fiber that is
 * interrupted between the two (a yield is due every 2048 operations, by default) has two children that never began, and
 * waits for them for ever: `Effect.race`, `raceFirst`, `timeout` and their kin all do, and so the scope that owns them
 * never closes. Here each fiber is forked and started in one operation.
 *
 * **Guarantees.** As `Effect.raceFirst`: the first that ends wins, with success or failure; the other one is interrupted,
 * and waited for. Both are interrupted when the caller is. What the winner did to fiber refs holds for the caller. A time-out
 * is over only when what had come by then has been read: a process that stood still does not give up what lies in its sockets.
 *
 * **Not for** finalizers: a time-out waits for what it interrupts. `Cleanup` bounds those.
 *
 * @since 0.1.0
 */
import { Duration, Effect, Fiber, Option } from "effect"
import { dual } from "effect/Function"
import * as EventLoop from "./EventLoop.js"

type Running<A, E> = Fiber.RuntimeFiber<A, E>

const winnerFirst = <A, E, A2, E2>(
  left: Running<A, E>,
  right: Running<A2, E2>
): Effect.Effect<readonly [winner: Running<A | A2, E | E2>, loser: Running<unknown, unknown>]> =>
  Effect.async((resume) => {
    const onLeft = () => resume(Effect.succeed([left, right]))
    const onRight = () => resume(Effect.succeed([right, left]))
    left.addObserver(onLeft)
    right.addObserver(onRight)
    return Effect.sync(() => {
      left.removeObserver(onLeft)
      right.removeObserver(onRight)
    })
  })

/**
 * The result of whichever ends first, be it a failure.
 *
 * @since 0.1.0
 * @category racing
 */
export const first: {
  <A2, E2, R2>(
    that: Effect.Effect<A2, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, E | E2, R | R2>
  <A, E, R, A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    that: Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2>
} = dual(2, <A, E, R, A2, E2, R2>(
  self: Effect.Effect<A, E, R>,
  that: Effect.Effect<A2, E2, R2>
): Effect.Effect<A | A2, E | E2, R | R2> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.fork(restore(self)),
      (left) =>
        Effect.flatMap(Effect.fork(restore(that)), (right) =>
          Effect.flatMap(
            Effect.onInterrupt(restore(winnerFirst(left, right)), () => Fiber.interruptAll([left, right])),
            ([winner, loser]) => Effect.zipRight(Fiber.interrupt(loser), Fiber.join(winner))
          ))
    )
  ))

/** The time is over, and what came in it has been read. */
const elapsed = (duration: Duration.DurationInput): Effect.Effect<void> =>
  Effect.interruptible(Effect.zipRight(Effect.sleep(duration), EventLoop.turn))

/**
 * `self`, or none when it takes longer than `duration`, by the `Clock` of the caller.
 *
 * @since 0.1.0
 * @category time-outs
 */
export const timeoutOption: {
  (
    duration: Duration.DurationInput
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.DurationInput): Effect.Effect<Option.Option<A>, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.DurationInput): Effect.Effect<Option.Option<A>, E, R> =>
    first(Effect.asSome(self), Effect.as(elapsed(duration), Option.none<A>()))
)

/**
 * `self`, or this error when it takes longer than `duration`, by the `Clock` of the caller.
 *
 * @since 0.1.0
 * @category time-outs
 */
export const timeoutFail: {
  <E2>(
    options: { readonly duration: Duration.DurationInput; readonly onTimeout: () => E2 }
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | E2, R>
  <A, E, R, E2>(
    self: Effect.Effect<A, E, R>,
    options: { readonly duration: Duration.DurationInput; readonly onTimeout: () => E2 }
  ): Effect.Effect<A, E | E2, R>
} = dual(
  2,
  <A, E, R, E2>(
    self: Effect.Effect<A, E, R>,
    { duration, onTimeout }: { readonly duration: Duration.DurationInput; readonly onTimeout: () => E2 }
  ): Effect.Effect<A, E | E2, R> =>
    first(
      self,
      Effect.zipRight(elapsed(duration), Effect.failSync(onTimeout))
    )
)
