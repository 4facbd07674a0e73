/**
 * The process-wide sources of time, chance and delay, swapped while a simulation drives its fibers. A drive is
 * synchronous, so nothing else of the process can see the swapped values.
 */
import type { Prng } from "./prng.js"

export interface VirtualGlobals {
  readonly enter: () => void
  readonly exit: () => void
}

export interface Host {
  /** virtual milliseconds since the Unix epoch */
  readonly now: () => number
  readonly random: Prng
  /** runs `task` after `millis` of virtual time; the result cancels */
  readonly after: (millis: number, task: () => void) => () => void
}

/** A delay of 2^31 - 1 ms or more is how programs say "never" to a JavaScript timer. */
export const never = 2 ** 31 - 1

const real = {
  Date: globalThis.Date,
  random: Math.random,
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate
}

class VirtualTimer {
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
    this.cancel = this.host.after(this.millis, () => {
      if (this.repeat) this.arm()
      this.task()
    })
  }
  close() {
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
  [Symbol.toPrimitive]() {
    return 0
  }
  [Symbol.dispose]() {
    this.cancel()
  }
}

const delay = (millis: unknown): number => {
  const n = Number(millis)
  return n >= 1 ? Math.min(n, never) : 1
}

export const make = (host: Host): VirtualGlobals => {
  const VirtualDate: DateConstructor = new Proxy(real.Date, {
    construct: (target, args: ReadonlyArray<unknown>, newTarget) =>
      Reflect.construct(
        target,
        args.length === 0 ? [host.now()] : args,
        newTarget === VirtualDate ? target : newTarget
      ),
    apply: () => new real.Date(host.now()).toString(),
    get: (target, key) => key === "now" ? host.now : Reflect.get(target, key, target)
  })
  const timer =
    (repeat: boolean) => (task: (...args: Array<unknown>) => void, millis?: number, ...args: Array<unknown>) =>
      new VirtualTimer(host, delay(millis), () => task(...args), repeat)
  const clear = (original: (handle: never) => void) => (handle: unknown) => {
    if (handle instanceof VirtualTimer) {
      handle.close()
    } else {
      original(handle as never)
    }
  }
  const swaps: ReadonlyArray<readonly [target: object, key: string, value: unknown]> = [
    [globalThis, "Date", VirtualDate],
    [Math, "random", host.random.float],
    [performance, "now", () => host.now() - performance.timeOrigin],
    [process.hrtime, "bigint", () => BigInt(Math.round(host.now() * 1_000_000))],
    [globalThis, "setTimeout", timer(false)],
    [globalThis, "setInterval", timer(true)],
    [globalThis, "clearTimeout", clear(real.clearTimeout)],
    [globalThis, "clearInterval", clear(real.clearInterval)],
    [
      globalThis,
      "setImmediate",
      (task: (...args: Array<unknown>) => void, ...args: Array<unknown>) =>
        new VirtualTimer(host, 0, () => task(...args), false)
    ],
    [globalThis, "clearImmediate", clear(real.clearImmediate)],
    [globalThis.crypto, "randomUUID", () => uuid(host.random)],
    [globalThis.crypto, "getRandomValues", (array: ArrayBufferView) => {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
      for (let i = 0; i < bytes.length; i++) bytes[i] = host.random.below(256)
      return array
    }]
  ]
  const saved: Array<PropertyDescriptor | undefined> = []
  return {
    enter: () => {
      for (let i = 0; i < swaps.length; i++) {
        const [target, key, value] = swaps[i]!
        saved[i] = Object.getOwnPropertyDescriptor(target, key)
        Object.defineProperty(target, key, { value, configurable: true, writable: true, enumerable: false })
      }
    },
    exit: () => {
      for (let i = 0; i < swaps.length; i++) {
        const [target, key] = swaps[i]!
        const descriptor = saved[i]
        if (descriptor === undefined) {
          Reflect.deleteProperty(target, key)
        } else {
          Object.defineProperty(target, key, descriptor)
        }
      }
    }
  }
}

const uuid = (random: Prng): string => {
  const hex = Array.from({ length: 32 }, (_, i) => i === 12 ? 4 : i === 16 ? 8 + random.below(4) : random.below(16))
    .map((n) => n.toString(16)).join("")
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
