/**
 * Who may look at what a process tells about itself, and who may press its buttons: one guard for `Inspector`, for an
 * operator's page, and for routes of your own.
 *
 * - **Nothing is open.** Every request needs a token. A loopback address, a `Host` or the absence of proxy headers proves
 *   nothing: behind a bare `proxy_pass` the whole world comes from 127.0.0.1. Where no token is configured one is made at
 *   the start, and `link` gives the address to open (the token is in its fragment, which no server and no log sees).
 * - **Looking** needs `Authorization: Bearer <token>`, or `?token=` for an `EventSource`, which cannot set a header.
 * - **Acting** needs more: the operator's token in the header, the header `x-operator-act`, which no form can send, and an
 *   `Origin` that is the page's own (its host is the request's `Host`, or it is listed in `origins`). No cookie is read,
 *   so there is nothing that another site's page could ride on.
 * - **Two roles.** The viewer's token looks and does not act.
 * - **Wrong tokens are slow**: each address waits longer with each of them, at most `maxDelay`; when `maxDelayed` wait
 *   already the answer is 429. The right token is never made to wait, also not behind a proxy that shares its address with
 *   an attacker: what keeps guesses out is the length of the token. All are counted, and logged with the address.
 * - **Every act is on record**: who, from where, what, with which result, in the log and in `acts`. That includes what was
 *   refused to a token that is known.
 *
 * It does not encrypt: a token on an unencrypted connection is anybody's on the way. It does not limit what a valid token
 * may ask for, and how often.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import {
  check,
  fromConfig,
  InvalidOption,
  unsafeCheck,
  unsafeDuration,
  unsafeWhole
} from "@holdfast/core/InvalidOption"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as HttpErrors from "./HttpErrors.js"
import { type Guesses, makeGuesses } from "./internal/guard/guesses.js"
import { isOwnOrigin } from "./internal/guard/origin.js"
import { sameSecret } from "./internal/guard/secret.js"
import { toJson } from "./internal/json.js"
import * as Metrics from "./Metrics.js"

/**
 * Who asks, as far as it is known.
 *
 * @since 0.1.0
 * @category models
 */
export interface Visitor {
  readonly role: "operator" | "viewer"
  /** The peer's address, as the server sees it. */
  readonly address: string
  /** What proxies say of where the request came from, in their words: anybody can write it. */
  readonly forwardedFor: string | undefined
}

/**
 * One act of an operator, or what was refused to somebody with a token.
 *
 * @since 0.1.0
 * @category models
 */
export interface Act extends Visitor {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly name: string
  /** What was asked for, bounded, with secrets left out. */
  readonly input: unknown
  readonly result: "done" | "refused" | "failed"
  /** Why it was refused or failed. */
  readonly problem: string | undefined
}

/**
 * The numbers of the guard, counted since its start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Requests without a token. */
  readonly anonymous: number
  /** Requests with a token that is none. */
  readonly wrong: number
  /** Acts, with whatever result. */
  readonly acts: number
}

/**
 * The guard in front of the operator's routes.
 *
 * @since 0.1.0
 * @category tags
 */
export class OperatorGuard extends Context.Tag("@holdfast/http/OperatorGuard")<OperatorGuard, {
  /** Who asks. Fails with 401 without a token, with a wrong one, or 429. */
  readonly visitor: Effect.Effect<Visitor, HttpErrors.HttpError, HttpServerRequest.HttpServerRequest>
  /**
   * Runs what a button is for, with the body of the request decoded, and keeps a record of it. Fails with 401, 403 or 429
   * before the body is read, and with 400, 413 or 415 when it does not fit.
   */
  readonly act: <A, I, B, E, R>(
    name: string,
    input: Schema.Schema<A, I>,
    run: (input: A, visitor: Visitor) => Effect.Effect<B, E, R>
  ) => Effect.Effect<B, E | HttpErrors.HttpError, R | HttpServerRequest.HttpServerRequest>
  /** The last acts, oldest first. */
  readonly acts: Effect.Effect<ReadonlyArray<Act>>
  readonly stats: Effect.Effect<Stats>
  /** The address of a page with the token that was made for this run. None where one is configured. */
  readonly link: (page: string) => Option.Option<string>
}>() {}

/**
 * What the guard does.
 *
 * @since 0.1.0
 * @category models
 */
export type Service = Context.Tag.Service<typeof OperatorGuard>

/**
 * The tokens, and how guesses are slowed down.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Looks and acts. 16 characters at least. Without one a token is made for this run. */
  readonly token?: Redacted.Redacted | undefined
  /** Looks only. 16 characters at least. Without one there is no such role. */
  readonly viewerToken?: Redacted.Redacted | undefined
  /** Origins that may act beside the page's own, such as `https://ops.example`: for a proxy that does not pass `Host` on. */
  readonly origins?: ReadonlyArray<string> | undefined
  /** Acts that are kept. Default 200. */
  readonly maxActs?: number | undefined
  /** How long the first wrong token of an address waits for its answer. Each further one waits twice as long. Default 100 ms. */
  readonly firstDelay?: Duration.DurationInput | undefined
  /** And how long at most. Default 5 seconds. */
  readonly maxDelay?: Duration.DurationInput | undefined
  /** Wrong tokens that wait for their answers at once. More are answered 429. Default 16. */
  readonly maxDelayed?: number | undefined
  /** An address is forgotten after this time without a wrong token. Default 15 minutes. */
  readonly forgetAfter?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  maxActs: 200,
  firstDelay: Duration.millis(100),
  maxDelay: Duration.seconds(5),
  maxDelayed: 16,
  forgetAfter: Duration.minutes(15)
} as const

/**
 * The header of every act, with any value: a page of another site cannot send it without being asked first, and a form not
 * at all.
 *
 * @since 0.1.0
 * @category constants
 */
export const actHeader = "x-operator-act"

/**
 * Without a token it makes one for this run. Fails with `InvalidOption` for options that make no sense.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = yield* check(() => settingsOf(options))
    const made = settings.token === undefined ? freshToken() : undefined
    const tokens: ReadonlyArray<readonly [Visitor["role"], string]> = [
      ["operator", settings.token ?? made!],
      ...(settings.viewerToken === undefined ? [] : [["viewer", settings.viewerToken] as const])
    ]
    const guesses = makeGuesses(settings)
    const log = makeLog(settings.maxActs)
    const counters = { anonymous: 0, wrong: 0, acts: 0 }

    const visit = (given: string | undefined) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
        const from = origin(request)
        if (given === undefined) {
          counters.anonymous++
          return unauthorized("This needs the operator's token.")
        }
        return Effect.flatMap(roleOf(tokens, given), (role) => {
          if (role !== undefined) {
            return Effect.succeed<Visitor>({ role, ...from })
          }
          counters.wrong++
          return Effect.zipRight(wrongToken(guesses, from), unauthorized("This token is not the operator's."))
        })
      })
    const visitor = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => visit(anyToken(request)))

    const act: Service["act"] = (name, input, run) =>
      Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        (request) =>
          Effect.flatMap(visit(bearer(request)), (visitor) => {
            let given: unknown
            const allowed = mayAct(request, visitor, settings.origins)
            const acting = Effect.flatMap(allowed, () =>
              Effect.flatMap(HttpErrors.bodyJson(input), (value) => {
                given = value
                return run(value, visitor)
              }))
            return Effect.onExit(acting, (exit) => {
              counters.acts++
              return log.add(visitor, name, given, exit)
            })
          })
      )

    yield* Metrics.collect(Effect.sync(() =>
      Metrics.counters("operator", {
        anonymous: "Requests without a token.",
        wrong: "Requests with a wrong token.",
        acts: "Acts that were allowed, whatever became of them."
      }, counters)
    ))
    return {
      visitor,
      act,
      acts: log.all,
      stats: Effect.sync(() => ({ ...counters })),
      link: (page) => made === undefined ? Option.none() : Option.some(`${page}#token=${made}`)
    }
  })

/**
 * `make` as a Layer.
 *
 * @example
 * ```ts
 * import { Inspector, OperatorGuard } from "@holdfast/http"
 * import { HttpRouter } from "@effect/platform"
 * import { Layer, Redacted } from "effect"
 *
 * export const routes = HttpRouter.empty.pipe(HttpRouter.concat(Inspector.routes()))
 *
 * const Guard = OperatorGuard.layer({ token: Redacted.make("a long and random secret of yours") })
 * console.log(Layer.isLayer(Guard))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<OperatorGuard, InvalidOption> =>
  Layer.scoped(OperatorGuard, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<OperatorGuard, InvalidOption | ConfigError.ConfigError> = fromConfig(layer)

/**
 * With tokens that are read from files once, at the start: white space at both ends is left out. A file that cannot be read,
 * and one with too short a token, is an `InvalidOption` that names it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFiles = (
  options: Omit<Options, "token" | "viewerToken"> & {
    readonly tokenFile?: string | undefined
    readonly viewerTokenFile?: string | undefined
  }
): Layer.Layer<OperatorGuard, InvalidOption, FileSystem.FileSystem> =>
  Layer.scoped(
    OperatorGuard,
    Effect.gen(function*() {
      const { tokenFile, viewerTokenFile, ...rest } = options
      return yield* make({
        ...rest,
        token: yield* readToken("OperatorGuard.tokenFile", tokenFile),
        viewerToken: yield* readToken("OperatorGuard.viewerTokenFile", viewerTokenFile)
      })
    })
  )

/**
 * Lets whoever has one of the tokens reach a handler.
 *
 * @since 0.1.0
 * @category combinators
 */
export const protect = <E, R>(
  app: HttpApp.Default<E, R>
): HttpApp.Default<E | HttpErrors.HttpError, R | OperatorGuard> =>
  Effect.flatMap(OperatorGuard, (guard) => Effect.zipRight(guard.visitor, app))

const minLength = 16

const settingsOf = (options: Options) => {
  const secret = (name: "token" | "viewerToken") => {
    const given = options[name]
    return given === undefined ? undefined : secretOf(`OperatorGuard.${name}`, Redacted.value(given))
  }
  return {
    token: secret("token"),
    viewerToken: secret("viewerToken"),
    origins: (options.origins ?? []).map((origin) =>
      unsafeCheck(
        "OperatorGuard.origins",
        origin,
        (value) => /^https?:\/\/[^/]+$/.test(value),
        "origins such as \"https://ops.example\""
      )
    ),
    maxActs: unsafeWhole("OperatorGuard.maxActs", options.maxActs ?? defaults.maxActs),
    firstDelay: unsafeDuration("OperatorGuard.firstDelay", options.firstDelay ?? defaults.firstDelay, { zero: true }),
    maxDelay: unsafeDuration("OperatorGuard.maxDelay", options.maxDelay ?? defaults.maxDelay, { zero: true }),
    maxDelayed: unsafeWhole("OperatorGuard.maxDelayed", options.maxDelayed ?? defaults.maxDelayed),
    forgetAfter: unsafeDuration("OperatorGuard.forgetAfter", options.forgetAfter ?? defaults.forgetAfter)
  }
}

/** A secret that is wrong is still a secret: it is not shown. */
const secretOf = (option: string, value: string): string => {
  if (value.length >= minLength) return value
  throw new InvalidOption({
    option,
    given: `${value.length} characters`,
    expected: `at least ${minLength} characters, from a generator of random ones`
  })
}

const readToken = (option: string, path: string | undefined) =>
  path === undefined
    ? Effect.succeed(undefined)
    : Effect.flatMap(FileSystem.FileSystem, (files) => files.readFileString(path)).pipe(
      Effect.mapError((error) => new InvalidOption({ option, given: path, expected: `a file (${error.message})` })),
      Effect.flatMap((text) => check(() => Redacted.make(secretOf(option, text.trim()))))
    )

const freshToken = (): string => Encoding.encodeBase64Url(globalThis.crypto.getRandomValues(new Uint8Array(32)))

const roleOf = (
  tokens: ReadonlyArray<readonly [Visitor["role"], string]>,
  given: string
): Effect.Effect<Visitor["role"] | undefined> =>
  // All of them, whichever fits: the time tells nothing.
  Effect.map(
    Effect.forEach(tokens, ([role, token]) => Effect.map(sameSecret(given, token), (is) => is ? role : undefined)),
    (roles) => roles.find((role) => role !== undefined)
  )

const bearer = (request: HttpServerRequest.HttpServerRequest): string | undefined =>
  /^bearer +(\S+) *$/i.exec(request.headers["authorization"] ?? "")?.[1]

/** A header that is there and wrong is wrong, whatever the query says. */
const anyToken = (request: HttpServerRequest.HttpServerRequest): string | undefined => {
  if (request.headers["authorization"] !== undefined) return bearer(request)
  const query = request.url.indexOf("?")
  return query === -1 ? undefined : new URLSearchParams(request.url.slice(query)).get("token") ?? undefined
}

const forwarding = ["forwarded", "x-forwarded-for", "x-real-ip", "cf-connecting-ip", "true-client-ip"]

const origin = (request: HttpServerRequest.HttpServerRequest): Omit<Visitor, "role"> => {
  const name = forwarding.find((name) => request.headers[name] !== undefined)
  return {
    address: Option.getOrElse(request.remoteAddress, () => "unknown"),
    forwardedFor: name === undefined ? undefined : `${name}: ${request.headers[name]}`.slice(0, 200)
  }
}

const unauthorized = (message: string) =>
  Effect.fail(
    HttpErrors.make(
      "Unauthorized",
      message,
      { field: "authorization", expected: "Authorization: Bearer <the operator's token>" },
      { headers: { "www-authenticate": "Bearer" } }
    )
  )

const mayAct = (
  request: HttpServerRequest.HttpServerRequest,
  visitor: Visitor,
  origins: ReadonlyArray<string>
): Effect.Effect<void, HttpErrors.HttpError> => {
  const { headers } = request
  if (visitor.role !== "operator") {
    return HttpErrors.make("Forbidden", "The viewer's token looks, and does not act.", { field: "authorization" })
  }
  if (headers[actHeader] === undefined) {
    return HttpErrors.make("Forbidden", `An act has the header ${actHeader}, which no form can send.`, {
      field: actHeader,
      expected: "any value"
    })
  }
  return isOwnOrigin(headers, origins) ? Effect.void : HttpErrors.make(
    "Forbidden",
    "An act comes from the operator's own page. Behind a proxy, let it pass the Host on, or list the page's origin in `origins`.",
    { field: "origin", expected: `http://${headers["host"] ?? "<this host>"}` }
  )
}

const wrongToken = (
  guesses: Guesses,
  from: Omit<Visitor, "role">
): Effect.Effect<void, HttpErrors.HttpError> =>
  Effect.gen(function*() {
    const { count, delay } = yield* guesses.wrong(from.address)
    // The 1st, 2nd, 4th, 8th: an attacker must not fill the disk.
    if ((count & (count - 1)) === 0) {
      yield* Effect.annotateLogs(Effect.logWarning(`${count} wrong tokens for the operator's page`), {
        module: "OperatorGuard",
        ...from
      })
    }
    if (!(yield* guesses.wait(delay))) {
      return yield* HttpErrors.make("TooManyRequests", "Too many wrong tokens.", {}, {
        headers: HttpErrors.retryAfter(delay)
      })
    }
  })

const makeLog = (maxActs: number) => {
  const acts: Array<Act> = []
  const add = (visitor: Visitor, name: string, input: unknown, exit: Exit.Exit<unknown, unknown>) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) => {
      const failure = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      const result = Exit.isSuccess(exit)
        ? "done"
        : failure instanceof HttpErrors.HttpError && failure.problem.status < 500
        ? "refused"
        : "failed"
      const act: Act = {
        ...visitor,
        at,
        name,
        input: toJson(input),
        result,
        problem: failure === undefined
          ? undefined
          : String(failure instanceof Error ? failure.message : failure).slice(0, 500)
      }
      acts.push(act)
      if (acts.length > maxActs) acts.shift()
      const { at: _, ...annotations } = act
      return Effect.annotateLogs(Effect.logInfo(`operator's act "${name}" ${result}`), {
        module: "OperatorGuard",
        ...annotations,
        input: JSON.stringify(act.input)
      })
    })
  return { add, all: Effect.sync(() => acts.slice()) }
}
