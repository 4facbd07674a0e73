/** The most that a timer of Node.js holds, 24.8 days in milliseconds: a longer one fires at once. */
const longest = 2 ** 31 - 1

/**
 * Runs the task once, after this many milliseconds, however many; after `Infinity` it never runs. The function that it
 * returns cancels it.
 */
export const unsafeTimeout = (task: () => void, millis: number): () => void => {
  if (millis === Number.POSITIVE_INFINITY) return () => {}
  const at = performance.now() + millis
  let handle: NodeJS.Timeout
  const wait = () => {
    const left = at - performance.now()
    handle = left > longest ? setTimeout(wait, longest) : setTimeout(task, Math.max(0, left))
  }
  wait()
  return () => clearTimeout(handle)
}
