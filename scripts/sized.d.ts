/** The size of a test in everyday runs, or with `HOLDFAST_NIGHTLY=1`. */
export declare const sized: (everyday: number, nightly: number) => number
