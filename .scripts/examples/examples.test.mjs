// Every ```ts block of the README and of docs/ is typechecked and run as a module of its own, as a reader would run it:
// against the built packages, in a fresh process. A block marked ```ts no-run is typechecked only.
import { execFile } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { assert, beforeAll, describe, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))
const out = join(root, ".cache", "examples")
const exec = promisify(execFile)

const documents = [
  "README.md",
  ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)
]

const examples = documents.flatMap((document) => {
  const text = readFileSync(join(root, document), "utf8")
  return [...text.matchAll(/^```ts(?<flags>[^\n]*)\n(?<code>.*?)^```$/gms)].map((match) => ({
    name: `${document}:${text.slice(0, match.index).split("\n").length}`,
    file: `${document.replace(/\W/g, "_")}_${text.slice(0, match.index).split("\n").length}`,
    run: !match.groups.flags.includes("no-run"),
    code: match.groups.code
  }))
})

describe("examples", () => {
  beforeAll(async () => {
    rmSync(out, { recursive: true, force: true })
    mkdirSync(out, { recursive: true })
    for (const { code, file } of examples) writeFileSync(join(out, `${file}.ts`), `${code}export {}\n`)
    writeFileSync(join(out, "package.json"), JSON.stringify({ type: "module" }))
    writeFileSync(
      join(out, "tsconfig.json"),
      JSON.stringify({
        extends: "../../tsconfig.base.json",
        include: ["*.ts"],
        compilerOptions: {
          composite: false,
          incremental: false,
          declaration: false,
          declarationMap: false,
          noUnusedLocals: false,
          outDir: "dist",
          rootDir: "."
        }
      })
    )
  })

  it("typecheck", async () => {
    const result = await exec(join(root, "node_modules", ".bin", "tsc"), ["-p", out], { cwd: root }).catch((error) =>
      error
    )
    assert.strictEqual(result.stdout, "")
  })

  for (const { file, name } of examples.filter((example) => example.run)) {
    it(name, async () => {
      await exec(process.execPath, [join(out, "dist", `${file}.js`)], { cwd: out, timeout: 30_000 })
    })
  }
})
