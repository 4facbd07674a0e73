import { assert, describe, it } from "@effect/vitest"
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Effect, Scope } from "effect"
import { execFile } from "node:child_process"
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { Worker } from "node:worker_threads"

const scratch = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-lock-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}.mjs`, import.meta.url))

/** What another process says that tries to open the store. */
const otherProcess = (path: string) =>
  Effect.async<string>((resume) => {
    const child = execFile(process.execPath, [fixture("second"), path], (error, stdout, stderr) => {
      resume(error === null ? Effect.succeed(stdout) : Effect.die(new Error(stderr, { cause: error })))
    })
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

const inWorker = (path: string) =>
  Effect.async<string>((resume) => {
    const worker = new Worker(fixture("worker"), { workerData: path })
    worker.on("error", (error) => resume(Effect.die(error)))
    worker.once("message", (message) => worker.once("exit", () => resume(Effect.succeed(String(message)))))
  })

type Made = Effect.Effect<unknown, { readonly _tag: string; readonly reason?: string }, Scope.Scope>

const refusal = (made: Made) =>
  Effect.scoped(made).pipe(
    Effect.as("opened"),
    Effect.catchAll((error) => Effect.succeed(error.reason ?? error._tag))
  )

/** All the ways to come to one file a second time, from within the process that has it open. */
const again: Record<string, (path: string, directory: string) => Effect.Effect<string>> = {
  "the same path": (path) => refusal(SqliteStore.make({ path })),
  "the same path, twice": (path) =>
    Effect.zipRight(refusal(SqliteStore.make({ path })), refusal(SqliteStore.make({ path }))),
  "a relative path": (path) => refusal(SqliteStore.make({ path: relative(process.cwd(), path) })),
  "a path with dots": (path, directory) =>
    refusal(SqliteStore.make({ path: `${directory}/./nowhere/../${basename(path)}` })),
  "a symbolic link": (path) => {
    symlinkSync(path, `${path}.link`)
    return refusal(SqliteStore.make({ path: `${path}.link` }))
  },
  "a link to the directory": (path, directory) => {
    symlinkSync(directory, `${directory}/itself`)
    return refusal(SqliteStore.make({ path: join(directory, "itself", basename(path)) }))
  },
  "a hard link": (path) => {
    linkSync(path, `${path}.hard`)
    return refusal(SqliteStore.make({ path: `${path}.hard` }))
  },
  "a hard link in another directory": (path, directory) => {
    mkdirSync(join(directory, "other"))
    linkSync(path, join(directory, "other", "name.db"))
    return refusal(SqliteStore.make({ path: join(directory, "other", "name.db") }))
  },
  "a second evaluation of the module": (path) =>
    Effect.flatMap(
      // The built one: this test has the sources.
      Effect.promise((): Promise<typeof SqliteStore> =>
        import(/* @vite-ignore */ new URL("../dist/SqliteStore.js?again", import.meta.url).href)
      ),
      (Again) => {
        assert.notStrictEqual(Again.make, SqliteStore.make)
        return refusal(Again.make({ path }))
      }
    ),
  "a worker thread": inWorker
}

describe("SqliteStore keeps other processes out", () => {
  for (const [how, open] of Object.entries(again)) {
    it.scopedLive(
      `when this one comes again by ${how}${how === "the same path" || how === "a worker thread" ? "" : " (daily)"}`,
      () =>
        Effect.gen(function*() {
          const directory = yield* scratch
          const path = join(directory, "store.db")
          const scope = yield* Scope.make()
          const store = yield* Scope.extend(SqliteStore.make({ path }), scope)
          assert.strictEqual(yield* open(path, directory), "InUse")
          assert.strictEqual(yield* otherProcess(path), "InUse")
          yield* store.events.append([{ id: 1, at: 0, topic: "t", tag: "E", payload: "\"ours\"", meta: "{}" }])
          yield* Scope.close(scope, yield* Effect.exit(Effect.void))
          const rows = yield* Effect.scoped(
            Effect.flatMap(SqliteStore.make({ path }), ({ events }) => events.read({ after: 0, limit: 9 }))
          )
          assert.deepStrictEqual(rows.map(({ id, payload }) => [id, payload]), [[1, "\"ours\""]])
        }),
      60_000
    )
  }

  it.scopedLive("and lets them in when it has closed", () =>
    Effect.gen(function*() {
      const path = join(yield* scratch, "store.db")
      yield* Effect.scoped(SqliteStore.make({ path }))
      assert.strictEqual(yield* otherProcess(path), "opened")
    }), 60_000)

  it.scopedLive("also while the file is being made", () =>
    Effect.gen(function*() {
      const directory = yield* scratch
      const path = join(directory, "new.db")
      const all = yield* Effect.all(
        Array.from({ length: 5 }, () =>
          refusal(
            Effect.acquireRelease(SqliteStore.make({ path }), () => Effect.void).pipe(
              Effect.zipLeft(Effect.sleep("100 millis"))
            )
          )),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(all.sort(), ["InUse", "InUse", "InUse", "InUse", "opened"])
    }))
})
