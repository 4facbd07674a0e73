import { availableParallelism } from "node:os"

/** Flags of vitest: one process for each core. By itself it leaves one core idle, and of two it then uses one. */
export const workers = [`--maxWorkers=${availableParallelism()}`, "--minWorkers=1"]
