/** What a program waits for in the world outside: files, sockets, real timers, as `async_hooks` tell of them. */
import { createHook } from "node:async_hooks"
import * as Place from "../place.js"
import * as Globals from "./globals.js"

interface Waiting {
  readonly type: string
  readonly place: Place.Place
}

const names: { readonly [type: string]: string } = {
  Timeout: "a real timer (of node:timers, or AbortSignal.timeout)",
  FSREQCALLBACK: "a file",
  FSREQPROMISE: "a file",
  FILEHANDLE: "a file",
  FILEHANDLECLOSEREQ: "a file",
  GETADDRINFOREQWRAP: "a look-up of a name",
  TCPWRAP: "a socket",
  TCPCONNECTWRAP: "a socket",
  TLSWRAP: "a socket",
  PIPEWRAP: "a pipe",
  PIPECONNECTWRAP: "a pipe",
  TCPSERVERWRAP: "a server",
  PROCESSWRAP: "a process",
  WORKER: "a worker",
  MESSAGEPORT: "a message port"
}

/** Those that are over when their callback has run. */
const isRequest = (type: string) => /REQ|CONNECT|^Timeout$/.test(type)

export interface Outside {
  /** what is awaited, each with its line */
  readonly waits: () => ReadonlyArray<string>
  readonly stop: () => void
}

/** Watches for what is started while `isOwn`. */
export const watch = (isOwn: () => boolean): Outside => {
  const waiting = new Map<number, Waiting>()
  const hook = createHook({
    init: (asyncId, type) => {
      if (type in names && isOwn()) waiting.set(asyncId, { type, place: Place.here(24) })
    },
    after: (asyncId) => {
      const entry = waiting.get(asyncId)
      if (entry !== undefined && isRequest(entry.type)) waiting.delete(asyncId)
    },
    destroy: (asyncId) => {
      waiting.delete(asyncId)
    }
  }).enable()
  return {
    waits: () =>
      Array.from(
        new Set(Array.from(waiting.values(), ({ place, type }) => {
          const at = Place.show(place)
          return `${names[type]}${at === undefined ? "" : `, asked for at ${at}`}`
        }))
      ),
    stop: () => {
      hook.disable()
      waiting.clear()
    }
  }
}

/** Rung when something outside resumes a fiber. */
export class Bell {
  private wake: (() => void) | undefined = undefined

  ring(): void {
    this.wake?.()
  }

  /** Until it rings, or so many real milliseconds have passed. */
  async within(millis: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timeout = Globals.context.run(undefined, () => Globals.real.setTimeout(resolve, millis))
      this.wake = () => {
        Globals.real.clearTimeout(timeout)
        resolve()
      }
    })
    this.wake = undefined
  }
}
