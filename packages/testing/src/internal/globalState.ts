/** The state of the process that every test can see: environment, working directory, global names and built-ins. */

export interface Snapshot {
  readonly env: { readonly [name: string]: string | undefined }
  readonly cwd: string
  readonly keys: ReadonlySet<string>
  readonly builtins: ReadonlyArray<unknown>
}

interface Builtin {
  readonly name: string
  readonly owner: object
  readonly key: string
}

const builtin = (owner: object, key: string, name = key): Builtin => ({ name, owner, key })

const builtins: ReadonlyArray<Builtin> = [
  builtin(globalThis, "Date"),
  builtin(Date, "now", "Date.now"),
  builtin(Math, "random", "Math.random"),
  builtin(globalThis, "setTimeout"),
  builtin(globalThis, "setInterval"),
  builtin(globalThis, "setImmediate"),
  builtin(globalThis, "clearTimeout"),
  builtin(globalThis, "clearInterval"),
  builtin(globalThis, "clearImmediate"),
  builtin(globalThis, "performance"),
  builtin(globalThis, "fetch"),
  builtin(globalThis, "console"),
  builtin(process, "exit", "process.exit"),
  builtin(process, "exitCode", "process.exitCode")
]

/** Names that the test runner and its coverage make when they like. */
const ofRunner = /^__(?:vitest|coverage)/i

const read = ({ key, owner }: Builtin): unknown => Reflect.get(owner, key)

export const snapshot = (): Snapshot => ({
  env: { ...process.env },
  cwd: process.cwd(),
  keys: new Set(Object.keys(globalThis)),
  builtins: builtins.map(read)
})

interface Change {
  readonly what: string
  readonly undo: () => void
}

/** What is not as it was, each with the way back. */
export const changes = (before: Snapshot): ReadonlyArray<Change> => {
  const found: Array<Change> = []
  for (const name of new Set([...Object.keys(before.env), ...Object.keys(process.env)])) {
    const value = before.env[name]
    if (value === process.env[name]) continue
    found.push({
      what: `process.env.${name} changed`,
      undo: () => {
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
      }
    })
  }
  if (process.cwd() !== before.cwd) {
    found.push({ what: "working directory changed", undo: () => process.chdir(before.cwd) })
  }
  for (const key of Object.keys(globalThis)) {
    if (!before.keys.has(key) && !ofRunner.test(key)) {
      found.push({ what: `globalThis.${key} appeared`, undo: () => Reflect.deleteProperty(globalThis, key) })
    }
  }
  builtins.forEach((builtin, i) => {
    const value = before.builtins[i]
    if (read(builtin) !== value) {
      found.push({
        what: `${builtin.name} was replaced`,
        undo: () => Reflect.set(builtin.owner, builtin.key, value)
      })
    }
  })
  return found
}
