import * as Explore from "@holdfast/testing/Explore"
import { Deferred, Effect, Ref } from "effect"
const program = Effect.gen(function*() {
  const ref = yield* Ref.make(0)
  const one = Effect.gen(function*() {
    for (let i = 0; i < 33; i++) {
      yield* Ref.update(ref, (n) => n + 1)
      yield* Effect.flatMap(Effect.sync(() => i), (n) => Effect.succeed(n))
      if (i % 8 === 0) yield* Effect.yieldNow()
    }
  })
  yield* Effect.all(Array.from({ length: 10 }, () => one), { concurrency: 10 })
})
const cpu = async (n, body) => {
  const a = process.cpuUsage()
  await body(n)
  const b = process.cpuUsage(a)
  return (b.user + b.system) / n
}
const plain = (e) => async (n) => {
  for (let i = 0; i < n; i++) await Effect.runPromise(Effect.scoped(e))
}
const strategies = {
  "random 0.3": { _tag: "random", preemption: 0.3 },
  "random 0.05": { _tag: "random", preemption: 0.05 },
  "pct 3": { _tag: "pct", depth: 3 },
  mixed: "mixed"
}
const seeds = (strategy) => (n) => Effect.runPromise(Explore.check(program, { seeds: n, strategy }))
const report = await Effect.runPromise(Explore.check(program, { seeds: 50 }))
console.log("operations a seed", report.operations / 50)
const rows = {
  plain: plain(program),
  "plain, maxOpsBeforeYield 1": plain(Effect.withMaxOpsBeforeYield(program, 3)),
  ...Object.fromEntries(Object.entries(strategies).map(([k, v]) => ["seed " + k, seeds(v)])),
  "seed of an empty program": (n) => Effect.runPromise(Explore.check(Effect.void, { seeds: n }))
}
for (let r = 0; r < 4; r++) {
  const line = []
  for (const [name, f] of Object.entries(rows)) line.push(`${name} ${Math.round(await cpu(300, f))}`)
  console.log(line.join(" | "))
}
