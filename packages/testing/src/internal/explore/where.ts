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
  readonly className?: string
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

const placed = (file: string, line: number, column: number): Place.Place => {
  const entry = findSourceMap(file)?.findEntry(line - 1, column - 1)
  if (entry !== undefined && "originalSource" in entry) {
    return { stack: `    at ${entry.originalSource}:${entry.originalLine + 1}:${entry.originalColumn + 1}` }
  }
  // whoever compiles in memory, as vitest does, maps stacks of its own
  const prepare = Error.prepareStackTrace
  if (typeof prepare === "function") {
    const stack: unknown = prepare(new Error(), [new Frame(file, line, column) as unknown as NodeJS.CallSite])
    if (typeof stack === "string") return { stack }
  }
  return { stack: `    at ${file}:${line}:${column}` }
}

export interface Found {
  /** `file:line` */
  readonly place: string
  /** of user code; otherwise of a dependency, such as effect */
  readonly isUser: boolean
}

export interface Where {
  /** the place of user code that the function leads to, if it is one; else where the function itself is written */
  readonly of: (fn: unknown) => Found | undefined
  /** the same of a function that will not be called: also through the effects that it would have gone on with */
  readonly ahead: (fn: unknown) => Found | undefined
  readonly stop: () => void
}

/** What every effect is made of: that a fiber is there says nothing. */
const plumbing = /^effect\/.*\/(?:core|core-effect|defaultServices|fiberRuntime|Function|Effect)\.[jt]s:/

/** Without an inspector in this build of Node nothing is known. */
const nowhere: Where = { of: () => undefined, ahead: () => undefined, stop: () => {} }

class Inspecting implements Where {
  private readonly scripts = new Map<string, string>()
  private readonly known = new WeakMap<object, Found | false>()
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

  readonly of = (fn: unknown): Found | undefined => {
    if (typeof fn !== "function" || fn.constructor?.name === "GeneratorFunction") return undefined
    const before = this.known.get(fn)
    if (before !== undefined) return before === false ? undefined : before
    if (this.left-- <= 0) return undefined
    const found = this.lookUp(fn, false)
    this.known.set(fn, found ?? false)
    return found
  }

  readonly ahead = (fn: unknown): Found | undefined =>
    typeof fn !== "function" || this.left-- <= 0 ? undefined : this.lookUp(fn, true)

  readonly stop = (): void => this.session.disconnect()

  private post<A>(method: string, params: object): A | undefined {
    let result: A | undefined
    this.session.post(method, params, (_error, value) => {
      result = value as A
    })
    return result
  }

  private lookUp(fn: object, ahead: boolean): Found | undefined {
    const all = globalThis as { [holder]?: unknown }
    all[holder] = fn
    try {
      const evaluated = this.post<{ readonly result: RemoteValue }>("Runtime.evaluate", {
        expression: `globalThis[Symbol.for(${JSON.stringify(Symbol.keyFor(holder))})]`,
        objectGroup: "where"
      })
      const places = new Set<string>()
      const own = this.follow(evaluated?.result, maxDepth, places, ahead)
      const [place] = places
      if (place !== undefined) return ahead || places.size === 1 ? { place, isUser: true } : undefined
      const within = Place.showAny(own)
      return within === undefined || plumbing.test(within) ? undefined : { place: within, isUser: false }
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

  /** Collects the places of user code that a function leads to; returns where it is written itself. */
  private follow(
    value: RemoteValue | undefined,
    depth: number,
    places: Set<string>,
    ahead: boolean
  ): Place.Place | undefined {
    // a generator is at its `yield*`, not where it begins
    if (value?.className === "GeneratorFunction") return undefined
    const properties = this.properties(value)
    const internal = (name: string) => properties?.internalProperties?.find((property) => property.name === name)?.value
    const location = internal("[[FunctionLocation]]")?.value
    if (location === undefined) return undefined
    if (!this.scripts.has(location.scriptId)) this.learn()
    const file = this.scripts.get(location.scriptId)
    const own = file === undefined || file === ""
      ? undefined
      : placed(file, location.lineNumber + 1, location.columnNumber + 1)
    const user = Place.showUser(own)
    if (user !== undefined) places.add(user)
    else if (depth > 0) {
      const scope = this.properties(internal("[[Scopes]]"))?.result.find(({ name }) => name === "0")?.value
      if (scope !== undefined && (ahead ? /^(?:Block|Closure)/ : /^Closure/).test(scope.description ?? "")) {
        for (const fn of this.functionsIn(scope, ahead)) this.follow(fn, depth - 1, places, ahead)
      }
    }
    return own
  }

  /** Functions that are captured: by themselves, in an object such as `{ onFailure, onSuccess }`, or in an effect. */
  private functionsIn(scope: RemoteValue, effects: boolean): ReadonlyArray<RemoteValue> {
    const values = (of: RemoteValue): ReadonlyArray<RemoteValue> =>
      (this.properties(of)?.result ?? []).flatMap(({ value }) => value ?? [])
    const isOpen = ({ className }: RemoteValue) =>
      className === "Object" || (effects && className === "EffectPrimitive")
    return values(scope).flatMap((value) => isOpen(value) ? values(value) : [value])
      .filter(({ type }) => type === "function")
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
