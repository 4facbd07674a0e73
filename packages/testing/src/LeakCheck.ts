/**
 * A test that ends must leave nothing behind: no live fiber, no open scope with finalizers, no socket, no listening
 * server, no timer, no watcher, no message port, no process, no process listener, no changed global. This module knows who
 * made what, and says so.
 *
 * **Attribution.** What is made belongs to the record that was current when it was made: a fiber to the record of the
 * fiber that forked it, or else (plain JavaScript) to the record of the asynchronous context. Tests that run concurrently
 * therefore do not blame one another. What outlives its test within the grace is a leak; what keeps no process alive (an
 * `unref`ed timer, an idle pooled socket) is not.
 *
 * **Place of the fork.** The line of the `yield*` that the forking fiber was at, and for a fiber that is started from
 * plain JavaScript the line of that call. A fiber that was forked in a pipe, with no `yield*` before, has none. Noting it
 * costs about 1.5 microseconds for each `yield*`; `HOLDFAST_PLACES=0` switches it off.
 *
 * **Limits.** Of listeners, those on `process` are known. Globals are compared only when no other test ran meanwhile.
 * What hides behind a promise alone (a `Promise` that nobody resolves and no resource holds), in `setImmediate` or in an
 * open file is invisible.
 *
 * @since 0.1.0
 */
import * as InvalidOption from "@holdfast/core/InvalidOption"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as FiberRef from "effect/FiberRef"
import { dual } from "effect/Function"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import { AsyncLocalStorage, createHook } from "node:async_hooks"
import { describeFiber } from "./internal/describe.js"
import * as GlobalState from "./internal/globalState.js"
import * as Handles from "./internal/handles.js"
import * as Hooks from "./internal/hooks.js"
import * as Place from "./internal/place.js"

/**
 * What can be left behind.
 *
 * @since 0.1.0
 * @category models
 */
export type Kind = "fiber" | "scope" | Handles.HandleKind | "listener" | "global"

/**
 * One thing that was left behind.
 *
 * @since 0.1.0
 * @category models
 */
export interface Leak {
  readonly kind: Kind
  /** owner path and name for a fiber; number of finalizers for a scope; address, delay or event for the others */
  readonly what: string
  /** `file:line` where it was forked or made, when known */
  readonly place: Option.Option<string>
}

/**
 * A test left something behind.
 *
 * @since 0.1.0
 * @category errors
 */
export class Leaked extends Data.TaggedError("Leaked")<{
  /** name of the test, or of what was checked */
  readonly test: string
  readonly leaks: ReadonlyArray<Leak>
}> {
  constructor(fields: { readonly test: string; readonly leaks: ReadonlyArray<Leak> }) {
    super(fields)
    // reporters print the code where the first of them was made
    this.stack = Place.stackTo(
      `${this._tag}: ${this.message}`,
      this.leaks.flatMap(({ place }) => Option.toArray(place))
    )
  }
  override get message() {
    const n = this.leaks.length
    const times = new Map<string, number>()
    for (const leak of this.leaks) {
      const line = render(leak)
      times.set(line, (times.get(line) ?? 0) + 1)
    }
    const lines = Array.from(times, ([line, count]) => `  ${line}${count === 1 ? "" : `, ${count} times`}`)
    return [
      `"${this.test}" left ${n} ${n === 1 ? "thing" : "things"} behind`,
      ...lines.slice(0, maxShown),
      ...(lines.length > maxShown ? [`  and ${lines.length - maxShown} more`] : [])
    ].join("\n")
  }
}

/**
 * What is no leak, and how long to wait for it to go.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** real time that what was made has to end by itself after the test. Default 1 second; a clean test does not wait. */
  readonly grace?: Duration.DurationInput | undefined
  /** kinds that are not looked at */
  readonly ignore?: ReadonlyArray<Kind> | undefined
  /** leaks that are expected: matched against the rendered leak, for example `"fiber app/metrics"` */
  readonly allow?: ReadonlyArray<string | RegExp> | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = { grace: Duration.seconds(1) } as const

const maxShown = 12

/** Taken at import: a test may leave fake timers on, and the check of it must not wait for them. */
const real = {
  now: performance.now.bind(performance),
  setImmediate: globalThis.setImmediate,
  setTimeout: globalThis.setTimeout
}

interface Resource {
  readonly type: string
  readonly resource: object
  readonly place: Place.Place
}

interface FiberInfo {
  readonly place: Place.Place | undefined
}

/**
 * What was made during one test and still lives.
 *
 * @since 0.1.0
 * @category models
 */
export interface Record {
  readonly name: string
  /** @internal */
  readonly fibers: Map<Hooks.RawFiber, FiberInfo>
  /** @internal */
  readonly scopes: Map<Hooks.RawScope, ReadonlyArray<Place.Place | undefined>>
  /** @internal */
  readonly resources: Map<number, Resource>
  /** @internal */
  readonly listeners: Array<
    { readonly event: string | symbol; readonly listener: unknown; readonly place: Place.Place }
  >
  /** @internal */
  readonly allow: Array<string | RegExp>
  /** @internal */
  readonly globals: GlobalState.Snapshot
  /** @internal */
  alone: boolean
}

interface State {
  installed: boolean
  readonly storage: AsyncLocalStorage<Record | undefined>
  readonly byFiber: WeakMap<object, Record>
  readonly byResource: Map<number, Record>
  readonly open: Set<Record>
  /** what is made outside every test: by module bodies and by hooks of whole files */
  outside: Record | undefined
}

const state: State = globalValue("@holdfast/testing/LeakCheck", () => ({
  installed: false,
  storage: new AsyncLocalStorage<Record | undefined>(),
  byFiber: new WeakMap<object, Record>(),
  byResource: new Map<number, Record>(),
  open: new Set<Record>(),
  outside: undefined
}))

/**
 * Set for fibers that are declared as background work; inherited by what they fork.
 *
 * @since 0.1.0
 * @category references
 */
export const isBackground: FiberRef.FiberRef<boolean> = Hooks.isBackground

/**
 * Declares the fibers that `self` forks as background work that may outlive the test.
 *
 * @since 0.1.0
 * @category combinators
 */
export const background = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.locally(self, isBackground, true)

/**
 * Expects leaks of the current test that match `pattern`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const allow = (pattern: string | RegExp): Effect.Effect<void> =>
  Effect.sync(() => {
    const fiber = Hooks.currentFiber()
    const record = (fiber === undefined ? undefined : state.byFiber.get(fiber)) ?? state.storage.getStore()
    record?.allow.push(pattern)
  })

const onInit = (asyncId: number, type: string, _trigger: number, resource: object) => {
  if (!(type in Handles.kinds) || Hooks.currentFiber()?.getFiberRef(isBackground) === true) return
  const record = recordNow()
  if (record === undefined) return
  record.resources.set(asyncId, { type, resource, place: Place.here(16) })
  state.byResource.set(asyncId, record)
}

const onDestroy = (asyncId: number) => {
  const record = state.byResource.get(asyncId)
  if (record !== undefined) {
    record.resources.delete(asyncId)
    state.byResource.delete(asyncId)
  }
}

const recordNow = (): Record | undefined => {
  const fiber = Hooks.currentFiber()
  return (fiber === undefined ? undefined : state.byFiber.get(fiber)) ?? state.storage.getStore() ?? state.outside
}

/**
 * Starts to observe the process. Idempotent, and permanent.
 *
 * @since 0.1.0
 * @category observing
 */
export const install = (): void => {
  if (state.installed) return
  state.installed = true
  createHook({ init: onInit, destroy: onDestroy }).enable()
  if (process.env.HOLDFAST_PLACES !== "0") Hooks.notePlaces()
  Hooks.listen({
    onFiber,
    onFiberEnd,
    onScopeOpen: (scope, fiber) => {
      const record = recordNow()
      if (record === undefined || (fiber !== undefined && Hooks.isSimulated(fiber))) return
      // `Scope.addFinalizer(scope, …)` goes through the door before it is yielded: then the user's line is on the stack
      const here = Place.here(8)
      record.scopes.set(
        scope,
        fiber === undefined ? [here] : [here, Hooks.placeOf(fiber), record.fibers.get(fiber)?.place]
      )
    },
    onScopeClose: (scope) => {
      for (const record of state.open) record.scopes.delete(scope)
      state.outside?.scopes.delete(scope)
    }
  })
  process.on("newListener", (event, listener) => {
    if (event === "newListener" || event === "removeListener") return
    recordNow()?.listeners.push({ event, listener, place: Place.here(12) })
  })
}

const onFiber = (fiber: Hooks.RawFiber, parent: Hooks.RawFiber | undefined): void => {
  if (Hooks.isSimulated(fiber)) return
  const record = (parent === undefined ? undefined : state.byFiber.get(parent)) ?? state.storage.getStore() ??
    state.outside
  if (record === undefined) return
  state.byFiber.set(fiber, record)
  record.fibers.set(fiber, { place: parent === undefined ? Place.here(14) : Hooks.placeOf(parent) })
}

const onFiberEnd = (fiber: Hooks.RawFiber): void => {
  state.byFiber.get(fiber)?.fibers.delete(fiber)
}

const make = (name: string): Record => ({
  name,
  fibers: new Map(),
  scopes: new Map(),
  resources: new Map(),
  listeners: [],
  allow: [],
  globals: GlobalState.snapshot(),
  alone: true
})

/**
 * Opens a record. What is made inside `run` belongs to it, until `close` has looked.
 *
 * @since 0.1.0
 * @category observing
 */
export const open = (name: string): Record => {
  install()
  const record = make(name)
  if (state.open.size > 0) {
    record.alone = false
    for (const other of state.open) other.alone = false
  }
  state.open.add(record)
  return record
}

/**
 * Collects what is made outside every record from now on, under the name of the whole file.
 *
 * @since 0.1.0
 * @category observing
 */
export const openOutside = (name: string): Record => {
  install()
  const record = make(name)
  // modules may set up globals for the tests of their file
  record.alone = false
  state.outside = record
  return record
}

/**
 * Runs plain JavaScript, synchronous or not, inside the record.
 *
 * @since 0.1.0
 * @category observing
 */
export const run = <A>(record: Record, body: () => A): A => state.storage.run(record, body)

/** Milliseconds. Throws `InvalidOption`. */
const graceOf = ({ grace = defaults.grace }: Options): number =>
  InvalidOption.unsafeDuration("LeakCheck.grace", grace, { zero: true })

/**
 * Waits, at most for the grace, until everything that belongs to the record has ended. Returns what has not.
 *
 * @since 0.1.0
 * @category observing
 */
export const close = async (record: Record, options: Options = {}): Promise<ReadonlyArray<Leak>> => {
  const deadline = real.now() + graceOf(options)
  let leaks = find(record, options)
  for (let turn = 0; leaks.length > 0; turn++) {
    if (turn > 20 && real.now() > deadline) break
    await state.storage.run(undefined, () =>
      new Promise<void>((resolve) => {
        if (turn < 20) real.setImmediate(resolve)
        else real.setTimeout(resolve, 10)
      }))
    leaks = find(record, options)
  }
  state.open.delete(record)
  return leaks
}

/**
 * Ends what the record still holds, so that it does not disturb whoever runs next: fibers are interrupted, timers
 * cleared, listeners removed, sockets, watchers and ports closed, and globals put back if nobody else ran meanwhile.
 * Does not wait.
 *
 * @since 0.1.0
 * @category observing
 */
export const reap = (record: Record): void => {
  for (const fiber of Array.from(record.fibers.keys())) {
    if (!fiber.getFiberRef(isBackground)) fiber.unsafeInterruptAsFork(FiberId.none)
  }
  for (const { resource, type } of Array.from(record.resources.values())) {
    if (Handles.isAlive(resource)) Handles.end(type, resource)
  }
  for (const { event, listener } of record.listeners) {
    process.removeListener(event, listener as (...args: Array<unknown>) => void)
  }
  for (const asyncId of record.resources.keys()) state.byResource.delete(asyncId)
  record.resources.clear()
  record.listeners.length = 0
  if (record.alone) {
    for (const { undo } of GlobalState.changes(record.globals)) undo()
  }
}

const find = (record: Record, options: Options): ReadonlyArray<Leak> => {
  const leaks: Array<Leak> = []
  const add = (kind: Kind, what: string, ...places: ReadonlyArray<Place.Place | undefined>) => {
    leaks.push({ kind, what, place: Option.fromNullable(Place.show(...places)) })
  }
  for (const [fiber, info] of record.fibers) {
    if (fiber.unsafePoll() === null && !fiber.getFiberRef(isBackground)) add("fiber", describeFiber(fiber), info.place)
  }
  for (const [scope, places] of record.scopes) {
    if (scope.state._tag === "Open" && scope.state.finalizers.size > 0) {
      const n = scope.state.finalizers.size
      add("scope", `with ${n} finalizer${n === 1 ? "" : "s"} that did not run`, ...places)
    }
  }
  for (const { place, resource, type } of record.resources.values()) {
    if (!Handles.isAlive(resource)) continue
    if (type === "Timeout") {
      const caller = Place.caller(place)
      // vitest's own, or a fiber that sleeps or waits: then the fiber is the leak
      if (caller === undefined || Place.runners.has(caller) || (caller === "effect" && leaks.length > 0)) continue
    }
    add(Handles.kinds[type]!, Handles.describe(type, resource), place)
  }
  for (const { event, listener, place } of record.listeners) {
    if (
      process.rawListeners(event).includes(listener as () => void) ||
      process.listeners(event as "exit").includes(listener as () => void)
    ) {
      add("listener", `process "${String(event)}"`, place)
    }
  }
  if (record.alone) {
    for (const { what } of GlobalState.changes(record.globals)) add("global", what)
  }
  const patterns = [...record.allow, ...(options.allow ?? [])]
  return leaks.filter((leak) =>
    !(options.ignore ?? []).includes(leak.kind) &&
    !patterns.some((pattern) =>
      typeof pattern === "string" ? render(leak).includes(pattern) : pattern.test(render(leak))
    )
  )
}

/**
 * A leak in one line.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (leak: Leak): string =>
  `${leak.what === "" ? leak.kind : `${leak.kind} ${leak.what}`}${
    Option.match(leak.place, { onNone: () => "", onSome: (place) => `, ${verb(leak.kind)} at ${place}` })
  }`

const verb = (kind: Kind) => kind === "fiber" ? "forked" : kind === "scope" ? "first used" : "made"

// ---- as an Effect

/**
 * Runs `self` and fails when it leaves something behind. Dies with `InvalidOption` for a grace that makes no sense. `self` runs in a fiber of its own, on the caller's runtime.
 *
 * @since 0.1.0
 * @category combinators
 */
export const check: {
  (
    options?: Options & { readonly name?: string | undefined }
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Leaked, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options?: Options & { readonly name?: string | undefined }
  ): Effect.Effect<A, E | Leaked, R>
} = dual((args) => Effect.isEffect(args[0]), <A, E, R>(
  self: Effect.Effect<A, E, R>,
  options: Options & { readonly name?: string | undefined } = {}
): Effect.Effect<A, E | Leaked, R> =>
  Effect.flatMap(
    Effect.zipLeft(Effect.runtime<R>(), Effect.sync(() => graceOf(options))),
    (runtime) =>
      Effect.acquireUseRelease(
        Effect.sync(() => open(options.name ?? "the checked effect")),
        (record) =>
          Effect.gen(function*() {
            const exit = yield* runIn(record, runtime, self)
            if (Exit.isFailure(exit)) return yield* exit
            const leaks = yield* Effect.promise(() => close(record, options))
            if (leaks.length > 0) return yield* new Leaked({ test: record.name, leaks })
            return exit.value
          }),
        (record) =>
          Effect.sync(() => {
            state.open.delete(record)
            reap(record)
          })
      )
  ))

const runIn = <A, E, R>(
  record: Record,
  runtime: Runtime.Runtime<R>,
  self: Effect.Effect<A, E, R>
): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.async<Exit.Exit<A, E>>((resume) => {
    // from plain JavaScript, so that the fiber belongs to this record and not to that of the caller
    const caller = Hooks.setCurrentFiber(undefined)
    let fiber: Fiber.RuntimeFiber<A, E>
    try {
      fiber = state.storage.run(record, () => Runtime.runFork(runtime)(self))
    } finally {
      Hooks.setCurrentFiber(caller)
    }
    fiber.addObserver((exit) => resume(Effect.succeed(exit)))
    return Effect.suspend(() => fiber.interruptAsFork(FiberId.none).pipe(Effect.zipRight(fiber.await)))
  })
