/** What the subject of the fault matrix is told. */
export interface Plan {
  readonly finalizer?: { readonly kind: "hang" | "throw" | "block"; readonly depth: number }
  /** bytes of resident memory from which on it drains */
  readonly memory?: number
  /** for the whole shutdown; 3 seconds */
  readonly timeout?: `${number} seconds`
  /** the longest that the event loop may stand still, as a duration */
  readonly stall?: `${number} seconds`
}
