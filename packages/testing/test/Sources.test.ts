/**
 * What the sources may use, read from their syntax: of the clocks, the one that nobody sets; of Effect, what has no window;
 * of assertions, those that can fail.
 */
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Data, Option } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = fileURLToPath(new URL("../../..", import.meta.url))

/** A use: which rule it breaks, and where. */
interface Use {
  readonly what: string
  readonly line: number
}

const nodesOf = (source: ts.SourceFile): ReadonlyArray<ts.Node> => {
  const nodes: Array<ts.Node> = []
  const visit = (node: ts.Node) => {
    nodes.push(node)
    ts.forEachChild(node, visit)
  }
  visit(source)
  return nodes
}

const scan = (text: string, whatIs: (node: ts.Node) => string | undefined): ReadonlyArray<Use> => {
  const source = ts.createSourceFile("a.ts", text, ts.ScriptTarget.Latest, true)
  return nodesOf(source).flatMap((node) => {
    const what = whatIs(node)
    return what === undefined ? [] : [{ what, line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1 }]
  })
}

const nameOf = (node: ts.Node): string | undefined =>
  ts.isIdentifier(node) || ts.isStringLiteralLike(node) ? node.text : undefined

// The wall clock

const wallNames = new Set(["currentTimeMillis", "unsafeCurrentTimeMillis", "startTimeMillis"])

const wallClock = (node: ts.Node): string | undefined => {
  if (ts.isNewExpression(node) && nameOf(node.expression) === "Date" && (node.arguments ?? []).length === 0) {
    return "new Date()"
  }
  if (ts.isPropertyAccessExpression(node) && node.name.text === "now") {
    const { expression } = node
    const of = ts.isPropertyAccessExpression(expression) ? expression.name : expression
    if (nameOf(of) === "Date") return "Date.now"
  }
  return ts.isIdentifier(node) && wallNames.has(node.text) ? node.text : undefined
}

/** Where the time of day is meant. What is compared, limited or waited for takes `Monotonic`. */
const mayReadTheTimeOfDay: Readonly<Record<string, string>> = {
  "packages/core/src/Audit.ts": "when a look was, for people",
  "packages/core/src/EventJournal.ts": "since when a journal has been connected, for people; its epoch",
  "packages/core/src/FiberRegistry.ts": "startedAt, and when a crash was, for people",
  "packages/core/src/Lifecycle.ts": "when a shutdown began, for people",
  "packages/core/src/Ticker.ts": "a schedule that speaks of the time of day",
  "packages/core/src/internal/bus/bus.ts": "Envelope.at; the lag of events that other processes wrote",
  "packages/core/src/internal/bus/handlers.ts": "DeadLetter.at",
  "packages/core/src/internal/bus/history.ts": "the age of stored events, which other processes dated",
  "packages/core/src/internal/bus/outbox.ts": "Envelope.at",
  "packages/core/src/internal/bus/retention.ts": "the age of stored events, which other processes dated",
  "packages/core/src/internal/bus/writer.ts": "Envelope.at",
  "packages/core/src/internal/cleanup/attempt.ts": "since when a fiber is abandoned, for people",
  "packages/core/src/internal/fibers/crashLog.ts": "the date of a log line",
  "packages/core/src/internal/fibers/survey.ts": "startedAt; the first guess at the age of a fiber that nobody stamped",
  "packages/core/src/internal/supervision/child.ts": "startedAt, and when a crash was, for people",
  "packages/core/src/internal/ticker/plan.ts": "a schedule that speaks of the time of day",
  "packages/http/src/Console.ts": "when the process started, for people",
  "packages/http/src/Inspector.ts": "when a picture was taken, for people",
  "packages/http/src/OperatorGuard.ts": "when an operator acted, for people",
  "packages/http/src/SseClient.ts": "Retry-After as a date",
  "packages/http/src/internal/console/census.ts": "since when something is wrong, for people, as the census dates it",
  "packages/http/src/internal/console/engine.ts": "when a picture was taken, for people",
  "packages/http/src/internal/console/process.ts": "how long the run before is spoken of, for people",
  "packages/http/src/internal/console/services.ts": "since when something is wrong, for people, as hubs date it",
  "packages/http/src/internal/hub/sessionTable.ts": "openedAt, for people; grants that end at a time of day",
  "packages/nats/src/NatsConnection.ts": "since when a connection is in its state, for people",
  "packages/nats/src/internal/connection.ts":
    "since when a connection is in its state, for people; steps of a schedule",
  "packages/nats/src/internal/journal.ts": "since when, for people; what the server dated",
  "packages/node/src/NodeLastShutdown.ts": "when a process ended, which another one reads",
  "packages/node/src/internal/server/refusal.ts": "the Date header",
  "packages/testing/src/FaultyPorts.ts": "a clock that is set while it is used",
  "packages/testing/src/SseTransportConformance.ts": "grants that end at a time of day",
  "packages/testing/src/internal/explore/globals.ts": "virtual time",
  "packages/testing/src/internal/explore/virtualClock.ts": "virtual time",
  "apps/mud/src/Tokens.ts": "tokens that end at a time of day, also over a restart"
}

// The windows of effect 3.22

const racyModules = new Set([
  "Cache",
  "FiberHandle",
  "FiberMap",
  "FiberSet",
  "KeyedPool",
  "Pool",
  "Queue",
  "RateLimiter",
  "RcMap",
  "RcRef",
  "Reloadable",
  "Resource",
  "ScopedCache",
  "SubscriptionRef",
  "SynchronizedRef"
])

const racyMembers = new Set([
  "cached",
  "cachedFunction",
  "cachedInvalidateWithTTL",
  "cachedWithTTL",
  "makeLatch",
  "makeSemaphore",
  "race",
  "raceAll",
  "raceFirst",
  "raceWith",
  "timeout",
  "timeoutFail",
  "timeoutFailCause",
  "timeoutOption",
  "timeoutTo",
  "unsafeMakeLatch",
  "unsafeMakeSemaphore"
])

const window = (node: ts.Node): string | undefined => {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    const [scope, module] = node.moduleSpecifier.text.split("/")
    if (scope !== "effect" || node.importClause?.isTypeOnly === true) return undefined
    if (module !== undefined && racyModules.has(module)) return module
  }
  if (ts.isImportSpecifier(node) && !node.isTypeOnly && !node.parent.parent.isTypeOnly) {
    const { moduleSpecifier } = node.parent.parent.parent
    const from = ts.isStringLiteral(moduleSpecifier) ? moduleSpecifier.text : ""
    const name = (node.propertyName ?? node.name).text
    if (from === "effect" && racyModules.has(name)) return name
    if (from === "effect/Effect" && racyMembers.has(name)) return `Effect.${name}`
  }
  if (ts.isPropertyAccessExpression(node)) {
    if (node.name.text.startsWith("withPermits")) return node.name.text
    if (nameOf(node.expression) === "Effect" && racyMembers.has(node.name.text)) return `Effect.${node.name.text}`
  }
  if (ts.isElementAccessExpression(node) && nameOf(node.expression) === "Effect") {
    const name = nameOf(node.argumentExpression)
    if (name !== undefined && racyMembers.has(name)) return `Effect.${name}`
  }
  return undefined
}

/** Bodies of tests, where nobody is interrupted. */
const mayUse: Readonly<Record<string, ReadonlyArray<string>>> = {
  "packages/testing/src/EventBusConformance.ts": ["Effect.makeLatch"],
  "packages/testing/src/SseTransportConformance.ts": ["Queue"]
}

// Finalizers of a fork that an interrupt before the first step leaves out

const forks = new Set(["fork", "forkDaemon", "forkIn", "forkScoped"])
const finalizers = new Set(["ensuring", "ensuringWith", "onExit", "onInterrupt"])

const calleeOf = (node: ts.Node | undefined): string | undefined => {
  const called = node !== undefined && ts.isCallExpression(node) ? node.expression : node
  if (called === undefined) return undefined
  if (!ts.isPropertyAccessExpression(called)) return nameOf(called)
  const isTheirs = called.name.text === "pipe" || ["Effect", "FiberRegistry"].includes(nameOf(called.expression) ?? "")
  return isTheirs ? called.name.text : undefined
}

/** `forkScoped(ensuring(…), …)`, and `….pipe(ensuring(…), forkScoped(…))`. */
const unheard = (node: ts.Node): string | undefined => {
  if (!ts.isCallExpression(node)) return undefined
  const name = calleeOf(node)
  const [before, after] = name === "pipe"
    ? node.arguments.flatMap((fork, index, all) =>
      index > 0 && forks.has(calleeOf(fork) ?? "") ? [[all[index - 1], fork] as const] : []
    )[0] ?? []
    : forks.has(name ?? "")
    ? [node.arguments[0], node] as const
    : []
  const [finalizer, fork] = [calleeOf(before), calleeOf(after)]
  return finalizer !== undefined && finalizers.has(finalizer) ? `${fork} of ${finalizer}` : undefined
}

// What the compiler gets wrong

/** TypeScript 5.9 and 6.0 write the statements behind it twice. */
const doubled = (node: ts.Node): string | undefined =>
  ts.isAwaitExpression(node) && node.expression.getText().startsWith("{") ? "await {" : undefined

// What chai's deep equality cannot tell apart

const chais = new Set(["@effect/vitest", "@holdfast/testing/Vitest", "chai", "vitest"])

/** What a file calls chai's `assert`. */
const assertsOf = (source: ts.SourceFile) =>
  source.statements.flatMap((statement) => {
    if (!ts.isImportDeclaration(statement) || !chais.has(nameOf(statement.moduleSpecifier) ?? "")) return []
    const bindings = statement.importClause?.namedBindings
    return bindings === undefined || !ts.isNamedImports(bindings)
      ? []
      : bindings.elements.filter(({ name, propertyName }) => (propertyName ?? name).text === "assert").map(({ name }) =>
        name.text
      )
  })

const isCompared = new Set(["Array", "Date", "Map", "RegExp", "Set", "URL"])

/** What takes the value out of an `Option`, or only asks whether there is one. */
const opens = /^(getOr|is(Some|None|Option)$|contains|exists$|match$|toArray$)/

const optionOf = (node: ts.Node | undefined): string | undefined => {
  const called = node !== undefined && ts.isCallExpression(node) ? node.expression : node
  return called !== undefined && ts.isPropertyAccessExpression(called) && nameOf(called.expression) === "Option"
    ? called.name.text
    : undefined
}

/**
 * An `Option`: one that is empty equals one that is not. An object of a class: chai does not look at the class, and of an
 * error at no field but name, message and code.
 */
const unequalled = (node: ts.Node): string | undefined => {
  if (ts.isCallExpression(node)) {
    // `Option.getOrNull(…)`, and `….pipe(…, Option.getOrElse(…))`
    if (opens.test(optionOf(node) ?? "") || opens.test(optionOf(node.arguments.at(-1)) ?? "")) return undefined
  }
  const option = ts.isPropertyAccessExpression(node) ? optionOf(node) : undefined
  if (option !== undefined && !opens.test(option)) return `Option.${option}`
  if (ts.isNewExpression(node)) {
    const name = node.expression.getText()
    if (!isCompared.has(name) && !name.endsWith("Array")) return `new ${name}`
  }
  return ts.forEachChild(node, unequalled)
}

const blind = (node: ts.Node): string | undefined => {
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return undefined
  const { expression, name } = node.expression
  if (!/deep/i.test(name.text) || !assertsOf(node.getSourceFile()).includes(nameOf(expression) ?? "")) return undefined
  for (const given of node.arguments.slice(0, 2)) {
    const what = unequalled(given)
    if (what !== undefined) return `${name.text} of ${what}`
  }
  return undefined
}

/** The examples of a page, each with what it imports. */
const examplesOf = (page: string) => [...page.matchAll(/^```ts.*\n([^]*?)^```$/gm)].map(([, code]) => code!)

const foldersOf = (group: string, folder = "src") =>
  readdirSync(join(root, group)).map((name) => join(group, name, folder))

const filesIn = (folders: ReadonlyArray<string>, kind = /\.ts$/) =>
  folders.filter((folder) => existsSync(join(root, folder))).flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => kind.test(file))
      .map((file) => join(folder, file).replaceAll("\\", "/"))
  )

const files = filesIn([...foldersOf("packages"), join("apps", "mud", "src")])

const usesByFile = (whatIs: (node: ts.Node) => string | undefined, among = files) =>
  among.flatMap((file) => {
    const uses = scan(readFileSync(join(root, file), "utf8"), whatIs)
    return uses.length === 0 ? [] : [[file, uses] as const]
  })

describe("sources", () => {
  it("are all looked at", () => {
    assert.isAbove(files.length, 150)
  })

  it("read the time of day only where it is meant", () => {
    const uses = usesByFile(wallClock)
    const stray = uses.filter(([file]) => mayReadTheTimeOfDay[file] === undefined)
    assert.deepStrictEqual(stray.map(([file, [{ line, what }]]) => `${file}:${line} ${what}: use Monotonic`), [])
    const found = new Set(uses.map(([file]) => file))
    assert.deepStrictEqual(Object.keys(mayReadTheTimeOfDay).filter((file) => !found.has(file)), [], "no longer needed")
  })

  it("use nothing of Effect that has a window", () => {
    const uses = usesByFile(window).flatMap(([file, found]) =>
      found.filter(({ what }) => mayUse[file]?.includes(what) !== true).map(({ line, what }) =>
        `${file}:${line} ${what}`
      )
    )
    assert.deepStrictEqual(uses, [], "see the table in docs/design.md for what to use instead")
  })

  it("tell those who wait for a fiber however it ends", () => {
    // but for `forkFinally` itself
    const uses = usesByFile(unheard).filter(([file]) => file !== "packages/core/src/FiberRegistry.ts").flatMap((
      [file, found]
    ) => found.map(({ line, what }) => `${file}:${line} ${what}`))
    assert.deepStrictEqual(
      uses,
      [],
      "interrupted before its first step, it runs no finalizer: FiberRegistry.forkFinally"
    )
    for (
      const [source, what] of [
        [`Effect.forkScoped(Effect.ensuring(run, end))`, "forkScoped of ensuring"],
        [`FiberRegistry.forkIn(Effect.onExit(run, end), scope, options)`, "forkIn of onExit"],
        [`run.pipe(Effect.onInterrupt(end), FiberRegistry.forkScoped(options))`, "forkScoped of onInterrupt"],
        [`run.pipe(Effect.ensuring(end), Effect.fork)`, "fork of ensuring"],
        [`pipe(run, Effect.ensuring(end), Effect.forkIn(scope))`, "forkIn of ensuring"]
      ] as const
    ) assert.deepStrictEqual(scan(source, unheard).map((use) => use.what), [what], source)
    for (
      const source of [
        `FiberRegistry.forkFinally(run, options, end)`,
        `Effect.ensuring(Effect.forkScoped(run), end)`,
        `run.pipe(Effect.forkScoped, Effect.ensuring(end))`
      ]
    ) assert.deepStrictEqual(scan(source, unheard), [], source)
  })

  it("await no object that is written there", () => {
    const uses = usesByFile(doubled, filesIn([...foldersOf("packages"), ...foldersOf("apps")]))
    assert.deepStrictEqual(uses, [], "the compiler writes what comes behind it twice: give the object a name")
    for (const source of [`await { a: one }[name]!()`, `const port = await {}.constructor()`]) {
      assert.deepStrictEqual(scan(`export {}\n${source}`, doubled).map(({ what }) => what), ["await {"], source)
    }
    assert.deepStrictEqual(scan("await servers[name]()", doubled), [])
  })

  it("compare what chai cannot tell apart with what can", () => {
    const tests = filesIn(
      [
        ...foldersOf("packages"),
        ...foldersOf("apps"),
        ...foldersOf("packages", "test"),
        ...foldersOf("apps", "test"),
        "scripts"
      ],
      /\.(ts|mjs|js)$/
    )
    const pages = [
      "README.md",
      ...[...foldersOf("packages", "README.md"), ...foldersOf("apps", "README.md")].filter((page) =>
        existsSync(join(root, page))
      ),
      ...filesIn(["docs"], /\.md$/)
    ]
    const uses = [
      ...usesByFile(blind, tests).flatMap(([file, found]) => found.map(({ line, what }) => `${file}:${line} ${what}`)),
      ...pages.flatMap((page) =>
        examplesOf(readFileSync(join(root, page), "utf8")).flatMap((code) =>
          scan(code, blind).map(({ what }) => `${page} ${what}`)
        )
      )
    ]
    assert.deepStrictEqual(uses, [], "chai takes one for another: see docs/testing.md for what to use instead")
    for (
      const [source, what] of [
        [`assert.deepStrictEqual(yield* load, Option.none())`, "deepStrictEqual of Option.none"],
        [`assert.deepEqual([Option.some(1)], all)`, "deepEqual of Option.some"],
        [`assert.deepStrictEqual(all, [1].map((one) => Option.some(one)))`, "deepStrictEqual of Option.some"],
        [`assert.deepInclude(found, { last: Option.fromNullable(last) })`, "deepInclude of Option.fromNullable"],
        [`assert.deepStrictEqual(all.map(Option.some), all)`, "deepStrictEqual of Option.some"],
        [`assert.deepStrictEqual(exit, Exit.fail(new Sse.TooLarge({ limit })))`, "deepStrictEqual of new Sse.TooLarge"],
        [`assert.notDeepEqual(error, new Error("no"))`, "notDeepEqual of new Error"]
      ] as const
    ) {
      for (const from of chais) {
        const text = `import { assert, it } from "${from}"\n${source}`
        assert.deepStrictEqual(scan(text, blind), [{ what, line: 2 }], text)
      }
    }
    assert.deepStrictEqual(
      scan(`import { assert as a } from "vitest"\na.deepEqual(one, Option.none())`, blind).map((use) => use.what),
      ["deepEqual of Option.none"]
    )
    for (
      const source of [
        `assert.deepStrictEqual(Option.getOrNull(yield* load), { a: 1 })`,
        `assert.deepStrictEqual(Option.getOrNull(Option.map(load, size)), 1)`,
        `assert.deepStrictEqual(load.pipe(Option.map(size), Option.getOrElse(() => 0)), 1)`,
        `assert.deepStrictEqual(all.map(Option.isSome), [true])`,
        `assert.deepStrictEqual([refused.option], ["capacity"])`,
        `assert.deepStrictEqual(exit, Exit.fail("no"))`,
        `assert.deepStrictEqual(bytes, new Uint8Array([1]))`,
        `assert.deepStrictEqual(new Set(codes), new Set([1001]))`,
        `assert.deepStrictEqual(rows, [], Option.none())`,
        `deepStrictEqual(yield* load, Option.none())`,
        `assertNone(yield* load)`
      ]
    ) assert.deepStrictEqual(scan(`import { assert } from "@effect/vitest"\n${source}`, blind), [], source)
    for (const from of [`import assert from "node:assert"`, `import * as assert from "node:assert"`]) {
      assert.deepStrictEqual(scan(`${from}\nassert.deepStrictEqual(one, Option.none())`, blind), [], from)
    }
  })

  it("are told when chai can tell them apart", () => {
    class Refused extends Data.TaggedError("Refused")<{ readonly limit: number }> {}
    for (
      const [one, other] of [
        [Option.none(), Option.some(1)],
        [[Option.none()], [Option.some(1)]],
        [new Refused({ limit: 1 }), new Refused({ limit: 2 })]
      ]
    ) {
      assert.doesNotThrow(() => assert.deepStrictEqual(one, other), undefined, "chai has been mended: the rule can go")
      assert.throws(() => deepStrictEqual(one, other))
    }
  })

  it("are seen, whatever they are called with", () => {
    for (
      const [source, what] of [
        [`const at = Date.now()`, "Date.now"],
        [`globalThis.Date.now()`, "Date.now"],
        [`const at = new Date()`, "new Date()"],
        [`import { currentTimeMillis } from "effect/Clock"`, "currentTimeMillis"],
        [`clock.unsafeCurrentTimeMillis()`, "unsafeCurrentTimeMillis"],
        [`const { startTimeMillis } = fiber.id()`, "startTimeMillis"]
      ] as const
    ) assert.deepStrictEqual(scan(source, wallClock).map((use) => use.what), [what], source)
    for (const source of [`new Date(0)`, `// Date.now()`, `const text = "Date.now()"`, `Date.parse(text)`]) {
      assert.deepStrictEqual(scan(source, wallClock), [], source)
    }
    for (
      const [source, what] of [
        [`import * as Q from "effect/Queue"`, "Queue"],
        [`import { Queue } from "effect"`, "Queue"],
        [`import { Pool as P } from "effect"`, "Pool"],
        [`import { race as r } from "effect/Effect"`, "Effect.race"],
        [`self.pipe(Effect.timeout("1 second"))`, "Effect.timeout"],
        [`Effect["cached"](self)`, "Effect.cached"],
        [`lock.withPermits(1)(self)`, "withPermits"],
        [`lock.withPermitsIfAvailable(1)`, "withPermitsIfAvailable"]
      ] as const
    ) assert.deepStrictEqual(scan(source, window).map((use) => use.what), [what], source)
    for (
      const source of [
        `import type { Queue } from "effect"`,
        `import { type Queue } from "effect"`,
        `import type * as Queue from "effect/Queue"`,
        `Race.timeoutFail(self)`,
        `// Effect.race`
      ]
    ) assert.deepStrictEqual(scan(source, window), [], source)
  })
})
