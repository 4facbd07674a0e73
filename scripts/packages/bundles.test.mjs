// Applications bundled into one file and run away from the repository, as ES module and as CommonJS, and as they stand by tsx.
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { build } from "esbuild"
import assert from "node:assert"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { bin, catalog, exec, integration, named, root } from "./support.mjs"

/** What is CommonJS inside of an ES module asks for `require`. */
const banner = {
  js: "import { createRequire as requireFrom } from \"node:module\"; const require = requireFrom(import.meta.url);"
}

const bundle = (app, format, outfile) =>
  Effect.promise(() =>
    build({
      entryPoints: [join(root, "apps", app)],
      outfile,
      format,
      bundle: true,
      platform: "node",
      target: "node20",
      external: ["libsql"],
      logLevel: "error",
      ...(format === "esm" ? { banner } : {})
    })
  )

/** Starts it, waits for its address, and ends it with SIGTERM once it has been used. */
const run = (file, args, use) =>
  Effect.promise(async () => {
    const child = spawn(process.execPath, [file, ...args], { env: { ...process.env, PORT: "0" }, stdio: "pipe" })
    const exit = once(child, "exit")
    let text = ""
    try {
      const url = await new Promise((resolve, reject) => {
        const read = (chunk) => {
          text += chunk
          const found = /http:\/\/[\w.]+:\d+/.exec(text)
          if (found !== null) resolve(found[0])
        }
        child.stdout.on("data", read)
        child.stderr.on("data", read)
        void exit.then(([code]) => reject(new Error(`ended with ${code}: ${text}`)))
      })
      await use(url)
      child.kill("SIGTERM")
      const [code] = await exit
      return { code, text }
    } finally {
      child.kill("SIGKILL")
    }
  })

const clean = ({ code, text }, watchdog = false) => {
  assert.match(text, /shutdown: \w+, SIGTERM, clean/)
  assert.strictEqual(code, 0)
  // what a bundle lacks is said, and nothing else is lost
  assert.strictEqual(/The watchdog of \w+ does not run/.test(text), !watchdog, text)
}

/** What there is at the start. */
const notes = async (url) => assert.deepStrictEqual(await (await fetch(`${url}/notes`)).json(), [])

describe.skipIf(!integration)(named("bundles"), () => {
  let folder = ""

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "holdfast-bundles-"))
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  for (const [format, extension] of [["esm", "mjs"], ["cjs", "cjs"]]) {
    it.effect(`an HttpApi in one file, ${format}`, () =>
      Effect.gen(function*() {
        const file = join(folder, `api.${extension}`)
        yield* bundle("examples/dist/api.js", format, file)
        clean(
          yield* run(file, [], notes)
        )
      }))
  }

  it.effect("an HttpApi as it stands, by tsx", () =>
    Effect.gen(function*() {
      const source = join(root, "apps", "examples", "src", "api.ts")
      clean(
        yield* run("--import", [pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href, source], notes),
        true
      )
    }))

  it.effect("an HttpApi in one file, by vite", () =>
    Effect.gen(function*() {
      const outDir = join(folder, "vite")
      const config = {
        root: join(root, "apps", "examples"),
        build: { ssr: "dist/api.js", target: "node20", outDir, emptyOutDir: true },
        ssr: { noExternal: true, external: ["libsql"] }
      }
      writeFileSync(join(folder, "vite.config.mjs"), `export default ${JSON.stringify(config)}\n`)
      // as from a shell: under another NODE_ENV vite makes errors of the optional dependencies of `ws`
      yield* exec(bin("vite"), ["build", "--config", join(folder, "vite.config.mjs")], {
        env: { ...process.env, NODE_ENV: "production" }
      })
      writeFileSync(join(outDir, "package.json"), JSON.stringify({ type: "module" }))
      clean(yield* run(join(outDir, "api.js"), [], notes))
    }), 300_000)

  it.effect("the text world in one file, with its store", () =>
    Effect.gen(function*() {
      const app = join(folder, "mud")
      mkdirSync(app)
      writeFileSync(join(app, "package.json"), JSON.stringify({ name: "mud", version: "0.1.0", private: true }))
      yield* exec("npm", ["install", "--no-audit", "--no-fund", `libsql@${catalog.libsql}`], { cwd: app })
      // what the page loads, and the data of the world
      for (const name of ["public", "world", "dist/client"]) {
        cpSync(join(root, "apps", "mud", name), join(app, name), { recursive: true })
      }
      // and the page of the console, beside the bundle
      cpSync(join(root, "packages", "http", "assets"), join(app, "dist", "assets"), { recursive: true })
      yield* bundle("mud/dist/main.js", "esm", join(app, "dist", "main.mjs"))
      clean(
        yield* run(join(app, "dist", "main.mjs"), ["--port", "0", "--data", join(app, "data")], async (url) => {
          assert.strictEqual((await fetch(url)).status, 200)
        })
      )
    }))
})
