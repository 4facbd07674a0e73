/**
 * The vitest setup file: every test of the project runs leak-checked, whichever `it` it uses, and with its own default
 * values of `Context.Reference`s.
 *
 * ```ts no-run
 * // vitest.config.ts
 * export default { test: { setupFiles: ["@holdfast/testing/setup"] } }
 * ```
 *
 * `HOLDFAST_GRACE` in the environment, a duration such as `5 seconds`, is the time that things have to end after a test:
 * more for a slow machine. A value that is none fails every file with `InvalidOption`.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { afterAll, beforeEach } from "vitest"
import type { RunnerTestCase } from "vitest"
import { getFn, setFn } from "vitest/suite"
import * as Hooks from "./internal/hooks.js"
import * as Check from "./internal/options.js"
import * as LeakCheck from "./LeakCheck.js"

const given = process.env.HOLDFAST_GRACE as Duration.DurationInput | undefined
const grace = given === undefined ? LeakCheck.defaults.grace : Effect.runSync(
  Check.finite("HOLDFAST_GRACE", given)
)

const wrapped = new WeakSet<object>()
const records = new WeakMap<object, LeakCheck.Record>()

LeakCheck.install()
const outside = LeakCheck.openOutside("the test file")

beforeEach((context) => {
  const task = context.task as RunnerTestCase
  const record = LeakCheck.open(task.name)
  if (record.alone) Hooks.swapReferences(new Map())
  records.set(task, record)
  if (!wrapped.has(task)) {
    wrapped.add(task)
    const body = getFn(task)
    setFn(task, () => LeakCheck.run(records.get(task)!, () => body()))
  }
  // registered first, so that it runs after whatever the test registers
  context.onTestFinished(async () => {
    const failed = task.result?.state === "fail"
    const leaks = await LeakCheck.close(record, { grace: failed ? 0 : grace })
    LeakCheck.reap(record)
    if (!failed && leaks.length > 0) throw new LeakCheck.Leaked({ test: record.name, leaks })
  })
})

afterAll(async ({ file }) => {
  const leaks = await LeakCheck.close(outside, {
    grace,
    ignore: ["listener", "global"]
  })
  LeakCheck.reap(outside)
  if (leaks.length > 0) throw new LeakCheck.Leaked({ test: file.name, leaks })
})
