/**
 * The three questions that a supervisor of processes asks over HTTP.
 *
 * - `live`: is the process able to answer at all? It never looks at anything else: a failing dependency is no reason to
 *   kill a process.
 * - `ready`: shall it be sent work? Not before it has started, not from the moment it drains, not while a check fails.
 * - `started`: has it come up? Until then neither of the others is asked.
 *
 * Answers are 200 or 503, as JSON, never cached. Checks run concurrently, each within its time; one that fails, dies or
 * takes too long counts as failed. `ready` follows `Lifecycle` where there is one.
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as InvalidOption from "@holdfast/core/InvalidOption"
import { Lifecycle } from "@holdfast/core/Lifecycle"
import * as Cause from "effect/Cause"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { fromRouter } from "./internal/layerRoutes.js"
import { bounded, unsafeMake } from "./internal/registry.js"

/**
 * Something that has to work for the service to be ready.
 *
 * @since 0.1.0
 * @category models
 */
export interface Check {
  readonly name: string
  /** Succeeds when all is well. */
  readonly run: Effect.Effect<unknown, unknown>
  /** Default 1 second. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Whether the service is ready, and what each check said.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly status: "ready" | "starting" | "draining" | "failing"
  /** The application's phase, where it has a lifecycle. */
  readonly phase?: string
  /** `"ok"`, or why not. */
  readonly checks: Readonly<Record<string, string>>
}

/**
 * Whether this service has started, and whether it is ready.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly started: Effect.Effect<boolean>
  /** The application has come up. There is no way back. */
  readonly markStarted: Effect.Effect<void>
  /** Adds a check of readiness for as long as the scope is open. */
  readonly check: <R>(
    check: Omit<Check, "run"> & { readonly run: Effect.Effect<unknown, unknown, R> }
  ) => Effect.Effect<void, never, R | Scope.Scope>
  readonly report: Effect.Effect<Report>
}

/**
 * What `/health/live`, `/health/ready` and `/health/started` ask.
 *
 * @since 0.1.0
 * @category tags
 */
export class Health extends Context.Tag("@holdfast/http/Health")<Health, Service>() {}

/**
 * The checks of readiness, and whether the service counts as started at once.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly checks?: ReadonlyArray<Check> | undefined
  /** True: it counts as started once the layer is built. False: after `markStarted`. Default true. */
  readonly started?: boolean | undefined
}

/**
 * What holds where an option is left out; `timeout` is that of a check.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { started: true, timeout: Duration.seconds(1), prefix: "/health" } as const

/** Throws `InvalidOption`. */
const unsafeChecked = (check: Check): Check => {
  InvalidOption.unsafeDuration("Health.timeout", check.timeout ?? defaults.timeout, { infinite: true })
  return check
}

/**
 * Without a `Lifecycle` in the context, only the checks decide.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service, InvalidOption.InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const lifecycle = yield* Effect.serviceOption(Lifecycle)
    const checks = unsafeMake<Check>()
    const all = options.checks ?? []
    yield* InvalidOption.check(() => all.forEach(unsafeChecked))
    yield* Effect.forEach(all, checks.add, { discard: true })
    let started = options.started ?? defaults.started

    const report = Effect.gen(function*() {
      const results = yield* Effect.forEach(
        checks.all(),
        (check) => Effect.map(outcome(check), (result) => [check.name, result] as const),
        { concurrency: "unbounded" }
      )
      const phase = Option.isSome(lifecycle) ? yield* lifecycle.value.phase : undefined
      const status: Report["status"] = phase !== undefined && phase !== "accepting"
        ? "draining"
        : !started
        ? "starting"
        : results.every(([, result]) => result === "ok")
        ? "ready"
        : "failing"
      return { status, ...(phase === undefined ? {} : { phase }), checks: Object.fromEntries(results) }
    })

    return {
      started: Effect.sync(() => started),
      markStarted: Effect.sync(() => {
        started = true
      }),
      check: (check) =>
        Effect.flatMap(
          Effect.context<Effect.Effect.Context<typeof check.run>>(),
          (context) => checks.add(unsafeChecked({ ...check, run: Effect.provide(check.run, context) }))
        ),
      report
    }
  })

/**
 * `make` as a Layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Health, InvalidOption.InvalidOption> =>
  Layer.scoped(Health, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<Health, InvalidOption.InvalidOption | ConfigError.ConfigError> = InvalidOption.fromConfig(layer)

/**
 * Marks the application as started when everything below it has been built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStarted: Layer.Layer<never, never, Health> = Layer.effectDiscard(
  Effect.flatMap(Health, (health) => health.markStarted)
)

/**
 * `/live`, `/ready` and `/started` under a prefix.
 *
 * @example
 * ```ts
 * import { HttpRouter } from "@effect/platform"
 * import { Health } from "@holdfast/http"
 *
 * const router = HttpRouter.empty.pipe(HttpRouter.concat(Health.routes()))
 * console.log(router.routes.length)
 * ```
 *
 * @since 0.1.0
 * @category routes
 */
export const routes = (prefix: `/${string}` = defaults.prefix): HttpRouter.HttpRouter<never, Health> =>
  HttpRouter.empty.pipe(
    HttpRouter.get(`${prefix}/live`, answer(200, { status: "live" })),
    HttpRouter.get(
      `${prefix}/ready`,
      Effect.flatMap(
        Effect.flatMap(Health, (health) => health.report),
        (report) => answer(report.status === "ready" ? 200 : 503, report)
      )
    ),
    HttpRouter.get(
      `${prefix}/started`,
      Effect.flatMap(
        Effect.flatMap(Health, (health) => health.started),
        (started) => answer(started ? 200 : 503, { status: started ? "started" : "starting" })
      )
    )
  )

/**
 * `routes` as a Layer for `HttpLayerRouter`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRoutes = (prefix?: `/${string}`) => fromRouter(routes(prefix))

const outcome = (check: Check): Effect.Effect<string> => {
  const milliseconds = Duration.toMillis(check.timeout ?? defaults.timeout)
  return bounded(check.run, milliseconds).pipe(
    Effect.as("ok"),
    Effect.catchAllCause((cause) =>
      Effect.succeed(
        Option.getOrUndefined(Cause.failureOption(cause)) === "timeout"
          ? `took more than ${milliseconds} ms`
          : Cause.pretty(cause).split("\n", 1)[0]
      )
    )
  )
}

const answer = (status: number, body: object) =>
  Effect.succeed(HttpServerResponse.unsafeJson(body, { status, headers: { "cache-control": "no-store" } }))
