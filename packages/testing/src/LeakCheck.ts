/**
 * A test that ends must leave nothing behind: no live fiber, no open scope with finalizers, no socket, no listening
 * server, no timer, no process listener, no changed global. This module knows who made what, and says so.
 *
 * **Attribution.** What is made belongs to the record that was current when it was made: a fiber to the record of the
 * fiber that forked it, or else (plain JavaScript) to the record of the asynchronous context. Tests that run concurrently
 * therefore do not blame one another. What outlives its test within the grace is a leak; what keeps no process alive (an
 * `unref`ed timer, an idle pooled socket) is not.
 *
 * **Place of the fork.** The line of the `yield*` that the forking fiber was at, and for a fiber that is started from
 * plain JavaScript the line of that call. Noting it costs about 1.5 microseconds for each `yield*`; `HOLDFAST_PLACES=0`
 * switches it off.
 *
 * **Limits.** Of listeners, those on `process` are known. Globals are compared only when no other test ran meanwhile.
 * What hides behind a promise alone (a `Promise` that nobody resolves and no resource holds) is invisible.
 *
 * @since 0.1.0
 */
import { Data, Duration, Effect, Exit, FiberId, Option } from "effect"
import type { Fiber, FiberRef, Runtime as RuntimeType } from "effect"
import { Runtime } from "effect"
import { globalValue } from "effect/GlobalValue"
import { AsyncLocalStorage, createHook } from "node:async_hooks"
import { describeFiber } from "./internal/describe.js"
import * as Hooks from "./internal/hooks.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Kind = "fiber" | "scope" | "server" | "socket" | "timer" | "process" | "worker" | "listener" | "global"

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
 * @since 0.1.0
 * @category errors
 */
export class Leaked extends Data.TaggedError("Leaked")<{
  /** name of the test or block */
  readonly name: string
  readonly leaks: ReadonlyArray<Leak>
}> {
  override get message() {
    const n = this.leaks.length
    return [
      `"${this.name}" left ${n} ${n === 1 ? "thing" : "things"} behind`,
      ...this.leaks.slice(0, maxShown).map((leak) => `  ${render(leak)}`),
      ...(n > maxShown ? [`  and ${n - maxShown} more`] : [])
    ].join("\n")
  }
}

/**
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** real time that what was made has to end by itself after the test. Default 1 second; a clean test does not wait. */
  readonly grace?: Duration.DurationInput
  /** kinds that are not looked at */
  readonly ignore?: ReadonlyArray<Kind>
  /** leaks that are expected: matched against the rendered leak, for example `"fiber app/metrics"` */
  readonly allow?: ReadonlyArray<string | RegExp>
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { grace: Duration.seconds(1) } as const

const maxShown = 12

interface Resource {
  readonly type: string
  readonly resource: object
  readonly place: Hooks.Place
}

interface FiberInfo {
  readonly place: Hooks.Place | undefined
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
  readonly scopes: Map<Hooks.RawScope, ReadonlyArray<Hooks.Place | undefined>>
  /** @internal */
  readonly resources: Map<number, Resource>
  /** @internal */
  readonly listeners: Array<
    { readonly event: string | symbol; readonly listener: unknown; readonly place: Hooks.Place }
  >
  /** @internal */
  readonly allow: Array<string | RegExp>
  /** @internal */
  readonly globals: GlobalsSnapshot
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

const handleKinds: { readonly [type: string]: Kind } = {
  TCPSERVERWRAP: "server",
  PIPESERVERWRAP: "server",
  TCPWRAP: "socket",
  PIPEWRAP: "socket",
  UDPWRAP: "socket",
  TLSWRAP: "socket",
  Timeout: "timer",
  PROCESSWRAP: "process",
  WORKER: "worker"
}

const onInit = (asyncId: number, type: string, _trigger: number, resource: object) => {
  if (!(type in handleKinds) || Hooks.currentFiber()?.getFiberRef(isBackground) === true) return
  const record = recordNow()
  if (record === undefined) return
  record.resources.set(asyncId, { type, resource, place: Hooks.placeHere(16) })
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
      const here = Hooks.placeHere(8)
      record.scopes.set(scope, [here, fiber === undefined ? undefined : Hooks.placeOf(fiber)])
    },
    onScopeClose: (scope) => {
      for (const record of state.open) record.scopes.delete(scope)
      state.outside?.scopes.delete(scope)
    }
  })
  process.on("newListener", (event, listener) => {
    if (event === "newListener" || event === "removeListener") return
    recordNow()?.listeners.push({ event, listener, place: Hooks.placeHere(12) })
  })
}

const onFiber = (fiber: Hooks.RawFiber, parent: Hooks.RawFiber | undefined): void => {
  if (Hooks.isSimulated(fiber)) return
  const record = (parent === undefined ? undefined : state.byFiber.get(parent)) ?? state.storage.getStore() ??
    state.outside
  if (record === undefined) return
  state.byFiber.set(fiber, record)
  record.fibers.set(fiber, { place: parent === undefined ? Hooks.placeHere(14) : Hooks.placeOf(parent) })
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
  globals: snapshotGlobals(),
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

/**
 * Waits, at most for the grace, until everything that belongs to the record has ended. Returns what has not.
 *
 * @since 0.1.0
 * @category observing
 */
export const close = async (record: Record, options: Options = {}): Promise<ReadonlyArray<Leak>> => {
  const deadline = performance.now() + Duration.toMillis(options.grace ?? defaults.grace)
  let leaks = find(record, options)
  for (let turn = 0; leaks.length > 0; turn++) {
    if (turn > 20 && performance.now() > deadline) break
    await state.storage.run(undefined, () =>
      new Promise<void>((resolve) => {
        if (turn < 20) setImmediate(resolve)
        else setTimeout(resolve, 10)
      }))
    leaks = find(record, options)
  }
  state.open.delete(record)
  return leaks
}

/**
 * Ends what the record still holds, so that it does not disturb whoever runs next: fibers are interrupted, timers
 * cleared, listeners removed, sockets destroyed. Does not wait.
 *
 * @since 0.1.0
 * @category observing
 */
export const reap = (record: Record): void => {
  for (const fiber of Array.from(record.fibers.keys())) {
    if (!fiber.getFiberRef(isBackground)) fiber.unsafeInterruptAsFork(FiberId.none)
  }
  for (const { resource, type } of Array.from(record.resources.values())) {
    if (!isAlive(resource)) continue
    if (type === "Timeout") clearTimeout(resource as NodeJS.Timeout)
    else if (handleKinds[type] === "socket" || handleKinds[type] === "server") {
      ;(resource as { close?: () => void }).close?.()
    }
  }
  for (const { event, listener } of record.listeners) {
    process.removeListener(event, listener as (...args: Array<unknown>) => void)
  }
  for (const asyncId of record.resources.keys()) state.byResource.delete(asyncId)
  record.resources.clear()
  record.listeners.length = 0
}

const isAlive = (resource: object): boolean => {
  const handle = resource as { hasRef?: () => boolean; _destroyed?: boolean }
  return handle._destroyed !== true && (handle.hasRef === undefined || handle.hasRef())
}

const find = (record: Record, options: Options): ReadonlyArray<Leak> => {
  const leaks: Array<Leak> = []
  const add = (kind: Kind, what: string, ...places: ReadonlyArray<Hooks.Place | undefined>) => {
    leaks.push({ kind, what, place: Option.fromNullable(Hooks.showFirst(places)) })
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
    if (!isAlive(resource)) continue
    // timers that a dependency holds for a moment (vitest itself, a connection pool) are not the test's
    const shown = Hooks.showPlace(place)
    if (type === "Timeout" && (shown === undefined || /^(vitest|@vitest|vite-node|tinypool)\//.test(shown))) continue
    // a fiber that sleeps or waits holds a timer: the fiber is the leak
    if (type === "Timeout" && leaks.length > 0 && shown!.startsWith("effect/")) continue
    add(handleKinds[type]!, describeHandle(type, resource), place)
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
    for (const change of changedGlobals(record.globals)) add("global", change)
  }
  const patterns = [...record.allow, ...(options.allow ?? [])]
  return leaks.filter((leak) =>
    !(options.ignore ?? []).includes(leak.kind) &&
    !patterns.some((pattern) =>
      typeof pattern === "string" ? render(leak).includes(pattern) : pattern.test(render(leak))
    )
  )
}

const describeHandle = (type: string, resource: object): string => {
  if (type === "Timeout") {
    const { _idleTimeout, _repeat } = resource as { _idleTimeout?: number; _repeat?: number | null }
    return _repeat === null || _repeat === undefined ? `of ${_idleTimeout} ms` : `every ${_repeat} ms`
  }
  const address = (name: "getsockname" | "getpeername") => {
    const out: { address?: string; port?: number } = {}
    try {
      ;(resource as { [name: string]: (out: object) => number })[name]?.(out)
    } catch {
      return ""
    }
    return out.port === undefined ? "" : `${out.address}:${out.port}`
  }
  const local = address("getsockname")
  const peer = address("getpeername")
  return [local, peer].filter((part) => part !== "").join(" to ") || type.toLowerCase()
}

/**
 * @since 0.1.0
 * @category rendering
 */
export const render = (leak: Leak): string =>
  `${leak.kind} ${leak.what}${
    Option.match(leak.place, { onNone: () => "", onSome: (place) => `, ${verb(leak.kind)} at ${place}` })
  }`

const verb = (kind: Kind) => kind === "fiber" ? "forked" : kind === "scope" ? "first used" : "made"

// ---- globals

interface GlobalsSnapshot {
  readonly env: { readonly [name: string]: string | undefined }
  readonly cwd: string
  readonly keys: ReadonlySet<string>
  readonly builtins: ReadonlyArray<readonly [string, unknown]>
}

const builtins = (): ReadonlyArray<readonly [string, unknown]> => [
  ["Date", globalThis.Date],
  ["Date.now", globalThis.Date.now],
  ["Math.random", Math.random],
  ["setTimeout", globalThis.setTimeout],
  ["setInterval", globalThis.setInterval],
  ["fetch", globalThis.fetch],
  ["console", globalThis.console],
  ["process.exit", process.exit],
  ["process.exitCode", process.exitCode]
]

const snapshotGlobals = (): GlobalsSnapshot => ({
  env: { ...process.env },
  cwd: process.cwd(),
  keys: new Set(Object.keys(globalThis)),
  builtins: builtins()
})

const changedGlobals = (before: GlobalsSnapshot): ReadonlyArray<string> => {
  const changes: Array<string> = []
  for (const name of new Set([...Object.keys(before.env), ...Object.keys(process.env)])) {
    if (before.env[name] !== process.env[name]) changes.push(`process.env.${name} changed`)
  }
  if (process.cwd() !== before.cwd) changes.push("working directory changed")
  for (const key of Object.keys(globalThis)) {
    if (!before.keys.has(key)) changes.push(`globalThis.${key} appeared`)
  }
  const now = builtins()
  for (let i = 0; i < now.length; i++) {
    if (now[i]![1] !== before.builtins[i]![1]) changes.push(`${now[i]![0]} was replaced`)
  }
  return changes
}

// ---- as an Effect

/**
 * Runs `self` and fails when it leaves something behind. `self` runs in a fiber of its own, on the caller's runtime.
 *
 * @since 0.1.0
 * @category combinators
 */
export const check = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  options: Options & { readonly name?: string } = {}
): Effect.Effect<A, E | Leaked, R> =>
  Effect.flatMap(Effect.runtime<R>(), (runtime) =>
    Effect.acquireUseRelease(
      Effect.sync(() => open(options.name ?? "the checked effect")),
      (record) =>
        Effect.gen(function*() {
          const exit = yield* runIn(record, runtime, self)
          if (Exit.isFailure(exit)) return yield* exit
          const leaks = yield* Effect.promise(() => close(record, options))
          if (leaks.length > 0) return yield* new Leaked({ name: record.name, leaks })
          return exit.value
        }),
      (record) =>
        Effect.sync(() => {
          state.open.delete(record)
          reap(record)
        })
    ))

const runIn = <A, E, R>(
  record: Record,
  runtime: RuntimeType.Runtime<R>,
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
