/**
 * The thread of the watchdog. It imports next to nothing but Node's own modules, so that it starts fast and stays small.
 *
 * It knows the deadline of a shutdown and the heartbeat of the main thread. When one of them is over, it pauses the main
 * thread through the inspector, which works in the middle of a busy loop, asks it where it is, and makes it exit. What is
 * printed from here goes past `process.stdout`, whose other end is the main thread.
 */
import { writeSync } from "node:fs"
import type { Session as InspectorSession } from "node:inspector"
import { createRequire } from "node:module"
import { constants } from "node:os"
import { parentPort, workerData } from "node:worker_threads"
import { unsafeTimeout } from "../timeout.js"

/** Slots of the shared array: `Watchdog` writes them by number, since it must not import this module. */
const slot = { beat: 0, debugger: 1, labelLength: 2, label: 3 } as const

/** Bytes for what the main thread says it is doing. */
const labelBytes = 256

export interface Setup {
  readonly shared: SharedArrayBuffer
  readonly name: string
  /** Milliseconds without a heartbeat; `Infinity` for no limit, as in all times here. */
  readonly stall: number
  readonly onStall: "end" | "report"
  /** Milliseconds between two looks at the heartbeat. */
  readonly interval: number
  /** Milliseconds from a signal to the end, when the main thread does not even notice the signal. */
  readonly timeout: number
  readonly hurry: number
  readonly debounce: number
  readonly margin: number
  readonly signals: ReadonlyArray<string>
  /** Where the main thread keeps a function that renders its report, and one that exits. */
  readonly reportKey: string
  readonly exitKey: string
}

export type Message =
  | { readonly _tag: "Deadline"; readonly within: number; readonly code: number }
  | { readonly _tag: "Stop" }

const setup = workerData as Setup
const cells = new Int32Array(setup.shared, 0, slot.label)
const text = new Uint8Array(setup.shared, slot.label * 4, labelBytes)

// A timer that is due in the past while the thread sleeps must not count: the clock that stops in a suspend is wanted.
const now = () => performance.now()
const seconds = (millis: number) => `${(millis / 1000).toFixed(1)} s`

let ending = false
let deadline = Number.POSITIVE_INFINITY
let code = 1
let cancel = () => {}

const print = (fds: ReadonlyArray<number>, line: string) => {
  for (const fd of fds) {
    try {
      writeSync(fd, `${line}\n`)
      return
    } catch {
      // The other descriptor may still have a reader.
    }
  }
}

const label = () => {
  const length = Math.min(Atomics.load(cells, slot.labelLength), labelBytes)
  return length === 0 ? "" : `, last known to be in: ${Buffer.from(text.slice(0, length)).toString("utf8")}`
}

/** Whether the last line on stdout has been written: there must not be a second one. */
let said = false

const kill = (why: string) => {
  const line = `shutdown: ${setup.name}, forced by the watchdog: ${why}, blocked outside of JavaScript${label()}`
  print(said ? [2] : [1, 2], line)
  process.kill(process.pid, "SIGKILL")
  // The first process of a container cannot be killed from inside. There is nothing left to try but to say so.
  setTimeout(() => print([2], `watchdog: SIGKILL had no effect on process ${process.pid}`), 1000)
}

interface Frame {
  readonly callFrameId: string
  readonly functionName: string
  readonly url: string
  readonly location: { readonly scriptId: string; readonly lineNumber: number; readonly columnNumber?: number }
}

/** The frames of an evaluated `new Error().stack`, which are mapped to sources where source maps are on. */
const framesOf = (stack: unknown, frames: ReadonlyArray<Frame>, urls: ReadonlyMap<string, string>) => {
  const lines = typeof stack === "string"
    ? stack.split("\n").slice(1).map((line) => line.trim().replace(/^at /, ""))
      .filter((line) => !line.startsWith("eval (eval at") && !line.includes("<anonymous>:1:"))
    : []
  if (lines.length > 0) return lines
  return frames.map((frame) =>
    `${frame.functionName || "(anonymous)"} (${frame.url || urls.get(frame.location.scriptId) || "?"}:${
      frame.location.lineNumber + 1
    }:${(frame.location.columnNumber ?? 0) + 1})`
  )
}

const stackExpression = `(() => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 30
  const stack = String(new Error("watchdog").stack)
  Error.stackTraceLimit = limit
  return stack
})()`

const reportExpression = () =>
  `(() => {
  const render = globalThis[Symbol.for(${JSON.stringify(setup.reportKey)})]
  return typeof render === "function" ? String(render() ?? "") : ""
})()`

// The inspector waits for its session at exit and says so on stderr; nobody is there to end the session.
const exitExpression = (status: number) =>
  `(() => {
  try { process.getBuiltinModule("node:fs").closeSync(2) } catch {}
  globalThis[Symbol.for(${JSON.stringify(setup.exitKey)})](${status})
})()`

/** Pauses the main thread, and hands over its frames and a way to evaluate there. */
const pause = async (
  body: (
    frames: ReadonlyArray<Frame>,
    urls: ReadonlyMap<string, string>,
    evaluate: (expression: string) => Promise<unknown>
  ) => Promise<void>
): Promise<InspectorSession> => {
  const { Session } = await import("node:inspector")
  const session = new Session()
  session.connectToMainThread()
  const urls = new Map<string, string>()
  session.on("Debugger.scriptParsed", ({ params }) => urls.set(params.scriptId, params.url))
  await new Promise<void>((resolve, reject) => {
    session.once("Debugger.paused", ({ params }) => {
      const frames = params.callFrames as ReadonlyArray<Frame>
      const evaluate = (expression: string) =>
        new Promise<unknown>((done) =>
          session.post("Debugger.evaluateOnCallFrame", {
            callFrameId: frames[0].callFrameId,
            expression,
            returnByValue: true,
            silent: true
          }, (error, result) => done(error === null ? result.result.value : undefined))
        )
      body(frames, urls, evaluate).then(resolve, reject)
    })
    session.post("Debugger.enable")
    session.post("Debugger.pause", (error) => error === null ? undefined : reject(error))
  })
  return session
}

const end = (why: string, status: number) => {
  if (ending) return
  ending = true
  // A thread that is blocked outside of JavaScript never pauses.
  const last = setTimeout(() => kill(why), 1000)
  pause(async (frames, urls, evaluate) => {
    const stack = framesOf(await evaluate(stackExpression), frames, urls)
    const report = await evaluate(reportExpression())
    print([2], [`watchdog: ${why}; the main thread is at`, ...stack.map((line) => `    at ${line}`)].join("\n"))
    const known = typeof report === "string" && report !== "" ? `${report}; ` : `shutdown: ${setup.name}, forced; `
    print([1, 2], `${known}ended by the watchdog: ${why}, busy at ${stack[0] ?? "an unknown place"}`)
    said = true
    clearTimeout(last)
    setTimeout(() => kill(why), 500)
    await evaluate(exitExpression(status))
  }).catch(() => {
    // The timer above ends it.
  })
}

const report = (why: string) => {
  pause(async (frames, urls, evaluate) => {
    const stack = framesOf(await evaluate(stackExpression), frames, urls)
    print([2], [`watchdog: ${why}; the main thread is at`, ...stack.map((line) => `    at ${line}`)].join("\n"))
  }).then((session) => {
    session.post("Debugger.resume")
    session.disconnect()
  }, () => print([2], `watchdog: ${why}${label()}`))
}

const arm = (within: number, status: number) => {
  deadline = Math.min(deadline, now() + within)
  code = status
  cancel()
  cancel = unsafeTimeout(() => {
    if (Atomics.load(cells, slot.debugger) === 1) return
    end("the shutdown did not end in its time", code)
  }, deadline - now())
}

parentPort?.on("message", (message: Message) => {
  if (message._tag === "Stop") process.exit(0)
  arm(message.within, message.code)
})

// Signals that the main thread is too busy to notice.

let signals = 0
let lastSignal = { at: Number.NEGATIVE_INFINITY, number: 0 }

const onSignal = (number: number) => {
  if (number === lastSignal.number && now() - lastSignal.at < setup.debounce) return
  lastSignal = { at: now(), number }
  signals++
  const within = signals === 1 ? setup.timeout : signals === 2 ? setup.hurry : 0
  arm(within + setup.margin, 128 + number)
}

interface SignalWrap {
  onsignal: (number: number) => void
  start: (number: number) => number
  unref: () => void
}

interface SignalBinding {
  readonly Signal: new() => SignalWrap
}

/** `process.binding` has it up to Node.js 22; the other way works with `--expose-internals` in all of them. */
const signalBinding = (): SignalBinding => {
  try {
    const { internalBinding } = createRequire(import.meta.url)("internal/test/binding") as {
      readonly internalBinding: (name: string) => SignalBinding
    }
    return internalBinding("signal_wrap")
  } catch {
    return (process as unknown as { readonly binding: (name: string) => SignalBinding }).binding("signal_wrap")
  }
}

try {
  // Workers have no signal events, but libuv delivers a signal to every loop that asks for it. The binding is internal: on
  // a Node.js that does not have it, a signal during a busy loop is noticed by the heartbeat's limit alone.
  const { Signal } = signalBinding()
  for (const name of setup.signals) {
    const wrap = new Signal()
    wrap.onsignal = onSignal
    wrap.unref()
    wrap.start(constants.signals[name as NodeJS.Signals])
  }
} catch {
  // See above.
}

if (setup.stall < Number.POSITIVE_INFINITY) {
  let beat = -1
  let since = now()
  let looked = now()
  let told = false
  setInterval(() => {
    const at = now()
    const current = Atomics.load(cells, slot.beat)
    // This thread was not running either: the whole process was stopped, or the machine slept.
    const suspended = at - looked > setup.interval * 4 + 1000
    looked = at
    if (current !== beat || suspended || Atomics.load(cells, slot.debugger) === 1) {
      beat = current
      since = at
      told = false
      return
    }
    if (at - since < setup.stall) return
    const why = `no heartbeat of the main thread for ${seconds(at - since)}`
    if (setup.onStall === "end") end(why, signals > 0 ? code : 1)
    else if (!told) {
      told = true
      report(why)
    }
  }, setup.interval)
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
parentPort?.postMessage("ready")
