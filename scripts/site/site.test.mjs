// What the site needs to be built and read: docstrings that are complete, and links that lead somewhere.
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import assert from "node:assert"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { modules, problems, root } from "./api.mjs"
import { anchorsOf, brokenLinks, guides, linksOf, outsideCode, pages } from "./pages.mjs"

const documents = [
  "README.md",
  "apps/examples/README.md",
  ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`),
  ...readdirSync(join(root, "packages")).map((name) => `packages/${name}/README.md`)
]

describe("documents", () => {
  it.effect("every export has a description, a version and a category, and every module with constructors an example", () =>
    Effect.sync(() => assert.deepStrictEqual(problems(), [])))

  it.effect("what is missing in a docstring is found", () =>
    Effect.sync(() => {
      const doc = { text: "Something.", tags: { since: "0.1.0", category: "constructors" }, examples: [] }
      const module = { pkg: "core", name: "Some", inBarrel: true, doc, exports: [{ name: "make", doc }] }
      const missing = (changed) => problems([{ ...module, exports: [{ name: "make", doc: { ...doc, ...changed } }] }])
      assert.deepStrictEqual(missing({ examples: [{ code: "1" }] }), [])
      assert.match(missing({}).join(), /no @example/)
      assert.match(missing({ text: "" }).join(), /make has no description/)
      assert.match(missing({ tags: { category: "models" } }).join(), /make has no @since/)
      assert.match(missing({ tags: { since: "0.1.0" } }).join(), /make has no @category/)
    }))

  for (const document of documents) {
    it.effect(`${document}: every link leads to a file and a heading`, () =>
      Effect.sync(() => {
        const text = readFileSync(join(root, document), "utf8")
        const broken = linksOf(text).filter((target) => !/^(https?:|mailto:)/.test(target)).filter((target) => {
          const [path, anchor] = target.split("#")
          const file = path === "" ? join(root, document) : join(root, dirname(document), path)
          if (!existsSync(file)) return true
          return anchor !== undefined && !anchorsOf(readFileSync(file, "utf8")).has(anchor)
        })
        assert.deepStrictEqual(broken, [])
      }))
  }

  it.effect("the site has a page for each document and each module, and no link that leads nowhere", () =>
    Effect.sync(() => {
      const all = pages()
      assert.deepStrictEqual(brokenLinks(all), [])
      for (const { exports, name, pkg } of modules()) {
        if (exports.length > 0) assert(all.get(`api/${pkg}/${name}.md`).includes("```ts"), `${pkg}/${name}`)
      }
      // HTML is shown as it is written
      const prose = [...all].map(([path, text]) => {
        let found = ""
        outsideCode(text, (part) => found += part)
        return { path, found }
      })
      assert.deepStrictEqual(prose.filter(({ found }) => found.includes("<!--")).map(({ path }) => path), [])
      // a guide that is moved or renamed is missed here
      const named = guides.flatMap(([, names]) => names)
      assert.deepStrictEqual(named.filter((name) => !all.has(`${name}.md`)), [])
      assert.match(brokenLinks(new Map([...all, ["x.md", "[a](/nowhere.md)"]])).join(), /no such page/)
      assert.match(brokenLinks(new Map([...all, ["x.md", "[a](#nowhere)"]])).join(), /no such heading/)
    }))
})
