/**
 * What it costs to have an event on the disk: appends per second through `SqliteStore` with more and more writers that
 * do not wait for each other, against one transaction per event on the bare driver, which waits on the event loop.
 *
 * Method: in each round every contender writes to a new file for the same time, in turns; figures are medians over the rounds,
 * ratios medians of the ratios within a round, since a disk is not the same from one second to the next.
 */
import * as SqliteStore from "@holdfast/node/SqliteStore"
import { Effect } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { quick, reportRounds } from "./shared/measure.js"
import { median } from "./shared/paired.js"

const rounds = quick ? 3 : 7
const millis = quick ? 250 : 700
const payload = JSON.stringify({ text: "x".repeat(200) })
const row = (id: number) => ({ id, at: id, topic: "room.1", tag: "Moved", payload, meta: "{}" })

interface Result {
  readonly name: string
  readonly perSecond: number
  readonly perCommit: number
  readonly pause: number
}

/** On the disk of the repository, not in a directory for temporary files, which may be memory. */
const scratch = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(import.meta.dirname, "storage-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
)

const watched = <A>(run: Effect.Effect<A>): Effect.Effect<readonly [A, number]> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const delay = monitorEventLoopDelay({ resolution: 1 })
      delay.enable()
      return delay
    }),
    (delay) => Effect.map(run, (value) => [value, delay.percentile(99) / 1e6] as const),
    (delay) => Effect.sync(() => delay.disable())
  )

const bare = Effect.scoped(Effect.gen(function*() {
  const { default: Database } = yield* Effect.promise(() => import("libsql"))
  const database = new Database(join(yield* scratch, "bare.db"))
  database.exec(
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE events (id INTEGER PRIMARY KEY, payload TEXT)"
  )
  const insert = database.prepare("INSERT INTO events VALUES (?, ?)")
  let id = 0
  const [, pause] = yield* watched(Effect.iterate(performance.now(), {
    while: (since) => performance.now() - since < millis,
    body: (since) =>
      Effect.as(
        Effect.zipRight(
          Effect.sync(() => insert.run([++id, payload])),
          Effect.promise(() => new Promise(setImmediate))
        ),
        since
      )
  }))
  database.close()
  return { name: "driver, one by one", perSecond: id * 1000 / millis, perCommit: 1, pause }
}))

const store = (writers: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { events, stats } = yield* SqliteStore.make({ path: join(yield* scratch, "store.db") })
    let id = 0
    const until = performance.now() + millis
    const writer = Effect.whileLoop({
      while: () => performance.now() < until,
      body: () => Effect.suspend(() => events.append([row(++id)])),
      step: () => {}
    })
    const [, pause] = yield* watched(Effect.orDie(Effect.all(Array.from({ length: writers }, () => writer), {
      concurrency: "unbounded"
    })))
    const { commits, writes } = yield* stats
    return {
      name: `store, ${writers} writer${writers === 1 ? "" : "s"}`,
      perSecond: id * 1000 / millis,
      perCommit: writes / commits,
      pause
    }
  }))

const program = Effect.gen(function*() {
  const results = new Map<string, Array<Result>>()
  for (let round = 0; round < rounds; round++) {
    for (const run of [bare, ...[1, 4, 16, 64, 256].map(store)]) {
      const result = yield* run
      results.set(result.name, [...results.get(result.name) ?? [], result])
    }
  }
  const figures = Array.from(results, ([name, all]) => [name, all.map(({ perSecond }) => perSecond)] as const)
  reportRounds("appends of one event, a second", new Map(figures), false)
  process.stdout.write(`${"".padEnd(46)}${"per commit".padStart(12)}${"p99 loop delay, ms".padStart(20)}\n`)
  for (const [name, all] of results) {
    const perCommit = median(all.map((one) => one.perCommit)).toFixed(1)
    const pause = median(all.map((one) => one.pause)).toFixed(2)
    process.stdout.write(`  ${name.padEnd(44)}${perCommit.padStart(12)}${pause.padStart(20)}\n`)
  }
})

await Effect.runPromise(program)
