/**
 * The size of a test in everyday runs, or with `HOLDFAST_NIGHTLY=1`.
 *
 * @template A
 * @param {A} everyday
 * @param {A} nightly
 */
export const sized = (everyday, nightly) => process.env.HOLDFAST_NIGHTLY === "1" ? nightly : everyday
