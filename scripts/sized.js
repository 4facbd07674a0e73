const sizes = ["quick", "daily", "nightly"]

/** How much the tests try: `HOLDFAST_SIZE`. What they test is the same. */
const size = process.env.HOLDFAST_SIZE ?? "quick"
if (!sizes.includes(size)) throw new Error(`HOLDFAST_SIZE is "${size}", expected ${sizes.join(", ")}`)

/**
 * The size of a test: for somebody who waits for the result (`quick`, the default), in continuous integration
 * (`HOLDFAST_SIZE=daily`), or for a whole night (`HOLDFAST_SIZE=nightly`).
 *
 * @template A
 * @param {A} daily
 * @param {A} nightly
 * @param {A} quick
 */
export const sized = (daily, nightly, quick = daily) => size === "quick" ? quick : size === "daily" ? daily : nightly
