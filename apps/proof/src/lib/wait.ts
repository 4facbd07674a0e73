export const sleep = (millis: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, millis))

/** Looks until there is something; fails with what was waited for. */
export const eventually = async <A>(
  what: string,
  look: () => A | Promise<A>,
  within = 30_000,
  every = 20
): Promise<NonNullable<Exclude<A, false>>> => {
  const until = performance.now() + within
  while (true) {
    const found = await look()
    if (found !== undefined && found !== null && found !== false) return found as NonNullable<Exclude<A, false>>
    if (performance.now() > until) throw new Error(`not within ${within} ms: ${what}`)
    await sleep(every)
  }
}
