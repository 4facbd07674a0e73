import * as Metrics from "@holdfast/http/Metrics"
import * as NodeMetrics from "@holdfast/node/NodeMetrics"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect, Exit, Scope } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

const valueOf = (text: string, name: string) => Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1])

describe("NodeMetrics", () => {
  it.scoped("tells of processor, memory, start, event loop and collections, in seconds and bytes", () =>
    Effect.gen(function*() {
      yield* NodeMetrics.collect
      yield* Effect.sync(gc)
      // the collections are told in a later turn of the event loop
      yield* Effect.async<void>((resume) => {
        const immediate = setImmediate(() => resume(Effect.void))
        return Effect.sync(() => clearImmediate(immediate))
      })
      const text = yield* Metrics.render
      const age = performance.now() / 1000
      assert.closeTo(valueOf(text, "process_start_time_seconds"), performance.timeOrigin / 1000, 1)
      assert.isAbove(valueOf(text, "process_cpu_seconds_total"), 0.01)
      // no more than both cores of a test machine could have spent, and in no other unit
      assert.isBelow(valueOf(text, "process_cpu_seconds_total"), age * 64)
      assert.isAbove(valueOf(text, "process_resident_memory_bytes"), 10_000_000)
      assert.isAbove(valueOf(text, "nodejs_heap_size_used_bytes"), 1_000_000)
      assert.isAbove(valueOf(text, "nodejs_external_memory_bytes"), 1000)
      assert.isAtLeast(valueOf(text, "nodejs_eventloop_lag_seconds"), 0)
      assert.isAtLeast(
        valueOf(text, "nodejs_eventloop_lag_max_seconds"),
        valueOf(text, "nodejs_eventloop_lag_p50_seconds")
      )
      if (process.platform === "linux") assert.isAbove(valueOf(text, "process_open_fds"), 3)
      assert.isAtLeast(valueOf(text, "nodejs_gc_duration_seconds_count\\{kind=\"major\"\\}"), 1)
      assert.isAbove(valueOf(text, "nodejs_gc_duration_seconds_sum\\{kind=\"major\"\\}"), 0)
      assert.match(text, /^nodejs_gc_duration_seconds_bucket\{kind="major",le="\+Inf"\} [1-9]/m)
    }))

  it.effect("is told once by any number of scopes, by another when one ends, and by none at last", () =>
    Effect.gen(function*() {
      const first = yield* Scope.make()
      const second = yield* Scope.make()
      yield* Scope.extend(NodeMetrics.collect, first)
      yield* Scope.extend(NodeMetrics.collect, second)
      const lines = Effect.map(Metrics.render, (text) => text.match(/^process_cpu_seconds_total /gm)?.length ?? 0)
      assert.strictEqual(yield* lines, 1)
      yield* Scope.close(first, Exit.void)
      assert.strictEqual(yield* lines, 1)
      yield* Scope.close(second, Exit.void)
      assert.strictEqual(yield* lines, 0)
    }))

  it.effect("no metric of these packages has a unit other than seconds and bytes", () =>
    Effect.sync(() => {
      const root = fileURLToPath(new URL("../../..", import.meta.url))
      const sources = ["core", "http", "nats", "node"].flatMap((pkg) =>
        readdirSync(`${root}/packages/${pkg}/src`, { recursive: true, encoding: "utf8" })
          .filter((name) => name.endsWith(".ts"))
          .map((name) => readFileSync(`${root}/packages/${pkg}/src/${name}`, "utf8"))
      )
      const names = sources.flatMap((text) => text.match(/"(holdfast|http_server|process|nodejs)_\w+"/g) ?? [])
      assert.isAbove(names.length, 30)
      assert.deepStrictEqual(
        names.filter((name) => /_(ms|millis\w*|micros\w*|kib|mib|kb|mb|minutes)(_|")/.test(name)),
        []
      )
    }))
})
