/** The terminal: taken over at the start, and given back as it was at every end of the process. */
import { emitKeypressEvents } from "node:readline"
import type { Size } from "./render.js"
import type { Key } from "./state.js"

const enter = "\u001b[?1049h\u001b[?25l\u001b[?7l"
const leave = "\u001b[0m\u001b[?7h\u001b[?25h\u001b[?1049l"

/** As a shell reports a process that a signal has ended. */
const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

export interface Screen {
  readonly size: () => Size
  readonly paint: (lines: ReadonlyArray<string>) => void
  /** Gives the terminal back, says why, and ends the process. */
  readonly end: (code: number, message?: string) => never
}

export const open = (on: { readonly key: (key: Key) => void; readonly resize: () => void }): Screen => {
  const { stdin, stdout } = process
  let painted: ReadonlyArray<string> = []
  let taken = false
  const restore = () => {
    if (!taken) return
    taken = false
    stdout.write(leave)
    stdin.setRawMode(false)
  }
  const take = () => {
    taken = true
    painted = []
    stdin.setRawMode(true)
    stdout.write(enter)
  }
  const end = (code: number, message?: string): never => {
    restore()
    if (message !== undefined) process.stderr.write(`${message}\n`)
    process.exit(code)
  }
  // A crash prints its trace behind this, on the screen that stays.
  process.on("uncaughtExceptionMonitor", restore)
  process.on("exit", restore)
  for (const [signal, code] of Object.entries(signals)) process.on(signal, () => end(code))
  // A shell that stopped the process has set its own mode meanwhile.
  process.on("SIGCONT", () => {
    take()
    on.resize()
  })
  // The terminal is gone.
  stdout.on("error", () => process.exit(signals.SIGHUP))
  stdin.on("end", () => end(0))
  stdin.on("error", () => end(signals.SIGHUP))
  stdout.on("resize", () => {
    painted = []
    on.resize()
  })
  take()
  emitKeypressEvents(stdin)
  stdin.on("keypress", (_: string | undefined, key: Key) => on.key(key))
  stdin.resume()
  return {
    size: () => ({
      columns: stdout.columns > 0 ? stdout.columns : 80,
      rows: stdout.rows > 0 ? stdout.rows : 24,
      // https://no-color.org: present and not empty
      colour: (process.env["NO_COLOR"] ?? "") === ""
    }),
    paint: (lines) => {
      let text = ""
      for (let i = 0; i < Math.max(lines.length, painted.length); i++) {
        if (lines[i] !== painted[i]) text += `\u001b[${i + 1};1H\u001b[0m${lines[i] ?? ""}\u001b[0m\u001b[K`
      }
      painted = lines
      if (text !== "") stdout.write(text)
    },
    end
  }
}
