/**
 * Notes signals that arrive while the modules of a program are being loaded, for `runMain` to act on when it is called.
 *
 * A program of some size takes most of a second to load. A signal in that time has its default effect: it kills the process,
 * and the first process of a container (PID 1) does not notice it at all, so that it is killed half a minute later.
 *
 * It has no imports, so that it runs before everything else. For that the program must be loaded by an `import()` behind it:
 * the modules of an `import` statement are all read before the first of them runs.
 *
 * ```js
 * // main.js
 * import "@holdfast/node/EarlySignals"
 *
 * await import("./program.js")
 * ```
 *
 * Guarantees
 * - `SIGINT`, `SIGTERM` and `SIGHUP` are noted in order. `runMain` acts on them as if they had come just now: it builds
 *   nothing, reports and exits.
 * - A second signal ends a process that is still loading, and so does the end of 10 seconds after the first one. The exit code
 *   is then 128 + signal.
 *
 * Limits
 * - What was sent before Node.js itself is up (some 40 ms) is lost as before.
 * - A program that never calls `runMain` is ended by a signal only after those 10 seconds.
 *
 * @since 0.1.0
 */

/** Numbers are the same on every system; without an import they cannot be looked up. */
const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const

type Name = keyof typeof numbers

const names = Object.keys(numbers) as ReadonlyArray<Name>

/** The same signal within this time is the same event, passed on twice. Milliseconds. */
const debounce = 100

/** How long the program may go on loading after a signal. Milliseconds. */
const patience = 10_000

const noted: Array<{ readonly signal: Name; readonly at: number }> = []
let timer: NodeJS.Timeout | undefined

const end = (signal: Name) => {
  process.stderr.write(`${signal} ended the process while it was loading\n`)
  process.exit(128 + numbers[signal])
}

const note = (signal: Name) => {
  const at = performance.now()
  const last = noted.at(-1)
  if (last?.signal === signal && at - last.at < debounce) return
  if (last !== undefined) return end(signal)
  noted.push({ signal, at })
  timer = setTimeout(() => end(signal), patience)
  timer.unref()
}

for (const name of names) process.on(name, note)

/** Hands over what was noted, and stops to listen. `runMain` listens already when it calls this. */
const take = () => {
  clearTimeout(timer)
  for (const name of names) process.off(name, note)
  return noted.splice(0)
}

Object.assign(globalThis, { [Symbol.for("@holdfast/node/EarlySignals")]: take })
