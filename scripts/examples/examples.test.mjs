// Every ```ts block of the READMEs and of docs/ is typechecked and run as a module of its own, as a reader would run it:
// against the built packages, in a fresh process, with every strict flag of the compiler. A block marked ```ts no-run is typechecked
// only, and one marked ```ts vitest is a file of tests.
// The examples of docstrings are treated alike, but those of one package share a process.
import { beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Api from "../site/api.mjs"

const root = fileURLToPath(new URL("../..", import.meta.url))
const out = join(root, ".cache", "examples")

/** What a program prints; its error says what it printed instead. */
const exec = (file, args, options) =>
  Effect.async((resume) => {
    const child = execFile(
      file,
      args,
      options,
      (error, stdout, stderr) =>
        resume(error === null ? Effect.succeed(stdout) : Effect.fail(new Error(`${stdout}${stderr}`, { cause: error })))
    )
    return Effect.sync(() => child.kill())
  })

const documents = [
  "README.md",
  ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`),
  ...readdirSync(join(root, "packages")).map((name) => `packages/${name}/README.md`)
]

/** The compilers and ways of resolving that users have; the first one's output is what runs. */
const compilers = [
  { name: "TypeScript 6, nodenext", typescript: "typescript", flags: [] },
  {
    name: "TypeScript 6, bundler",
    typescript: "typescript",
    flags: ["--module", "esnext", "--moduleResolution", "bundler", "--noEmit"]
  },
  { name: "TypeScript 5.9, nodenext", typescript: "typescript-5", flags: ["--noEmit"] }
]

const examples = documents.flatMap((document) => {
  const text = readFileSync(join(root, document), "utf8")
  return [...text.matchAll(/^```ts(?<flags>[^\n]*)\n(?<code>.*?)^```$/gms)].map((match) => ({
    name: `${document}:${text.slice(0, match.index).split("\n").length}`,
    file: `${document.replace(/\W/g, "_")}_${text.slice(0, match.index).split("\n").length}`,
    run: !match.groups.flags.includes("no-run"),
    vitest: match.groups.flags.includes("vitest"),
    code: match.groups.code
  }))
})

const docstrings = Api.examples().map(({ code, document, flags, name }) => ({
  name: `${document}, ${name}`,
  pkg: document.split("/")[1],
  file: `${document.replace(/\W/g, "_")}_${name}`,
  // A conformance suite declares tests: it runs within vitest alone.
  run: !flags.includes("no-run") && !document.endsWith("Conformance.ts"),
  code
}))

describe("examples", () => {
  beforeAll(() => {
    rmSync(out, { recursive: true, force: true })
    mkdirSync(out, { recursive: true })
    for (const { code, file } of [...examples, ...docstrings]) {
      writeFileSync(join(out, `${file}.ts`), `${code}export {}\n`)
    }
    for (const pkg of Api.packages) {
      const lines = docstrings.filter((one) => one.pkg === pkg && one.run).flatMap(({ file, name }) => [
        `console.log(${JSON.stringify(name)})`,
        `await import("./${file}.js")`
      ])
      // A docstring's example may leave something running, such as a server: what counts is that it did not fail.
      writeFileSync(join(out, `docstrings_${pkg}.ts`), `${[...lines, "process.exit(0)", "export {}"].join("\n")}\n`)
    }
    writeFileSync(join(out, "package.json"), JSON.stringify({ type: "module" }))
    // what is ignored by default is where the files are
    writeFileSync(
      join(out, "vitest.config.mjs"),
      "export default { test: { include: [\"dist/*.js\"], exclude: [], setupFiles: [\"@holdfast/testing/setup\"], testTimeout: 60_000 } }\n"
    )
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
          noUncheckedIndexedAccess: true,
          outDir: "dist",
          rootDir: "."
        }
      })
    )
  })

  for (const { flags, name, typescript } of compilers) {
    it.effect(
      `typecheck with ${name}${flags.length === 0 ? "" : " (daily)"}`,
      () =>
        exec(process.execPath, [join(root, "node_modules", typescript, "bin", "tsc"), "-p", out, ...flags], {
          cwd: root
        })
    )
  }

  for (const pkg of Api.packages) {
    it.effect(`the docstrings of ${pkg}`, () =>
      exec(process.execPath, [join(out, "dist", `docstrings_${pkg}.js`)], { cwd: out, timeout: 60_000 }))
  }

  for (const { file, name, vitest } of examples.filter((example) => example.run)) {
    const program = join(out, "dist", `${file}.js`)
    const args = vitest
      ? [join(root, "node_modules", "vitest", "vitest.mjs"), "run", "--root", out, program]
      : [program]
    // Whoever waits for the result has the pages typechecked, and runs what stands first: the READMEs.
    const mark = file.startsWith("docs_") ? " (daily)" : ""
    it.effect(`${name}${mark}`, () => exec(process.execPath, args, { cwd: out, timeout: vitest ? 120_000 : 30_000 }))
  }
})
