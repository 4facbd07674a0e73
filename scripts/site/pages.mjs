/**
 * The pages of the site: the documents as they are, with links that lead to pages, and a reference made from the docstrings.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join, posix } from "node:path"
import { declarations, modules, packages, root } from "./api.mjs"

/** GitHub's anchors, which the documents are written for. */
export const slug = (heading) =>
  heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-")

/** Where a file of the repository is on the site. */
const addressOf = (path) => {
  const source = /^packages\/(\w+)\/src\/(\w+)\.ts$/.exec(path)
  if (source !== null) return `api/${source[1]}/${source[2]}.md`
  const readme = /^packages\/(\w+)\/README\.md$/.exec(path)
  if (readme !== null) return `api/${readme[1]}/index.md`
  if (path === "README.md") return "index.md"
  if (path === "apps/examples/README.md") return "examples.md"
  return /^docs\/[\w/-]+\.(md|png)$/.test(path) ? path.slice("docs/".length) : undefined
}

export const outsideCode = (text, change) =>
  text.split(/(^```.*?^```$)/gms).map((part, index) => index % 2 === 1 ? part : change(part)).join("")

/** The same text with its links brought onto the site. What is not on it stays as a word; marks for tools are left out. */
const moved = (text, from) =>
  outsideCode(text, (part) =>
    part.replace(/<!--.*?-->\n?/gs, "").replace(/(!?)\[((?:[^\]\\]|\\.)*)\]\(([^)\s]+)\)/g, (whole, image, label, target) => {
      if (/^(https?:|mailto:|#)/.test(target)) return whole
      const [path, anchor] = target.split("#")
      const address = addressOf(posix.normalize(posix.join(posix.dirname(from), path)))
      if (address === undefined) return label
      return `${image}[${label}](/${address}${anchor === undefined ? "" : `#${anchor}`})`
    }))

/** Docstrings may hold what HTML takes for a tag. */
const prose = (text) => text.replace(/^```(ts|txt)?[^\n]*$/gm, (fence) => fence)

const exportSection = (module, name, found) => {
  const said = module.exports.filter((one) => one.name === name)
  const { doc, home } = said.find(({ doc }) => doc?.text) ?? said[0]
  const since = doc?.tags.since
  const declared = found.get(name) ?? []
  const elsewhere = /packages\/(\w+)\/src\/(\w+)\.ts$/.exec(home ?? "")
  const examples = (doc?.examples ?? []).map(({ code }) => `\n\`\`\`ts\n${code}\`\`\`\n`).join("")
  return [
    `### ${name}`,
    "",
    prose(doc?.text ?? ""),
    "",
    ...declared.map((text) => `\`\`\`ts\n${text}\n\`\`\`\n`),
    examples === "" ? "" : `**Example**\n${examples}`,
    `*${[doc?.tags.category, since === undefined ? "" : `since ${since}`].filter(Boolean).join(", ")}*`,
    elsewhere === null ? "" : `\nAlso [${elsewhere[2]}.${name}](/api/${elsewhere[1]}/${elsewhere[2]}.md#${slug(name)}).`,
    ""
  ].join("\n")
}

const categories = ["constructors", "layers", "routes", "combinators", "tags", "options", "errors", "models"]
const rank = (category) => {
  const at = categories.indexOf(category)
  return at === -1 ? categories.length : at
}

const modulePage = (module) => {
  const found = declarations(module)
  const byCategory = new Map()
  for (const name of new Set(module.exports.map((one) => one.name))) {
    const category = module.exports.filter((one) => one.name === name).map(({ doc }) => doc?.tags.category).find(Boolean)
    byCategory.set(category ?? "other", [...(byCategory.get(category ?? "other") ?? []), name])
  }
  const sections = [...byCategory].sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1))
  const importLine = module.inBarrel
    ? `import { ${module.name} } from "@holdfast/${module.pkg}"`
    : `import * as ${module.name} from "@holdfast/${module.pkg}/${module.name}"`
  const examples = (module.doc?.examples ?? []).map(({ code }) => `\n**Example**\n\n\`\`\`ts\n${code}\`\`\`\n`).join("")
  return [
    `# ${module.name}`,
    "",
    `\`\`\`ts\n${importLine}\n\`\`\``,
    "",
    prose(module.doc?.text ?? ""),
    examples,
    ...sections.map(([category, names]) =>
      [`## ${category}`, "", ...names.map((name) => exportSection(module, name, found))].join("\n")
    )
  ].join("\n")
}

/** The guides in the order in which one reads them. */
export const guides = [
  ["Begin", ["adopting", "packages", "configuration", "node", "http-api", "managed-runtime", "bundling", "asyncio", "effect-4"]],
  ["Core", ["supervision", "shutdown", "events", "ticker", "storage"]],
  ["Web", ["http", "sse"]],
  ["Operate", ["deployment", "console", "troubleshooting"]],
  ["Test", ["testing", "load"]],
  ["More", ["design", "evidence"]]
]

const documents = () => readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).sort()
const read = (path) => readFileSync(join(root, path), "utf8")
const titleOf = (text, fallback) => /^# (.+)$/m.exec(text)?.[1].replaceAll("`", "") ?? fallback

/** @returns {Map<string, string>} Pages by their address. */
export const pages = () => {
  const all = new Map()
  all.set("index.md", moved(read("README.md"), "README.md"))
  all.set("examples.md", moved(read("apps/examples/README.md"), "apps/examples/README.md"))
  for (const name of documents()) all.set(name, moved(read(`docs/${name}`), `docs/${name}`))
  const known = modules()
  for (const pkg of packages) {
    const mine = known.filter((module) => module.pkg === pkg)
    const list = mine.filter(({ exports }) => exports.length > 0).map((module) =>
      `| [${module.name}](/api/${pkg}/${module.name}.md) | ${(module.doc?.text ?? "").split(/(?<=[.:])\s/)[0].replace(/\s+/g, " ").replaceAll("|", "\\|")} |`
    )
    all.set(
      `api/${pkg}/index.md`,
      `${moved(read(`packages/${pkg}/README.md`), `packages/${pkg}/README.md`)}\n## Modules\n\n| module | |\n| --- | --- |\n${list.join("\n")}\n`
    )
    for (const module of mine) {
      if (module.exports.length > 0) all.set(`api/${pkg}/${module.name}.md`, modulePage(module))
    }
  }
  return all
}

/** The sidebar: guides in their order, whatever has no place in it at the end, then the reference. */
export const sidebar = (all) => {
  const placed = new Set(guides.flatMap(([, names]) => names))
  const rest = documents().map((name) => name.slice(0, -3)).filter((name) => !placed.has(name))
  const item = (name) => ({ text: titleOf(all.get(`${name}.md`), name), link: `/${name}` })
  return [
    ...guides.map(([text, names]) => ({
      text,
      items: [...names, ...(text === "More" ? rest : [])].filter((name) => all.has(`${name}.md`)).map(item)
    })),
    { text: "Examples", link: "/examples" },
    ...packages.map((pkg) => ({
      text: `@holdfast/${pkg}`,
      collapsed: true,
      link: `/api/${pkg}/`,
      items: [...all.keys()].filter((path) => path.startsWith(`api/${pkg}/`) && !path.endsWith("/index.md")).map((
        path
      ) => ({ text: path.split("/").at(-1).slice(0, -3), link: `/${path.slice(0, -3)}` }))
    }))
  ]
}

/** The anchors of a page, as GitHub and the site give them: the second of one name ends in `-1`. */
export const anchorsOf = (text) => {
  const seen = new Map()
  const anchors = new Set()
  for (const [, heading] of outsideCode(text, (part) => part).replace(/^```.*?^```$/gms, "").matchAll(/^#{1,6} (.+)$/gm)) {
    const id = slug(heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1"))
    const times = seen.get(id) ?? 0
    seen.set(id, times + 1)
    anchors.add(times === 0 ? id : `${id}-${times}`)
  }
  return anchors
}

/** Links of a Markdown text, outside of code. */
export const linksOf = (text) =>
  [...text.replace(/^```.*?^```$/gms, "").replace(/`[^`\n]*`/g, "").matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target)

/** Links that lead nowhere, on the site. */
export const brokenLinks = (all) =>
  [...all].flatMap(([path, text]) =>
    linksOf(text).filter((target) => !/^(https?:|mailto:)/.test(target)).flatMap((target) => {
      const [page, anchor] = target.split("#")
      const address = page === "" ? path : page.replace(/^\//, "")
      if (/\.(png|svg)$/.test(address)) return []
      const there = all.get(address)
      if (there === undefined) return [`${path}: ${target}: no such page`]
      return anchor === undefined || anchorsOf(there).has(anchor) ? [] : [`${path}: ${target}: no such heading`]
    })
  )
