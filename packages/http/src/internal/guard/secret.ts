import * as Effect from "effect/Effect"

/** Takes as long for a near miss as for any other: digests are compared, in full, whatever the texts' lengths. */
export const sameSecret = (a: string, b: string): Effect.Effect<boolean> =>
  Effect.promise(async () => {
    const [left, right] = await Promise.all(
      [a, b].map(async (text) => new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))))
    )
    let difference = 0
    for (let i = 0; i < left.length; i++) {
      difference |= left[i] ^ right[i]
    }
    return difference === 0
  })
