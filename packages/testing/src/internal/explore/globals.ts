/**
 * The process-wide sources of time, chance and delay, swapped while a simulation runs. What the simulation does not govern
 * (other code of the process, by asynchronous context) still gets the real ones.
 */
import { AsyncLocalStorage } from "node:async_hooks"
import * as Place from "../place.js"
import type { Prng } from "../prng.js"

export interface ArmedTimer {
  readonly what: string
  readonly place: string
}

/** A simulation, to the code that it governs. */
export interface Host {
  /** virtual milliseconds since the Unix epoch */
  readonly now: () => number
  readonly random: Prng
  /** runs `task` after `millis` of virtual time; the result cancels */
  readonly after: (millis: number, task: () => void) => () => void
  /** timers that plain JavaScript made, and that are armed */
  readonly jsTimers: Set<VirtualTimer>
  /** callbacks of promises may be waiting from now on */
  readonly onPromise: () => void
  /** a callback threw, or a promise was rejected, and nobody can catch it */
  readonly onUncaught: (error: unknown, what: string) => void
}

/** The host that plain JavaScript belongs to, by asynchronous context. */
export const context = new AsyncLocalStorage<Host | undefined>()

let driving: Host | undefined = undefined

/** Makes `host` the one whose fibers are driven, synchronously; returns the one before. */
export const setDriving = (host: Host | undefined): Host | undefined => {
  const before = driving
  driving = host
  return before
}

/** Whose code runs now. */
export const governing = (): Host | undefined => driving ?? context.getStore()

/** A delay of 2^31 - 1 ms or more is how programs say "never" to a JavaScript timer. */
export const never = 2 ** 31 - 1

export const real = {
  Date: globalThis.Date,
  random: Math.random,
  performanceNow: performance.now.bind(performance),
  /** The function itself: Effect's clock has kept it, and asks its `bigint`. */
  hrtimeItself: process.hrtime,
  hrtime: process.hrtime.bind(process),
  bigint: process.hrtime.bigint.bind(process.hrtime),
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  queueMicrotask: globalThis.queueMicrotask,
  nextTick: process.nextTick.bind(process),
  promiseThen: Promise.prototype.then,
  emit: process.emit,
  randomUUID: globalThis.crypto.randomUUID.bind(globalThis.crypto),
  getRandomValues: globalThis.crypto.getRandomValues.bind(globalThis.crypto)
}

export class VirtualTimer {
  /** What Node's own `clearImmediate` looks at: it leaves this one alone, wherever it is cleared. */
  readonly _destroyed = true
  readonly place = Place.here(12)
  private cancel: () => void = () => {}
  private referenced = true
  constructor(
    private readonly host: Host,
    private readonly millis: number,
    private readonly task: () => void,
    private readonly repeat: boolean
  ) {
    this.arm()
  }
  private arm() {
    this.host.jsTimers.add(this)
    this.cancel = this.host.after(this.millis, () => {
      this.host.jsTimers.delete(this)
      if (this.repeat) this.arm()
      this.task()
    })
  }
  close() {
    this.host.jsTimers.delete(this)
    this.cancel()
    return this
  }
  refresh() {
    this.cancel()
    this.arm()
    return this
  }
  ref() {
    this.referenced = true
    return this
  }
  unref() {
    this.referenced = false
    return this
  }
  hasRef() {
    return this.referenced
  }
  describe(): string {
    return this.repeat ? `a timer every ${this.millis} ms` : `a timer of ${this.millis} ms`
  }
  [Symbol.toPrimitive]() {
    return 0
  }
  [Symbol.dispose]() {
    this.close()
  }
}

const delay = (millis: unknown): number => {
  const n = Number(millis)
  return n >= 1 ? Math.min(n, never) : 1
}

type Callback = (...args: Array<unknown>) => void

const VirtualDate: DateConstructor = new Proxy(real.Date, {
  construct: (target, args: ReadonlyArray<unknown>, newTarget) => {
    const host = args.length === 0 ? governing() : undefined
    return Reflect.construct(
      target,
      host === undefined ? args : [host.now()],
      newTarget === VirtualDate ? target : newTarget
    )
  },
  apply: () => new real.Date(now()).toString(),
  get: (target, key) => key === "now" ? now : Reflect.get(target, key, target)
})

const now = (): number => governing()?.now() ?? real.Date.now()

const timer = (original: Callback, repeat: boolean) => (task: Callback, millis?: number, ...args: Array<unknown>) => {
  const host = governing()
  return host === undefined
    ? Reflect.apply(original, globalThis, [task, millis, ...args])
    : new VirtualTimer(host, delay(millis), () => task(...args), repeat)
}

const immediate = (task: Callback, ...args: Array<unknown>) => {
  const host = governing()
  return host === undefined ? real.setImmediate(task, ...args) : new VirtualTimer(host, 0, () => task(...args), false)
}

const clear = (original: (handle: never) => void) => (handle: unknown) => {
  if (handle instanceof VirtualTimer) handle.close()
  else original(handle as never)
}

const soon = (original: (task: () => void) => void, what: string) => (task: Callback, ...args: Array<unknown>) => {
  const host = governing()
  if (host === undefined) {
    Reflect.apply(original, globalThis, [task, ...args])
    return
  }
  host.onPromise()
  original(() => {
    try {
      task(...args)
    } catch (error) {
      host.onUncaught(error, what)
    }
  })
}

const nanos = (host: Host) => BigInt(Math.round(host.now() * 1_000_000))

const bigint = (): bigint => {
  const host = governing()
  return host === undefined ? real.bigint() : nanos(host)
}

const hrtime = Object.assign((before?: [number, number]): [number, number] => {
  const host = governing()
  if (host === undefined) return real.hrtime(before)
  const now = nanos(host)
  const since = before === undefined ? now : now - (BigInt(before[0]) * 1_000_000_000n + BigInt(before[1]))
  return [Number(since / 1_000_000_000n), Number(since % 1_000_000_000n)]
}, { bigint })

const performanceNow = () => {
  const host = governing()
  return host === undefined ? real.performanceNow() : host.now() - performance.timeOrigin
}

const randomUUID = () => {
  const host = governing()
  return host === undefined ? real.randomUUID() : uuid(host.random)
}

const getRandomValues = <A extends ArrayBufferView>(array: A): A => {
  const host = governing()
  if (host === undefined) return real.getRandomValues(array as never)
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
  for (let i = 0; i < bytes.length; i++) bytes[i] = host.random.below(256)
  return array
}

const then = function(this: Promise<unknown>, onFulfilled: never, onRejected: never) {
  governing()?.onPromise()
  return real.promiseThen.call(this, onFulfilled, onRejected)
}

/** Rejections that nobody handles: by `emit`, because a listener could not keep the others from hearing of it. */
const emit = function(this: NodeJS.Process, event: string | symbol, ...args: Array<unknown>): boolean {
  const host = event === "unhandledRejection" ? context.getStore() : undefined
  if (host === undefined) return (real.emit as Callback).call(this, event, ...args) as unknown as boolean
  host.onUncaught(args[0], "a promise was rejected, and nobody handles it")
  return true
}

type Swap = readonly [target: object, key: string, value: unknown]

const swaps: ReadonlyArray<Swap> = [
  [globalThis, "Date", VirtualDate],
  [Math, "random", () => governing()?.random.float() ?? real.random()],
  [performance, "now", performanceNow],
  [process, "hrtime", hrtime],
  [real.hrtimeItself, "bigint", bigint],
  [globalThis, "setTimeout", timer(real.setTimeout as Callback, false)],
  [globalThis, "setInterval", timer(real.setInterval as Callback, true)],
  [globalThis, "clearTimeout", clear(real.clearTimeout)],
  [globalThis, "clearInterval", clear(real.clearInterval)],
  [globalThis, "setImmediate", immediate],
  [globalThis, "clearImmediate", clear(real.clearImmediate)],
  [globalThis, "queueMicrotask", soon(real.queueMicrotask, "a microtask threw")],
  [process, "nextTick", soon(real.nextTick, "a callback of process.nextTick threw")],
  [Promise.prototype, "then", then],
  [globalThis.crypto, "randomUUID", randomUUID],
  [globalThis.crypto, "getRandomValues", getRandomValues],
  [process, "emit", emit]
]

const saved: Array<PropertyDescriptor | undefined> = []
let users = 0

const install = () => {
  swaps.forEach(([target, key, value], i) => {
    saved[i] = Object.getOwnPropertyDescriptor(target, key)
    Object.defineProperty(target, key, { value, configurable: true, writable: true, enumerable: false })
  })
}

const uninstall = () => {
  swaps.forEach(([target, key], i) => {
    const descriptor = saved[i]
    if (descriptor === undefined) Reflect.deleteProperty(target, key)
    else Object.defineProperty(target, key, descriptor)
  })
}

/** While `body` runs, simulations govern what their code asks for, and everybody else gets the real thing. */
export const swapped = async <A>(body: () => Promise<A>): Promise<A> => {
  if (users++ === 0) install()
  try {
    return await body()
  } finally {
    if (--users === 0) uninstall()
  }
}

/** Timers of user code that keep a process alive. Those without user code on the stack are of the platform. */
export const armed = (host: Host): ReadonlyArray<ArmedTimer> =>
  Array.from(host.jsTimers).filter((timer) => timer.hasRef()).flatMap((timer) => {
    const place = Place.showUser(timer.place)
    return place === undefined ? [] : [{ what: timer.describe(), place }]
  })

const uuid = (random: Prng): string => {
  const hex = Array.from({ length: 32 }, (_, i) => i === 12 ? 4 : i === 16 ? 8 + random.below(4) : random.below(16))
    .map((n) => n.toString(16)).join("")
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
