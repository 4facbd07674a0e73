import { assert, describe, it } from "@effect/vitest"
import * as Boundary from "@holdfast/testing/Boundary"
import { Context, Effect, FiberRef } from "effect"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../..", import.meta.url))

class Shared extends Context.Reference<Shared>()("@holdfast/testing/test/Shared", {
  defaultValue: () => ({ count: 0 })
}) {}

const ref = FiberRef.unsafeMake(0)

describe("Boundary", () => {
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
    assert.deepStrictEqual(
      Boundary.scan("a.test.ts", source).map(({ kind, line }) => [kind, line]),
      [["async", 2], ["run", 3]]
    )
    assert.deepStrictEqual(Boundary.scan("a.test.ts", `// edge: about the runtime\n${source}`), [])
  })

  it("finds none in this repository", () => {
    const directories = ["packages", "apps"].flatMap((group) =>
      readdirSync(join(root, group)).map((name) => join(root, group, name, "test")).filter((path) => existsSync(path))
    )
    const escapes = Boundary.scanFiles(directories).map((escape) => ({
      ...escape,
      file: escape.file.slice(root.length)
    }))
    assert.strictEqual(Boundary.render(escapes), "")
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
