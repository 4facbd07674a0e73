/** What Node holds open for a program, as `async_hooks` tell of it: which of it can leak, whether it lives, what it is. */

export type HandleKind = "server" | "socket" | "timer" | "process" | "worker" | "watcher" | "port"

export const kinds: { readonly [type: string]: HandleKind } = {
  TCPSERVERWRAP: "server",
  PIPESERVERWRAP: "server",
  TCPWRAP: "socket",
  PIPEWRAP: "socket",
  UDPWRAP: "socket",
  // not TLSWRAP: it cannot say whether it is open, and holds the socket beneath, which can
  Timeout: "timer",
  PROCESSWRAP: "process",
  WORKER: "worker",
  FSEVENTWRAP: "watcher",
  STATWATCHER: "watcher",
  MESSAGEPORT: "port"
}

interface Handle {
  readonly hasRef?: () => boolean
  readonly close?: () => unknown
  readonly _destroyed?: boolean
  readonly fd?: number
}

/** Of the standard streams of the process: whoever touches `process.stdin` first makes one, which then is everybody's. */
const isStandardStream = ({ fd }: Handle): boolean => fd !== undefined && fd >= 0 && fd <= 2

/** Whether it is open, and keeps the process alive if it is of a kind that can. */
export const isAlive = (resource: object): boolean => {
  const handle = resource as Handle
  if (isStandardStream(handle)) return false
  return handle._destroyed !== true && (handle.hasRef === undefined || handle.hasRef())
}

/** Taken at import: a test may leave fake ones. */
const realClearTimeout = globalThis.clearTimeout

/** Closes it without waiting. Processes and workers are left to whoever started them. */
export const end = (type: string, resource: object): void => {
  if (type === "Timeout") {
    realClearTimeout(resource as NodeJS.Timeout)
  } else if (kinds[type] !== "process" && kinds[type] !== "worker") {
    void (resource as Handle).close?.()
  }
}

/** Delay or addresses. */
export const describe = (type: string, resource: object): string => {
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
  return [address("getsockname"), address("getpeername")].filter((part) => part !== "").join(" to ")
}
