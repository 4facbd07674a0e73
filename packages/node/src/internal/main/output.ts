/** Synchronous output, for when no fiber and no event loop can be relied on. */
import { writeSync } from "node:fs"

/** How long a reader that is slow is waited for. Milliseconds. */
const patience = 250

/** Writes a line to the first of these descriptors that takes it. */
export const write = (fds: ReadonlyArray<number>, text: string): void => {
  const bytes = Buffer.from(`${text}\n`)
  for (const fd of fds) {
    if (writeAll(fd, bytes)) return
  }
}

const writeAll = (fd: number, bytes: Uint8Array): boolean => {
  const giveUp = performance.now() + patience
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || performance.now() > giveUp) return false
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
  return true
}

/** What was written to stdout before, a reader being slow, comes before the report. */
export const flushed = (): Promise<void> =>
  process.stdout.writableLength === 0 || process.stdout.destroyed
    ? Promise.resolve()
    : within(200, new Promise((resolve) => process.stdout.write("", () => resolve())))

/** Resolves with the promise, or after this many milliseconds. */
export const within = (millis: number, promise: Promise<void>): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, millis)
    void promise.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
