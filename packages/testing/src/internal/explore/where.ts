/**
 * Where a function is written, for programs of nested functions: no stack leads there, since the run loop calls them one by
 * one. Node's inspector knows the place of any function, and what it has captured, so that a function of effect leads to the
 * one that it was given (`Effect.map(self, f)` captures `f`). It costs about half a millisecond a function: for the one replay
 * that is told.
 */
import * as Inspector from "node:inspector"
import { findSourceMap } from "node:module"
import * as Place from "../place.js"

/** Functions of a run that are looked up at most. */
const maxLookUps = 500
/** How many functions deep what is captured is followed. */
const maxDepth = 3

const holder = Symbol.for("@holdfast/testing/where")

interface RemoteValue {
  readonly objectId?: string
  readonly type: string
  readonly description?: string
  readonly value?: { readonly scriptId: string; readonly lineNumber: number; readonly columnNumber: number }
}

interface Property {
  readonly name: string
  readonly value?: RemoteValue
}

interface Properties {
  readonly result: ReadonlyArray<Property>
  readonly internalProperties?: ReadonlyArray<Property>
}

/** A frame as `Error.prepareStackTrace` expects it: whoever maps stacks to sources maps this one, too. */
class Frame {
  constructor(private readonly file: string, private readonly line: number, private readonly column: number) {}
  getFileName() {
    return this.file
  }
  getScriptNameOrSourceURL() {
    return this.file
  }
  getLineNumber() {
    return this.line
  }
  getColumnNumber() {
    return this.column
  }
  toString() {
    return `${this.file}:${this.line}:${this.column}`
  }
}

for (const name of ["getFunctionName", "getMethodName", "getTypeName", "getPromiseIndex"]) {
  Object.assign(Frame.prototype, { [name]: () => null })
}
for (const name of ["getThis", "getFunction", "getEvalOrigin", "getScriptHash"]) {
  Object.assign(Frame.prototype, { [name]: () => undefined })
}
for (const name of ["isNative", "isConstructor", "isEval", "isAsync", "isPromiseAll", "isToplevel"]) {
  Object.assign(Frame.prototype, { [name]: () => false })
}

const placed = (file: string, line: number, column: number): string | undefined => {
  const prepare = Error.prepareStackTrace
  if (typeof prepare === "function") {
    const stack: unknown = prepare(new Error(), [new Frame(file, line, column) as unknown as NodeJS.CallSite])
    if (typeof stack === "string") return Place.showUser({ stack })
  }
  const entry = findSourceMap(file)?.findEntry(line - 1, column - 1)
  return Place.showUser({
    stack: entry !== undefined && "originalSource" in entry
      ? `    at ${entry.originalSource}:${entry.originalLine + 1}:${entry.originalColumn + 1}`
      : `    at ${file}:${line}:${column}`
  })
}

export interface Where {
  /** `file:line` of user code, if the function leads to one place there */
  readonly of: (fn: unknown) => string | undefined
  readonly stop: () => void
}

/** Without an inspector in this build of Node nothing is known. */
const nowhere: Where = { of: () => undefined, stop: () => {} }

class Inspecting implements Where {
  private readonly scripts = new Map<string, string>()
  private readonly known = new WeakMap<object, string | false>()
  private left = maxLookUps

  constructor(private readonly session: Inspector.Session) {
    session.on("Debugger.scriptParsed", ({ params }) => this.scripts.set(params.scriptId, params.url))
    this.learn()
  }

  /** Enabled for a moment, the debugger tells of all scripts that there are. */
  private learn() {
    this.session.post("Debugger.enable")
    this.session.post("Debugger.disable")
  }

  readonly of = (fn: unknown): string | undefined => {
    if (typeof fn !== "function" || fn.constructor?.name === "GeneratorFunction") return undefined
    const before = this.known.get(fn)
    if (before !== undefined) return before === false ? undefined : before
    if (this.left-- <= 0) return undefined
    const place = this.lookUp(fn)
    this.known.set(fn, place ?? false)
    return place
  }

  readonly stop = (): void => this.session.disconnect()

  private post<A>(method: string, params: object): A | undefined {
    let result: A | undefined
    this.session.post(method, params, (_error, value) => {
      result = value as A
    })
    return result
  }

  private lookUp(fn: object): string | undefined {
    const all = globalThis as { [holder]?: unknown }
    all[holder] = fn
    try {
      const evaluated = this.post<{ readonly result: RemoteValue }>("Runtime.evaluate", {
        expression: `globalThis[Symbol.for(${JSON.stringify(Symbol.keyFor(holder))})]`,
        objectGroup: "where"
      })
      const places = new Set<string>()
      this.follow(evaluated?.result, maxDepth, places)
      const [place] = places
      return places.size === 1 ? place : undefined
    } finally {
      delete all[holder]
      this.post("Runtime.releaseObjectGroup", { objectGroup: "where" })
    }
  }

  private properties(value: RemoteValue | undefined): Properties | undefined {
    return value?.objectId === undefined
      ? undefined
      : this.post<Properties>("Runtime.getProperties", { objectId: value.objectId, ownProperties: true })
  }

  private follow(value: RemoteValue | undefined, depth: number, places: Set<string>): void {
    const properties = this.properties(value)
    const internal = (name: string) => properties?.internalProperties?.find((property) => property.name === name)?.value
    const location = internal("[[FunctionLocation]]")?.value
    if (location === undefined) return
    if (!this.scripts.has(location.scriptId)) this.learn()
    const file = this.scripts.get(location.scriptId)
    const place = file === undefined || file === ""
      ? undefined
      : placed(file, location.lineNumber + 1, location.columnNumber + 1)
    if (place !== undefined) {
      places.add(place)
      return
    }
    if (depth === 0) return
    const scope = this.properties(internal("[[Scopes]]"))?.result.find(({ name }) => name === "0")?.value
    if (scope?.description?.startsWith("Closure") !== true) return
    for (const captured of this.properties(scope)?.result ?? []) {
      if (captured.value?.type === "function") this.follow(captured.value, depth - 1, places)
    }
  }
}

/** Begins to look up places. */
export const make = (): Where => {
  try {
    const session = new Inspector.Session()
    session.connect()
    return new Inspecting(session)
  } catch {
    return nowhere
  }
}
