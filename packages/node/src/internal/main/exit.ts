/** The very end of a process: listeners of its exit, and the exit itself. */
import { heldBy } from "./heldThreads.js"

type ExitListener = (this: NodeJS.Process, code: number) => void

interface Process {
  reallyExit: (code: number) => never
  /** Node.js 22.15 and newer. */
  readonly execve?: (file: string, args: ReadonlyArray<string>, env: Record<string, string>) => never
  readonly abort: () => never
}

const self = process as unknown as Process

/** As it was before `exitWith`, for the watchdog, which comes in between. */
const reallyExit = self.reallyExit.bind(process)

/** Lets every listener of `exit` run, also behind one that throws. */
const guardListeners = (onError: (error: unknown) => void): void => {
  const listeners = process.rawListeners("exit") as ReadonlyArray<unknown> as ReadonlyArray<ExitListener>
  process.removeAllListeners("exit")
  process.once("exit", (code) => {
    for (const listener of listeners) {
      try {
        listener.call(process, code)
      } catch (error) {
        onError(error)
      }
    }
  })
}

/**
 * Exits by `process.exit`, with a last step behind the listeners, when all code of others has run. It is told the code that
 * one of them has asked for instead, if any, and says which one it is to be.
 *
 * What `process.exit` does last is to call `process.reallyExit`. That has no documentation, and is left as it is by Node.js
 * for those who replace it.
 */
export const exitWith = (
  code: number,
  options: { readonly onListenerError: (error: unknown) => void; readonly last: (asked: number | undefined) => number }
): void => {
  guardListeners(options.onListenerError)
  const before = self.reallyExit
  self.reallyExit = (asked) => {
    self.reallyExit = before
    return endNow(options.last(asked === code ? undefined : asked))
  }
  process.exit(code)
}

/** Ends the process, also when a thread of the pool would hold it. Nothing of JavaScript runs any more. */
export const endNow = (code: number): never => {
  if (heldBy().length === 0) return self.reallyExit(code)
  // Another program in the same process has no such threads, and an exit code.
  if (self.execve !== undefined) {
    return self.execve(process.execPath, [process.execPath, "-e", `process.exitCode = ${code}`], {})
  }
  return kill()
}

/** The same, for a main thread that is paused: there, another program cannot take its place. */
export const endPaused = (code: number): never => heldBy().length === 0 ? reallyExit(code) : kill()

const kill = (): never => {
  process.kill(process.pid, "SIGKILL")
  // The first process of a container is immune to its own SIGKILL.
  return self.abort()
}
