/**
 * The boundary between tests and the harness: an Effect that a test runs by itself (`Effect.runPromise`, `runSync`,
 * `runFork`, a runtime of its own, an `async` test body or hook) has no virtual clock, no captured log, no scope that ends
 * with the test, and no seed.
 *
 * `scan` reads the syntax of a source, so that it also finds what never ran, under whatever name it was imported. A test
 * that is about the edge of the runtime says so in a comment, `// edge: <why>`, on the line, on the line above, or, for a
 * whole file, before the first import.
 *
 * **Limits.** Files are read one by one: what a function of another file runs is found there, if that file is scanned. A
 * test that returns a promise without being `async` is not seen.
 *
 * @since 0.1.0
 */
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import ts from "typescript"

/**
 * A place that leaves Effect's runtime.
 *
 * @since 0.1.0
 * @category models
 */
export interface Escape {
  readonly file: string
  /** from 1 */
  readonly line: number
  /** `run`: an Effect is run by hand · `async`: the body of a test or hook is an async function */
  readonly kind: "run" | "async"
  readonly text: string
}

const runs = new Set(["runPromise", "runPromiseExit", "runSync", "runSyncExit", "runFork", "runCallback"])
const blocks = new Set(["it", "test", "beforeAll", "beforeEach", "afterAll", "afterEach"])
const marker = /\/\/ edge: \S/

const isRun = (name: ts.Node | undefined): boolean =>
  name !== undefined && (ts.isIdentifier(name) || ts.isStringLiteralLike(name)) && runs.has(name.text)

/** What `it`, `it.effect`, `test.each(…)` and the like begin with. */
const head = (expression: ts.Expression): string | undefined =>
  ts.isIdentifier(expression)
    ? expression.text
    : ts.isPropertyAccessExpression(expression) || ts.isCallExpression(expression)
    ? head(expression.expression)
    : undefined

const isAsync = (node: ts.Node): boolean =>
  (ts.isArrowFunction(node) || ts.isFunctionExpression(node)) &&
  node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword) === true

/** The kind of escape that a node is, and the node that names it. */
const escapeAt = (
  node: ts.Node,
  runtimes: ReadonlySet<string>
): readonly [Escape["kind"], ts.Node] | undefined => {
  if (ts.isPropertyAccessExpression(node)) {
    // `Effect.runSync`, `runtime.runFork`, `program.pipe(Effect.runPromise)`
    if (isRun(node.name)) return ["run", node.name]
    // `ManagedRuntime.make`
    const isRuntime = ts.isIdentifier(node.expression) && runtimes.has(node.expression.text)
    if (isRuntime && node.name.text === "make") return ["run", node.name]
  }
  if (ts.isElementAccessExpression(node) && isRun(node.argumentExpression)) return ["run", node.argumentExpression]
  // `const { runPromise } = Effect`, `import { runPromise } from "effect/Effect"`
  if (ts.isBindingElement(node) && isRun(node.propertyName ?? node.name)) return ["run", node]
  if (ts.isImportSpecifier(node) && isRun(node.propertyName ?? node.name)) return ["run", node]
  if (ts.isCallExpression(node) && blocks.has(head(node.expression) ?? "")) {
    const body = node.arguments.find(isAsync)
    if (body !== undefined) return ["async", body]
  }
  return undefined
}

/** Under which names the file has `ManagedRuntime`. */
const runtimesOf = (file: ts.SourceFile): ReadonlySet<string> => {
  const names = new Set<string>()
  for (const statement of file.statements) {
    if (!ts.isImportDeclaration(statement) || !ts.isStringLiteral(statement.moduleSpecifier)) continue
    const bindings = statement.importClause?.namedBindings
    if (bindings === undefined) continue
    if (ts.isNamespaceImport(bindings)) {
      if (statement.moduleSpecifier.text === "effect/ManagedRuntime") names.add(bindings.name.text)
    } else if (statement.moduleSpecifier.text === "effect") {
      for (const { name, propertyName } of bindings.elements) {
        if ((propertyName ?? name).text === "ManagedRuntime") names.add(name.text)
      }
    }
  }
  return names
}

/**
 * The escapes in one source text, TypeScript or JavaScript by the ending of `file`.
 *
 * @since 0.1.0
 * @category checking
 */
export const scan = (file: string, source: string): ReadonlyArray<Escape> => {
  const parsed = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true)
  const lines = source.split("\n")
  const lineOf = (position: number) => parsed.getLineAndCharacterOfPosition(position).line
  const firstImport = parsed.statements.find(ts.isImportDeclaration)
  const preamble = firstImport === undefined ? [] : lines.slice(0, lineOf(firstImport.getStart(parsed)))
  if (preamble.some((line) => marker.test(line))) return []

  const runtimes = runtimesOf(parsed)
  const found: Array<Escape> = []
  const visit = (node: ts.Node): void => {
    const escape = escapeAt(node, runtimes)
    if (escape !== undefined) {
      const [kind, at] = escape
      const line = lineOf(at.getStart(parsed))
      if (!marker.test(lines[line]!) && !(line > 0 && marker.test(lines[line - 1]!))) {
        found.push({ file, line: line + 1, kind, text: lines[line]!.trim() })
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(parsed)
  return found
}

/**
 * The escapes in all files below `directories` whose name ends in `suffix`.
 *
 * @since 0.1.0
 * @category checking
 */
export const scanFiles = (
  directories: ReadonlyArray<string>,
  suffix = ".test.ts"
): ReadonlyArray<Escape> =>
  directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(suffix) && !name.includes("node_modules"))
      .map((name) => join(directory, name))
      .filter((path) => statSync(path).isFile())
      .flatMap((path) => scan(path, readFileSync(path, "utf8")))
  )

/**
 * One line for each escape.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (escapes: ReadonlyArray<Escape>): string =>
  escapes.map(({ file, kind, line, text }) =>
    `${file}:${line} ${kind === "run" ? "runs an Effect outside the harness" : "is an async test"}: ${text}`
  ).join("\n")
