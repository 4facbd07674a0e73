/**
 * The size of a test: for somebody who waits for the result (`quick`, the default), in continuous integration
 * (`HOLDFAST_SIZE=daily`), or for a whole night (`HOLDFAST_SIZE=nightly`).
 */
export declare const sized: <A>(daily: A, nightly: A, quick?: A) => A
