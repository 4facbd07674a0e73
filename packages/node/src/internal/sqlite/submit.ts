/**
 * From the promises of a connection to effects.
 */
import * as Effect from "effect/Effect"
import type { Connection } from "./connection.js"
import { type Failure, failureOf, isDriverFailure } from "./failure.js"

/** Runs something on the connection: a write in the transaction of its group, a read outside of one. */
export type Submit = <A>(write: boolean, run: () => A | PromiseLike<A>) => Effect.Effect<A, Failure>

/**
 * Interrupting a write that waits for its turn takes it back. One that is under way is waited for, so that nobody is
 * told that it did not happen when it does.
 */
export const makeSubmit =
  (connection: Connection): Submit => <A>(write: boolean, run: () => A | PromiseLike<A>): Effect.Effect<A, Failure> =>
    Effect.suspend(() => {
      let over = false
      let onOver = () => {}
      let takeBack = () => true
      const result = Effect.async<A, Failure>((resume) => {
        takeBack = connection.submit(write, run, (value, failure) => {
          resume(
            failure === undefined
              ? Effect.succeed(value as A)
              : isDriverFailure(failure)
              ? Effect.fail(failureOf(failure))
              : Effect.die(failure)
          )
          over = true
          onOver()
        })
      })
      // around the wait: one that `async` answers is lost on a fiber that is interrupted between registering and waiting
      return Effect.onInterrupt(result, () =>
        Effect.async<void>((done) => {
          onOver = () => done(Effect.void)
          if (over || takeBack()) done(Effect.void)
        }))
    })
