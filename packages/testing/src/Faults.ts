/**
 * Fault injection that a seed reproduces. Code under test, or the fake that a test gives it, names points at which the world
 * may misbehave; in each run some of the points are active, and an active point fires now and then. The same seed makes
 * the same points fire at the same evaluations, whatever else the program draws at random.
 *
 * **For** what the happy path never shows: finalizers that hang or die, stores that fail, links that part, handlers that
 * crash, clients that do not read, clocks that jump. `FaultyPorts` and `Link` have ready-made ones. **Not for** production:
 * without `layer` every point is silent, and costs one lookup.
 *
 * Inside `Explore` the seed is that of the run, and the trace shows what fires. Elsewhere it is `options.seed`, else drawn
 * from `Random`.
 *
 * A name that no code evaluates (a typing error) never fires: `report`, and the `faults` of an exploration's report, list
 * the points that options name and that were not reached, with zeros.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Explore from "./Explore.js"
import * as Hooks from "./internal/hooks.js"
import * as Check from "./internal/options.js"
import * as Prng from "./internal/prng.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as LeakCheck from "./LeakCheck.js"

/**
 * How often faults fire, and which.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** the share of points that are active in a run. Default 0.5. */
  readonly activation?: number | undefined
  /** how often an active point fires. Default 0.25. */
  readonly probability?: number | undefined
  /**
   * points that are always active, with the probability to fire (0 silences, 1 fires always): by name, or by prefix with
   * a star at the end
   */
  readonly points?: { readonly [point: string]: number } | undefined
  /** points that nothing else names are silent. Default false. */
  readonly only?: boolean | undefined
  /** Default: the seed of the exploration, else drawn from `Random`. */
  readonly seed?: number | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { activation: 0.5, probability: 0.25, only: false } as const

/**
 * What a point of faults did in this run.
 *
 * @since 0.1.0
 * @category models
 */
export interface PointReport {
  readonly point: string
  readonly active: boolean
  readonly evaluated: number
  readonly fired: number
}

/**
 * Decides at each point whether its fault fires.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly seed: number
  /** whether the fault happens, this time */
  readonly decide: (point: string) => boolean
  /** whether the options name the point, rather than chance */
  readonly isNamed: (point: string) => boolean
  /** an integer of `[min, max]`, from the stream of the point */
  readonly between: (point: string, min: number, max: number) => number
  /** no fault fires from now on: for the half of a test that looks whether all is well again */
  readonly disable: Effect.Effect<void>
  /** every point that was evaluated, or that the options name */
  readonly report: Effect.Effect<ReadonlyArray<PointReport>>
}

interface Point {
  readonly probability: number
  readonly random: Prng.Prng
  evaluated: number
  fired: number
}

const silent: Service = {
  seed: 0,
  decide: () => false,
  isNamed: () => false,
  between: (_point, min) => min,
  disable: Effect.void,
  report: Effect.succeed([])
}

/**
 * The faults in force. None unless a layer says otherwise.
 *
 * @since 0.1.0
 * @category tags
 */
export class Faults extends Context.Reference<Faults>()("@holdfast/testing/Faults", {
  defaultValue: (): Service => silent
}) {}

/**
 * What an injected defect is, so that a test can tell it from a real one.
 *
 * @since 0.1.0
 * @category errors
 */
export class FaultInjected extends Data.TaggedError("FaultInjected")<{ readonly point: string }> {
  override get message() {
    return `fault injected at "${this.point}" by Faults: expected of the program is to survive it`
  }
}

const checked = (options: Options): Effect.Effect<Options, InvalidOption> =>
  Effect.gen(function*() {
    if (options.seed !== undefined) yield* Check.whole("Faults.seed", options.seed)
    if (options.activation !== undefined) yield* Check.probability("Faults.activation", options.activation)
    if (options.probability !== undefined) yield* Check.probability("Faults.probability", options.probability)
    for (const [point, probability] of Object.entries(options.points ?? {})) {
      yield* Check.probability(`Faults.points["${point}"]`, probability)
    }
    return options
  })

const matches = (pattern: string, point: string) =>
  pattern === point || (pattern.endsWith("*") && point.startsWith(pattern.slice(0, -1)))

/**
 * Faults of one seed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options & { readonly seed: number }
): Effect.Effect<Service, InvalidOption> => Effect.map(checked(options), () => unsafeMake(options))

/**
 * Faults of one seed, whose options nobody has checked.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unsafeMake = (options: Options & { readonly seed: number }): Service => {
  const points = new Map<string, Point>()
  const patterns = Object.entries(options.points ?? {})
  for (const [pattern, probability] of patterns) {
    if (probability > 0 && !pattern.endsWith("*")) Hooks.tellFault(pattern, false, false)
  }
  let isDisabled = false
  const pointOf = (name: string): Point => {
    let point = points.get(name)
    if (point === undefined) {
      const random = Prng.make(options.seed, `fault ${name}`)
      const active = random.float() < (options.activation ?? defaults.activation)
      const unnamed = (options.only ?? defaults.only) || !active ? 0 : options.probability ?? defaults.probability
      const named = patterns.find(([pattern]) => matches(pattern, name))
      point = { probability: named?.[1] ?? unnamed, random, evaluated: 0, fired: 0 }
      points.set(name, point)
    }
    return point
  }
  return {
    seed: options.seed,
    decide: (name) => {
      const point = pointOf(name)
      point.evaluated++
      const fires = point.random.float() < point.probability && !isDisabled
      if (fires) point.fired++
      Hooks.tellFault(name, true, fires)
      return fires
    },
    isNamed: (name) => patterns.some(([pattern]) => matches(pattern, name)),
    between: (name, min, max) => min + pointOf(name).random.below(max - min + 1),
    disable: Effect.sync(() => {
      isDisabled = true
    }),
    report: Effect.sync(() => [
      ...Array.from(points, ([point, { evaluated, fired, probability }]) => ({
        point,
        active: probability > 0,
        evaluated,
        fired
      })),
      ...patterns.filter(([pattern]) => !Array.from(points.keys()).some((point) => matches(pattern, point))).map((
        [point, probability]
      ) => ({ point, active: probability > 0, evaluated: 0, fired: 0 }))
    ])
  }
}

/**
 * Turns faults on for everything that the layer is provided to.
 *
 * @example
 * ```ts
 * import * as Faults from "@holdfast/testing/Faults"
 * import { Effect } from "effect"
 * import assert from "node:assert"
 *
 * const pay = Effect.succeed("paid").pipe(Faults.fail("bank/refuses", () => "refused"))
 *
 * const always = Faults.layer({ seed: 1, points: { "bank/refuses": 1 } })
 * assert.strictEqual(await Effect.runPromise(Effect.flip(Effect.provide(pay, always))), "refused")
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<never, InvalidOption> =>
  Layer.effectContext(Effect.gen(function*() {
    const seed = options.seed ??
      Option.getOrUndefined(yield* FiberRef.get(Explore.currentSeed)) ??
      (yield* Random.nextIntBetween(0, 0x7fff_ffff))
    return Context.make(Faults, yield* make({ ...options, seed })) as Context.Context<never>
  }))

/**
 * Whether the fault at `point` happens, this time.
 *
 * @since 0.1.0
 * @category points
 */
export const buggify = (point: string): Effect.Effect<boolean> => Effect.map(Faults, (faults) => faults.decide(point))

const instead = <A, E, R, A2, E2, R2>(
  self: Effect.Effect<A, E, R>,
  point: string,
  fault: (faults: Service) => Effect.Effect<A2, E2, R2>
): Effect.Effect<A | A2, E | E2, R | R2> =>
  Effect.flatMap(
    Faults,
    (faults): Effect.Effect<A | A2, E | E2, R | R2> => faults.decide(point) ? fault(faults) : self
  )

/**
 * `self`, or this error instead of it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const fail =
  <E2>(point: string, error: () => E2) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
    instead(self, point, () => Effect.fail(error()))

/**
 * `self` takes effect, but its success may be reported as this error: what a lost reply looks like.
 *
 * @since 0.1.0
 * @category combinators
 */
export const failAfter =
  <E2>(point: string, error: () => E2) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | E2, R> =>
    Effect.tap(self, () => instead(Effect.void, point, () => Effect.fail(error())))

/**
 * `self`, or the defect `FaultInjected` instead of it: a handler that crashes.
 *
 * @since 0.1.0
 * @category combinators
 */
export const crash = (point: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  instead(self, point, () => Effect.die(new FaultInjected({ point })))

/**
 * `self`, now and then late, by up to `max`: a stalled client, a slow disk.
 *
 * @since 0.1.0
 * @category combinators
 */
export const stall =
  (point: string, max: Duration.DurationInput) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    instead(
      self,
      point,
      (faults) => Effect.zipRight(Effect.sleep(faults.between(point, 1, Duration.toMillis(max))), self)
    )

/**
 * `self`, or an effect that never ends and refuses interruption. It counts as declared background work of `LeakCheck`, since
 * whoever gives up waiting for it has to abandon it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const hang = (point: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  instead(self, point, () => hung)

const hung: Effect.Effect<never> = Effect.uninterruptible(LeakCheck.background(Effect.never))

/**
 * A finalizer that may hang (`<point>.hangs`), die (`<point>.dies`) or take up to `max` (`<point>.stalls`).
 *
 * @since 0.1.0
 * @category combinators
 */
export const finalizer =
  (point: string, max: Duration.DurationInput = Duration.seconds(30)) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    self.pipe(stall(`${point}.stalls`, max), crash(`${point}.dies`), hang(`${point}.hangs`))
