import { assert, describe, it } from "@effect/vitest"
import * as Explore from "@holdfast/testing/Explore"
import { Effect, Option } from "effect"
import { execFile } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import ts from "typescript"
import { gallery } from "./fixtures/gallery.js"

const names = ["lost update", "missed interrupt", "a reader that is kept waiting for long"]

/** Everything that a trace says, but for the lines of code: the other process runs compiled code. */
const skeleton = (run: Explore.Run<unknown, unknown>) =>
  JSON.stringify([run.fingerprint, run.verdict, run.operations, run.events.map((e) => [e.step, e.at, e.kind, e.fiber])])

const compile = (from: string, to: string) => {
  mkdirSync(dirname(to), { recursive: true })
  const { outputText } = ts.transpileModule(readFileSync(from, "utf8"), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true }
  })
  writeFileSync(to, outputText)
}

describe("replay", () => {
  it.effect("gives 50 identical traces", () =>
    Effect.gen(function*() {
      for (const { buggy, name } of gallery.filter((exhibit) => names.includes(exhibit.name))) {
        const found = Option.getOrThrow(yield* Explore.find(buggy, { seeds: 200 }))
        const traces = yield* Effect.replicateEffect(Explore.replay(buggy, found.run.seed), 50)
        const distinct = new Set(traces.map((run) => JSON.stringify(run.events)))
        assert.strictEqual(distinct.size, 1, name)
      }
    }), 60_000)

  it.scoped("gives the same trace in another process", () =>
    Effect.gen(function*() {
      const here = dirname(fileURLToPath(import.meta.url))
      const out = join(here, "..", ".cache", `replay-${process.pid}`)
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(out, { recursive: true, force: true })))
      const src = join(here, "..", "src")
      compile(join(src, "Explore.ts"), join(out, "Explore.js"))
      for (const file of readdirSync(join(src, "internal")).filter((file) => file.endsWith(".ts"))) {
        compile(join(src, "internal", file), join(out, "internal", file.replace(/ts$/, "js")))
      }
      compile(join(here, "fixtures", "gallery.ts"), join(out, "gallery.js"))
      const programs = gallery.filter((exhibit) => names.includes(exhibit.name))
      const seeds = yield* Effect.forEach(programs, ({ buggy }) =>
        Effect.map(Explore.find(buggy, { seeds: 200 }), (found) => Option.getOrThrow(found).run.seed))
      writeFileSync(
        join(out, "main.mjs"),
        `import { Effect } from "effect"
import * as Explore from "./Explore.js"
import { gallery } from "./gallery.js"
const [names, seeds] = ${
          JSON.stringify([programs.map((exhibit) => exhibit.name), seeds])
        }
const skeleton = ${skeleton.toString()}
const lines = []
for (let i = 0; i < names.length; i++) {
  const { buggy } = gallery.find((exhibit) => exhibit.name === names[i])
  for (let k = 0; k < 50; k++) lines.push(skeleton(await Effect.runPromise(Explore.replay(buggy, seeds[i]))))
}
console.log(JSON.stringify(Array.from(new Set(lines))))
`
      )
      const { stdout } = yield* Effect.promise(() =>
        promisify(execFile)(process.execPath, [join(out, "main.mjs")], { maxBuffer: 1 << 26 })
      )
      const mine = yield* Effect.forEach(programs, ({ buggy }, i) =>
        Effect.map(Explore.replay(buggy, seeds[i]!), skeleton))
      assert.deepStrictEqual(JSON.parse(stdout), mine)
    }), 60_000)
})
