/**
 * What the packages export, read from their sources: for the check of the docstrings, for the examples in them, and for the
 * reference on the site. Declarations come from the built `.d.ts` files, where inferred types are spelled out.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

export const root = fileURLToPath(new URL("../..", import.meta.url))

const parse = (file) => ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true)

/** The last docstring before a node, without its stars. */
const docOf = (source, node) => {
  const before = source.text.slice(node.getFullStart(), node.getStart(source))
  const last = [...before.matchAll(/\/\*\*[^]*?\*\//g)].at(-1)?.[0]
  return last === undefined ? undefined : readDoc(last)
}

/** @returns {{ text: string, tags: Record<string, string | undefined>, examples: string[] }} */
const readDoc = (comment) => {
  const body = comment.replace(/^\/\*\*|\*\/$/g, "").replace(/^[ \t]*\* ?/gm, "").trim()
  const parts = body.split(/^(?=@\w)/m)
  const [text, ...rest] = body.startsWith("@") ? ["", ...parts] : parts
  const tags = Object.fromEntries(rest.map((tag) => [/^@(\w+)/.exec(tag)[1], tag.replace(/^@\w+\s*/, "").trim()]))
  const examples = [...body.matchAll(/^```ts(?<flags>[^\n]*)\n(?<code>.*?)^```$/gms)].map(({ groups }) => groups)
  return { text: text.trim(), tags, examples }
}

const isExported = (node) =>
  ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)

const namesOf = (statement) =>
  statement.name !== undefined
    ? [statement.name.text]
    : statement.declarationList.declarations.map(({ name }) => name.getText())

const read = new Map()

/** What one file exports by itself, and what it takes over from another. */
const exportsOf = (file) => {
  const known = read.get(file)
  if (known !== undefined) return known
  const found = readExports(file)
  read.set(file, found)
  return found
}

const readExports = (file) => {
  const source = parse(file)
  const own = []
  const taken = []
  const imported = new Map()
  for (const statement of source.statements) {
    const names = ts.isImportDeclaration(statement) ? statement.importClause?.namedBindings : undefined
    if (names === undefined || !ts.isNamedImports(names)) continue
    for (const one of names.elements) {
      const original = (one.propertyName ?? one.name).text
      imported.set(one.name.text, { from: statement.moduleSpecifier.text, original })
    }
  }
  for (const statement of source.statements) {
    if (isExported(statement)) {
      for (const name of namesOf(statement)) {
        own.push({ name, doc: docOf(source, statement), node: statement, source })
      }
    } else if (ts.isExportDeclaration(statement) && statement.exportClause && ts.isNamedExports(statement.exportClause)) {
      for (const one of statement.exportClause.elements) {
        const original = (one.propertyName ?? one.name).text
        const from = statement.moduleSpecifier?.text
        taken.push({
          name: one.name.text,
          ...(from === undefined ? imported.get(original) : { from, original }),
          doc: docOf(source, one) ?? docOf(source, statement)
        })
      }
    }
  }
  const first = /^\s*(\/\*\*[^]*?\*\/)/.exec(source.text)?.[1]
  return { own, taken, doc: first === undefined ? undefined : readDoc(first) }
}

const isOwn = (specifier) => specifier?.startsWith("./") || specifier?.startsWith("../")

/** Fills a name that was taken over with what is said of it at home. */
const follow = (file, { from, original }) => {
  const [built, ending] = file.endsWith(".d.ts") ? ["dist", ".d.ts"] : ["src", ".ts"]
  const sibling = /^@holdfast\/(\w+)\/(\w+)$/.exec(from ?? "")
  if (sibling === null && !isOwn(from)) return undefined
  const target = sibling === null
    ? join(dirname(file), from.replace(/\.js$/, ending))
    : join(root, "packages", sibling[1], built, `${sibling[2]}${ending}`)
  if (!existsSync(target)) return undefined
  const { own, taken } = exportsOf(target)
  const found = own.find(({ name }) => name === original)
  if (found !== undefined) return { ...found, file: target }
  const next = taken.find(({ name }) => name === original)
  return next === undefined ? undefined : follow(target, next)
}

const order = ["core", "http", "node", "nats", "testing"]

export const packages = readdirSync(join(root, "packages"))
  .filter((name) => existsSync(join(root, "packages", name, "src", "index.ts")))
  .sort((a, b) => order.indexOf(a) - order.indexOf(b))

/** Every module that can be imported, with its exports: docstrings from the sources. */
export const modules = () =>
  packages.flatMap((pkg) => {
    const src = join(root, "packages", pkg, "src")
    const barrel = readFileSync(join(src, "index.ts"), "utf8")
    return readdirSync(src).filter((file) => file.endsWith(".ts") && file !== "index.ts").sort().map((file) => {
      const name = file.slice(0, -3)
      const path = join(src, file)
      const { doc, own, taken } = exportsOf(path)
      const exports = [
        ...own.filter(({ doc }) => doc?.tags.internal === undefined).map(({ doc, name }) => ({ name, doc })),
        ...taken.map((one) => {
          const home = follow(path, one)
          return {
            name: one.name,
            home: home?.file,
            doc: one.doc?.text && one.doc.tags.category ? one.doc : home?.doc ?? one.doc
          }
        })
      ]
      return { pkg, name, path, doc, exports, inBarrel: barrel.includes(`as ${name} from`) }
    })
  })

/** The declaration of each export of a module, as the built types have it. */
export const declarations = ({ name, pkg }) => {
  const file = join(root, "packages", pkg, "dist", `${name}.d.ts`)
  if (!existsSync(file)) throw new Error(`${file} is missing: build first (npm run check)`)
  const { own, taken } = exportsOf(file)
  const found = new Map()
  const add = (name, one) => {
    if (one === undefined) return
    const text = one.node.getText(one.source).replace(/^export (declare )?/, "").replace(/^(default )?declare /, "")
    found.set(name, [...(found.get(name) ?? []), text])
  }
  for (const one of own) add(one.name, one)
  for (const one of taken) add(one.name, follow(file, one))
  return found
}

/** What is missing in the docstrings: lines that say where. */
export const problems = (all = modules()) =>
  all.flatMap((module) => {
    const at = `packages/${module.pkg}/src/${module.name}.ts`
    const found = []
    if (!module.doc?.text) found.push(`${at}: the module has no description`)
    // A name may stand for a type and a value: what is said of one holds for both.
    for (const name of new Set(module.exports.map((one) => one.name))) {
      const docs = module.exports.filter((one) => one.name === name).map(({ doc }) => doc)
      if (!docs.some((doc) => doc?.text)) found.push(`${at}: ${name} has no description`)
      for (const tag of ["since", "category"]) {
        if (!docs.some((doc) => doc?.tags[tag])) found.push(`${at}: ${name} has no @${tag}`)
      }
    }
    const makes = module.exports.some(({ doc }) => /^(constructors|layers)$/.test(doc?.tags.category ?? ""))
    const examples = [module, ...module.exports].flatMap(({ doc }) => doc?.examples ?? [])
    if (module.inBarrel && makes && examples.length === 0) found.push(`${at}: no @example, although it has constructors`)
    return found
  })

/** Every example in a docstring, for the tests that run them. */
export const examples = () =>
  modules().flatMap((module) =>
    [module, ...module.exports.filter(({ home }) => home === undefined)].flatMap(({ doc, name }) =>
      (doc?.examples ?? []).map(({ code, flags }, index) => ({
        document: `packages/${module.pkg}/src/${module.name}.ts`,
        name: `${name}${index === 0 ? "" : index}`,
        flags,
        code
      }))
    )
  )
