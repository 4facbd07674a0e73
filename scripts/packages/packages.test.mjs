// Each package as its users get it: packed, looked through, and installed beside a bare Effect into an empty project
// where the examples of its README are typechecked and run.
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import assert from "node:assert"
import { execFile } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { nodeBinary } from "../node-binary.mjs"
import { bin, catalog, exec, integration, manifest, named, root } from "./support.mjs"

/** The most that a tarball may weigh, in KiB, the packages of ours that it needs, and what is installed beside it. */
const packages = [
  { name: "core", tarball: 400, needs: [], beside: ["effect"] },
  { name: "http", tarball: 360, needs: ["core"], beside: ["effect", "@effect/platform"] },
  {
    name: "node",
    tarball: 320,
    needs: ["core", "http"],
    beside: ["effect", "@effect/platform", "@effect/platform-node"]
  },
  {
    name: "nats",
    tarball: 200,
    needs: ["core"],
    beside: ["effect", "@effect/platform"],
    // the declarations of @nats-io 3.3.1 do not fit `exactOptionalPropertyTypes`
    skipLibCheck: true
  },
  {
    name: "testing",
    tarball: 360,
    needs: ["core", "http"],
    beside: ["effect", "@effect/platform", "@effect/vitest", "vitest", "typescript"]
  }
]

/** Besides the one that runs the tests, which is the oldest. */
const otherNodes = ["22", "24"]

/** Whole packages, and bytes, below a folder of `node_modules`. */
const installed = (modules) => {
  const names = readdirSync(modules).filter((name) => !name.startsWith(".")).flatMap((name) =>
    name.startsWith("@") ? readdirSync(join(modules, name)).map((one) => `${name}/${one}`) : [name]
  )
  const bytes = readdirSync(modules, { recursive: true, withFileTypes: true })
    .reduce((sum, file) => sum + (file.isFile() ? statSync(join(file.parentPath, file.name)).size : 0), 0)
  return { names, bytes }
}

/** The strictest that users have. */
const compilerOptions = {
  module: "nodenext",
  target: "es2022",
  types: ["node"],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true
}

describe.skipIf(!integration)(named("packages"), () => {
  let folder = ""
  let tarballs = {}

  // edge: npm is a process. Without blocking the thread: vitest gives a worker up that does not answer for a minute.
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "holdfast-packages-"))
    for (const { name } of packages) {
      await promisify(execFile)("npx", ["--yes", manifest.packageManager, "pack", "--pack-destination", folder], {
        cwd: join(root, "packages", name)
      })
    }
    tarballs = Object.fromEntries(
      packages.map(({ name }) => [
        name,
        join(folder, readdirSync(folder).find((file) => file.startsWith(`holdfast-${name}-`)))
      ])
    )
  }, 300_000)

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it.effect("a bus alone needs Effect and what comes with it, and no more", () =>
    Effect.gen(function*() {
      const project = join(folder, "bus")
      mkdirSync(project)
      writeFileSync(join(project, "package.json"), JSON.stringify({ name: "bus", private: true, type: "module" }))
      const versions = ["--no-audit", "--no-fund", tarballs.core, `effect@${catalog.effect}`]
      yield* exec("npm", ["install", ...versions], { cwd: project })
      const { bytes, names } = installed(join(project, "node_modules"))
      assert.deepEqual(names, ["@holdfast/core", "@standard-schema/spec", "effect", "fast-check", "pure-rand"])
      assert(bytes < 42_000_000, `${Math.round(bytes / 1e6)} MB`)
    }))

  for (const { beside, name, needs, skipLibCheck = false, tarball } of packages) {
    it.effect(`${name} holds what a package needs, and nothing else`, () =>
      Effect.gen(function*() {
        const files = (yield* exec("tar", ["-tzf", tarballs[name]])).trim().split("\n").map((file) =>
          file.replace(/^package\//, "")
        )
        for (
          const needed of ["README.md", "CHANGELOG.md", "LICENSE", "package.json", "dist/index.js", "dist/index.d.ts"]
        ) {
          assert(files.includes(needed), `${name}: ${needed} is missing`)
        }
        assert.deepEqual(
          files.filter((file) => /(^|\/)(test|node_modules|\.tsbuild)\/|tsbuildinfo$|\.env/.test(file)),
          []
        )
        const packed = JSON.parse(yield* exec("tar", ["-xzOf", tarballs[name], "package/package.json"]))
        assert(packed.keywords.length > 3 && packed.description.length > 20 && packed.license === "MIT")
        assert(!/workspace:|catalog:/.test(JSON.stringify(packed.dependencies ?? {})))
        const kib = statSync(tarballs[name]).size / 1024
        assert(kib <= tarball, `${name} weighs ${kib.toFixed(0)} KiB packed, its budget is ${tarball} KiB`)
      }))

    it.effect(`${name} resolves for every way of importing ES modules`, () =>
      exec(bin("attw"), [tarballs[name], "--profile", "esm-only", "--no-emoji", "--format", "ascii"], {
        cwd: folder
      }))

    it.effect(`${name} runs its README's examples in a project of its own`, () =>
      Effect.gen(function*() {
        const project = join(folder, `app-${name}`)
        mkdirSync(project)
        writeFileSync(join(project, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }))
        const ours = [name, ...needs].map((one) => tarballs[one])
        const versions = [...beside, "@types/node"].map((one) => `${one}@${catalog[one]}`)
        yield* exec("npm", ["install", "--no-audit", "--no-fund", ...ours, ...versions], { cwd: project })
        const text = readFileSync(join(project, "node_modules", "@holdfast", name, "README.md"), "utf8")
        const examples = [...text.matchAll(/^```ts(?<flags>[^\n]*)\n(?<code>.*?)^```$/gms)]
        assert(examples.length > 0)
        for (const [index, { groups: { code } }] of examples.entries()) {
          writeFileSync(join(project, `example${index}.ts`), `${code}export {}\n`)
        }
        writeFileSync(
          join(project, "tsconfig.json"),
          JSON.stringify({ include: ["*.ts"], compilerOptions: { ...compilerOptions, skipLibCheck } })
        )
        yield* exec(bin("tsc"), ["-p", project])
        for (const [index, { groups: { flags } }] of examples.entries()) {
          if (flags.includes("no-run")) continue
          for (const node of [process.execPath, ...otherNodes.map(nodeBinary)]) {
            yield* exec(node, [`example${index}.js`], { cwd: project, timeout: 30_000 })
          }
        }
      }))
  }
})
