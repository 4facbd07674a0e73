// Applications bundled into one file and run away from the repository, as ES module and as CommonJS.
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { build } from "esbuild"
import assert from "node:assert"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { catalog, exec, integration, named, root } from "./support.mjs"

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

const clean = ({ code, text }) => {
  assert.match(text, /shutdown: \w+, SIGTERM, clean/)
  assert.strictEqual(code, 0)
  // what a bundle lacks is said, and nothing else is lost
  assert.match(text, /The watchdog of \w+ does not run/)
}

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
          yield* run(file, [], async (url) => {
            assert.deepStrictEqual(await (await fetch(`${url}/notes`)).json(), [])
          })
        )
      }))
  }

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
