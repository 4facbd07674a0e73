// Builds the site of the documents into `site/`: `npm run docs`. With `--serve` it is shown on loopback instead.
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { build, createServer } from "vitepress"
import { root } from "./api.mjs"
import { brokenLinks, pages } from "./pages.mjs"

const source = join(root, ".cache", "site")
const all = pages()
const broken = brokenLinks(all)
if (broken.length > 0) throw new Error(`links that lead nowhere:\n${broken.join("\n")}`)

rmSync(source, { recursive: true, force: true })
for (const [path, text] of all) {
  mkdirSync(dirname(join(source, path)), { recursive: true })
  writeFileSync(join(source, path), text)
}
cpSync(join(root, "docs", "images"), join(source, "images"), { recursive: true })

const here = fileURLToPath(new URL(".", import.meta.url))
if (process.argv.includes("--serve")) {
  const server = await createServer(here, { host: "127.0.0.1" })
  await server.listen()
  server.printUrls()
} else {
  await build(here)
  process.stdout.write(`${join(root, "site", "index.html")}\n`)
}
