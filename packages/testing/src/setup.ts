/**
 * The vitest setup file: every test of the project runs leak-checked, whichever `it` it uses, and with its own default
 * values of the project's `Context.Reference`s.
 *
 * ```ts no-run
 * // vitest.config.ts
 * export default { test: { setupFiles: ["@holdfast/testing/setup"] } }
 * ```
 *
 * @since 0.1.0
 */
import { afterAll, beforeEach } from "vitest"
import type { RunnerTestCase } from "vitest"
import { getFn, setFn } from "vitest/suite"
import * as Hooks from "./internal/hooks.js"
import * as LeakCheck from "./LeakCheck.js"

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
    const leaks = await LeakCheck.close(record, failed ? { grace: 0 } : {})
    LeakCheck.reap(record)
    if (!failed && leaks.length > 0) throw new LeakCheck.Leaked({ name: record.name, leaks })
  })
})

afterAll(async () => {
  const leaks = await LeakCheck.close(outside, { ignore: ["timer", "listener", "global", "worker", "process"] })
  LeakCheck.reap(outside)
  if (leaks.length > 0) throw new LeakCheck.Leaked({ name: outside.name, leaks })
})
