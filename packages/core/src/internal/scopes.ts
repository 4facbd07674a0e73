/**
 * What effect 3.22 keeps private of a scope: its state, its map of finalizers, and the methods that all scopes share. It is used
 * here and nowhere else; the tests `CleanupTree` and `LifecycleStart` fail when a release moves it.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Scope from "effect/Scope"

export type Finalizer = Scope.Scope.Finalizer

interface Internals {
  readonly state?: { readonly _tag: "Open" | "Closed"; readonly finalizers?: Map<object, Finalizer> }
}

type Close = (this: Scope.CloseableScope, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
type AddFinalizer = (this: Scope.Scope, finalizer: Finalizer) => Effect.Effect<void>

export const isClosed = (scope: Scope.Scope): boolean => (scope as Internals).state?._tag === "Closed"

/** The finalizers of an open scope, in the order in which they were added; undefined when effect has moved them. */
export const finalizersOf = (scope: Scope.Scope): Map<object, Finalizer> | undefined => {
  const { state } = scope as Internals
  return state?._tag === "Open" && state.finalizers instanceof Map ? state.finalizers : undefined
}

/** The object that all scopes of effect inherit from. */
const prototype = Object.getPrototypeOf(Effect.runSync(Scope.make())) as {
  close?: Close
  addFinalizer?: AddFinalizer
}

let closeIsReplaced = false

/**
 * From now on every scope of the process asks `around` when it closes. Scopes that layers, `Effect.scoped` and pools make for
 * themselves cannot be reached in another way. False when effect has moved the method: then nothing is replaced.
 */
export const replaceClose = (
  around: (scope: Scope.CloseableScope, close: Effect.Effect<void>) => Effect.Effect<void>
): boolean => {
  const { close } = prototype
  if (typeof close !== "function") return false
  if (closeIsReplaced) return true
  closeIsReplaced = true
  prototype.close = function(exit) {
    return around(this, close.call(this, exit))
  }
  return true
}

/** Scopes to which something was added while what is being built runs, in that order. */
const currentRecording: FiberRef.FiberRef<Set<Scope.Scope> | undefined> = FiberRef.unsafeMake<
  Set<Scope.Scope> | undefined
>(undefined, { join: (parent) => parent })

let recordings = 0
let original: AddFinalizer | undefined

/**
 * Runs an effect, and all that it forks, with a record of the scopes that get a finalizer. A layer hands over what it has built
 * only when it is complete: of one that hangs half-way this record is all there is. The method of scopes is replaced for as long
 * as the effect runs, and no longer.
 */
export const recordScopes = <A, E, R>(self: Effect.Effect<A, E, R>, scopes: Set<Scope.Scope>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      if (recordings++ > 0 || typeof prototype.addFinalizer !== "function") return
      const add = original = prototype.addFinalizer
      prototype.addFinalizer = function(finalizer) {
        return Effect.withFiberRuntime((fiber) => {
          fiber.getFiberRef(currentRecording)?.add(this)
          return add.call(this, finalizer)
        })
      }
    }),
    () => Effect.locally(self, currentRecording, scopes),
    () =>
      Effect.sync(() => {
        if (--recordings > 0 || original === undefined) return
        prototype.addFinalizer = original
        original = undefined
      })
  )
