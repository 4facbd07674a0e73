import { Effect } from "effect"
import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const repository = fileURLToPath(new URL("../../../..", import.meta.url))
const suite = fileURLToPath(new URL("../fixtures/suite", import.meta.url))

export interface Outcome {
  readonly status: "passed" | "failed"
  /** of the first failure; empty for a test that passed */
  readonly message: string
}

export interface Outcomes {
  readonly [name: string]: Outcome
}

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly title: string
      readonly status: "passed" | "failed"
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

/** A folder of its own, removed with the scope. */
export const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-suite-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** Runs one file of `fixtures/suite` in a vitest of its own: how each test went, and why the file failed, if it did. */
export const runSuite = (file: string, env: { readonly [name: string]: string } = {}) =>
  Effect.gen(function*() {
    const out = join(yield* temporary, "report.json")
    const inherited = Object.entries(process.env).filter(([name]) => !/^(?:VITEST|HOLDFAST_|TEST$)/.test(name))
    yield* Effect.async<void>((resume) => {
      const child = execFile(
        process.execPath,
        [
          join(repository, "node_modules", "vitest", "vitest.mjs"),
          "run",
          file,
          "--root",
          suite,
          "--reporter=json",
          `--outputFile=${out}`
        ],
        { cwd: repository, env: { ...Object.fromEntries(inherited), ...env } },
        // tests that fail are what it is for
        () => resume(Effect.void)
      )
      return Effect.sync(() => child.kill())
    })
    const { testResults } = JSON.parse(readFileSync(out, "utf8")) as Report
    const [result] = testResults
    const outcomes: Outcomes = Object.fromEntries(
      result!.assertionResults.map(({ failureMessages, status, title }): [string, Outcome] => [
        title,
        { status, message: failureMessages[0] ?? "" }
      ])
    )
    return { outcomes, message: result!.message }
  })
