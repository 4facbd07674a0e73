import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect } from "effect"
import type { Ended } from "./support/process.js"
import { runWith, slack } from "./support/process.js"

const run = (scenario: string, argument = "") =>
  runWith(scenario, ["SIGTERM"], { fixture: "finalizers", report: "json", args: [argument] })

const reportOf = (ended: Ended) => ShutdownReport.fromJson(ended.last)

describe("finalizers of a process", () => {
  for (const depth of [0, 4, 10]) {
    it.scopedLive(`have their time below ${depth} layers${depth === 4 ? "" : " (daily)"}`, () =>
      Effect.gen(function*() {
        const ended = yield* run("buried", String(depth))
        assert.include(ended.stdout, "flushed\n")
        assert.strictEqual(reportOf(ended).verdict, "clean")
        assert.strictEqual(ended.code, 0)
      }))
  }

  for (const where of ["added", "bounded", "acquired", "provided"]) {
    for (const how of ["dies", "throws", "rejects"]) {
      it.scopedLive(`that fail are told (${where}, ${how})${how === "throws" ? "" : " (daily)"}`, () =>
        Effect.gen(function*() {
          const ended = yield* run(where, how)
          const report = reportOf(ended)
          assert.strictEqual(ended.code, 1)
          assert.strictEqual(report.verdict, "failed")
          const items = report.items("failed").filter(({ kind }) => kind === "finalizer")
          assert.strictEqual(items.length, 1)
          assert.include(items[0].detail, "flush failed")
          // In the log, on stdout, before the report.
          assert.include(ended.stdout.slice(0, -ended.last.length - 1), "flush failed")
        }))
    }
  }

  for (const how of ["provide", "provideMerge", "mergeAll"]) {
    it.scopedLive(`of what was built run when the rest of the start hangs (${how})${how === "mergeAll" ? "" : " (daily)"}`, () =>
      Effect.gen(function*() {
        const ended = yield* run(`start-${how}`)
        assert.include(ended.stdout, "first: released\n")
        const report = reportOf(ended)
        assert.strictEqual(report.verdict, "forced")
        assert.isAtLeast(report.items("abandoned").length, 1)
        assert.strictEqual(ended.code, 143)
        assert.isBelow(ended.took, 2000 + slack)
      }))
  }
})
