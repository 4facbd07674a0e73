/**
 * `it` as in `@effect/vitest`, with `it.leakFree`, `it.explore` and `it.regression` added. Everything else, `describe`, `assert`, `expect`
 * and the hooks, is vitest's own.
 *
 * @since 0.1.0
 */
import * as EffectVitest from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as TestServices from "effect/TestServices"
import type { TestOptions } from "vitest"
import * as Explore from "./Explore.js"
import * as LeakCheck from "./LeakCheck.js"

export * from "@effect/vitest"

/**
 * A test with the switches of vitest.
 *
 * @since 0.1.0
 * @category models
 */
export type Variants<F> = F & { readonly skip: F; readonly only: F; readonly fails: F }

/**
 * The tests of `@effect/vitest`, and three more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Methods extends EffectVitest.Vitest.Methods {
  /**
   * A scoped test that fails when it leaves a fiber, scope, socket, timer or listener behind. With the setup file every
   * test is checked so; this one is checked without it, too.
   */
  readonly leakFree: Variants<LeakFree>
  /** Tries the Effect under many seeds: see `Explore.check`. */
  readonly explore: Variants<ExploreTest>
  /** Tries the Effect after a recorded schedule: see `Explore.regression`. */
  readonly regression: Variants<RegressionTest>
}

/**
 * A test that fails when it leaves something behind.
 *
 * @since 0.1.0
 * @category models
 */
export interface LeakFree {
  <A, E>(
    name: string,
    self: EffectVitest.Vitest.TestFunction<
      A,
      E,
      TestServices.TestServices | Scope.Scope,
      [EffectVitest.TestContext]
    >,
    options?: number | TestOptions & LeakCheck.Options
  ): void
}

/**
 * A test that is run in many interleavings.
 *
 * @since 0.1.0
 * @category models
 */
export interface ExploreTest {
  (
    name: string,
    options: Explore.Options,
    self: () => Effect.Effect<unknown, unknown, Scope.Scope>,
    timeout?: number | TestOptions
  ): void
}

/**
 * A test that is run in one interleaving, which found a bug.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegressionTest {
  (
    name: string,
    schedule: Explore.Schedule | string | URL,
    self: () => Effect.Effect<unknown, unknown, Scope.Scope>,
    timeout?: number | TestOptions
  ): void
}

type Register = EffectVitest.Vitest.Test<TestServices.TestServices>

const variants = <F extends object>(make: (register: Register) => F): Variants<F> => {
  const { effect } = EffectVitest.it
  return Object.assign(make(effect), {
    skip: make(effect.skip),
    only: make(effect.only),
    fails: make(effect.fails)
  })
}

const leakFree = variants((register): LeakFree => (name, self, options) =>
  register(
    name,
    (context) =>
      LeakCheck.check(Effect.scoped(Effect.suspend(() => self(context))), {
        ...(typeof options === "object" ? options : {}),
        name
      }),
    options
  )
)

const explore = variants((register): ExploreTest => (name, options, self, timeout) =>
  register(name, () => Explore.check(Effect.suspend(self), options), timeout)
)

const regression = variants((register): RegressionTest => (name, schedule, self, timeout) =>
  register(name, () => Explore.regression(Effect.suspend(self), schedule), timeout)
)

/**
 * `it` of `@effect/vitest`, with `leakFree`, `explore` and `regression`.
 *
 * @since 0.1.0
 * @category testing
 */
export const it: Methods = Object.assign(EffectVitest.it, { leakFree, explore, regression })
