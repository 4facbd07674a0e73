import { assert, describe, it } from "@effect/vitest"
import * as Boundary from "@holdfast/testing/Boundary"
import { Context, Effect, FiberRef } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../..", import.meta.url))

class Shared extends Context.Reference<Shared>()("app/Shared", {
  defaultValue: () => ({ count: 0 })
}) {}

const ref = FiberRef.unsafeMake(0)

describe("Boundary", () => {
  const found = (source: string, file = "a.test.ts") =>
    Boundary.scan(file, source).map(({ kind, line }) => [kind, line])

  it("finds what runs outside the harness, and respects the marker", () => {
    const source = `import { it } from "x"
it("a", async () => {
  await Effect.runPromise(program)
  // edge: the exit code of the process is tested
  Effect.runFork(program)
  const text = "Effect.runSync" // Effect.runSync
})
it.effect("b", () => Effect.promise(async () => {}))
`
    assert.deepStrictEqual(found(source), [["async", 2], ["run", 3]])
    assert.deepStrictEqual(found(`// edge: about the runtime\n${source}`), [])
    // a marker that gives no reason is none
    assert.strictEqual(found(`// edge:\n${source}`).length, 2)
  })

  it("knows every way to run an effect, under every name", () => {
    for (
      const [source, line] of [
        [`import { Effect as Fx } from "effect"\nFx.runSync(program)`, 2],
        [`import * as E from "effect"\nE.Effect.runSyncExit(program)`, 2],
        [`import { runPromise as go } from "effect/Effect"\ngo(program)`, 1],
        [`const { runFork: start } = Effect`, 1],
        [`Effect["runPromiseExit"](program)`, 1],
        [`const exit = await program.pipe(\n  Effect.timeout("1 second"),\n  Effect.runPromise\n)`, 3],
        ["const text = `${Effect.runSync(program)}`", 1],
        [`const quote = /"/\nRuntime.runCallback(runtime)(program) // "`, 2],
        [`runtime.runPromise(program)`, 1],
        [`import { ManagedRuntime as M } from "effect"\nM.make(layer)`, 2],
        [`import * as Managed from "effect/ManagedRuntime"\nManaged.make(layer)`, 2]
      ] as const
    ) {
      assert.deepStrictEqual(found(source), [["run", line]], source)
    }
  })

  it("knows async tests and hooks, whatever they are called with", () => {
    for (
      const source of [
        `it("a", async () => {})`,
        `test.skip("a", { timeout: 5 }, async function() {})`,
        `it.each([1, 2])("a %i", async (n) => {})`,
        `it.effect("a", async () => {})`,
        `beforeAll(async () => {})`
      ]
    ) {
      assert.deepStrictEqual(found(source), [["async", 1]], source)
      assert.deepStrictEqual(found(source, "a.test.mjs"), [["async", 1]], source)
    }
    for (const source of [`it("a", () => {})`, `describe("async", () => {})`, `const it = async () => {}`]) {
      assert.deepStrictEqual(found(source), [], source)
    }
  })

  it("finds none in this repository", () => {
    const directories = ["packages", "apps"].flatMap((group) =>
      readdirSync(join(root, group)).map((name) => join(root, group, name, "test")).filter((path) => existsSync(path))
    )
    const escapes = [
      ...Boundary.scanFiles(directories, ".ts"),
      ...Boundary.scanFiles([join(root, "scripts")], ".test.mjs")
    ].map((escape) => ({ ...escape, file: escape.file.slice(root.length) }))
    assert.strictEqual(Boundary.render(escapes), "")
  })
})

describe("every project of the workspace", () => {
  it("runs its tests leak-checked", () => {
    const shared = readFileSync(join(root, "scripts/vitest.project.js"), "utf8")
    assert.match(shared, /setupFiles: \[`\$\{root\}packages\/testing\/src\/setup\.ts`\]/)
    const configs = ["packages", "apps"].flatMap((group) =>
      readdirSync(join(root, group)).map((name) => join(root, group, name, "vitest.config.ts"))
    ).concat(["examples", "packages"].map((name) => join(root, "scripts", name, "vitest.config.js")))
    assert.isAbove(configs.length, 6)
    for (const config of configs) {
      const text = readFileSync(config, "utf8")
      assert.match(text, /from "[^"]*\/vitest\.project\.js"/, config)
      assert.notInclude(text, "setupFiles", config)
    }
  })
})

describe("isolation of tests", () => {
  for (const name of ["one", "another"]) {
    it.effect(`${name} test sees fresh references and fiber refs`, () =>
      Effect.gen(function*() {
        const shared = yield* Shared
        assert.strictEqual(shared.count++, 0)
        assert.strictEqual(yield* FiberRef.getAndUpdate(ref, (n) => n + 1), 0)
      }))
  }
})
