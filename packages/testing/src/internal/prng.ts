/**
 * A small, fast, seedable generator (sfc32 seeded by splitmix32). One stream per purpose, so that a program that draws
 * more random numbers does not change the interleaving that its seed stands for.
 */
export interface Prng {
  /** the next unsigned 32-bit integer */
  readonly uint32: () => number
  /** a float in `[0, 1)` */
  readonly float: () => number
  /** an integer in `[0, bound)`; `bound` must be at least 1 */
  readonly below: (bound: number) => number
}

const splitmix32 = (state: number) => () => {
  state = (state + 0x9e3779b9) | 0
  let z = state ^ (state >>> 16)
  z = Math.imul(z, 0x21f0aaad)
  z ^= z >>> 15
  z = Math.imul(z, 0x735a2d97)
  return (z ^ (z >>> 15)) >>> 0
}

/** `stream` names the purpose: two streams of one seed are independent. */
export const make = (seed: number, stream: string): Prng => {
  const mix = splitmix32((seed ^ hash(stream)) >>> 0)
  let a = mix()
  let b = mix()
  let c = mix()
  let d = 1
  const uint32 = () => {
    const t = (((a + b) | 0) + d) | 0
    d = (d + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (c << 21) | (c >>> 11)
    c = (c + t) | 0
    return t >>> 0
  }
  for (let i = 0; i < 12; i++) uint32()
  const float = () => uint32() / 0x1_0000_0000
  return { uint32, float, below: (bound) => Math.floor(float() * bound) }
}

/** FNV-1a of a string. */
export const hash = (text: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  }
  return h >>> 0
}
