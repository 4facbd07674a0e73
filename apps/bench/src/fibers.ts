/**
 * What it costs to know every fiber: fork and join, tracked against bare, against a `Supervisor`, and with somebody
 * listening; a bounded finalizer against a plain one; the census of 10,000 fibers; and what 100,000 tracked forks leave
 * behind.
 *
 * Method: every contender runs the same loop of 1500 operations in one process, in turns, 25 rounds of which the first 5 are
 * warm-up; figures are medians of processor time, and ratios are medians of the ratios within a round, so that a noisy
 * machine hits all contenders alike.
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import { Effect, Exit, Fiber, Logger, Scope, Stream, Supervisor } from "effect"
import { quick, reportRounds } from "./shared/measure.js"

const rounds = quick ? 12 : 25
const warmup = 5
const batch = quick ? 700 : 1500

/** Microseconds of processor time per operation: a busy machine delays, but does not charge. */
const times = (count: number, body: Effect.Effect<unknown, never, Scope.Scope>) =>
  Effect.gen(function*() {
    const since = process.cpuUsage()
    for (let index = 0; index < count; index++) yield* body
    const { system, user } = process.cpuUsage(since)
    return (system + user) / count
  })

/** Microseconds per operation, and the ratio to the first contender. */
const compare = (title: string, contenders: Record<string, Effect.Effect<unknown, never, Scope.Scope>>) =>
  Effect.gen(function*() {
    const names = Object.keys(contenders)
    const taken = new Map(names.map((name) => [name, [] as Array<number>]))
    for (let round = 0; round < rounds; round++) {
      for (const name of names) {
        const micros = yield* times(batch, contenders[name]!)
        if (round >= warmup) taken.get(name)!.push(micros)
      }
    }
    reportRounds(`${title}, us of CPU`, taken)
  })

const print = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

const heap = Effect.sync(() => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
})

const joined = <R>(fork: Effect.Effect<Fiber.Fiber<unknown>, never, R>) => Effect.flatMap(fork, Fiber.join)

const program = Effect.gen(function*() {
  const scope = yield* Effect.scope
  const options = { name: "worker" }
  const supervisor = yield* Supervisor.track

  yield* compare("fork and join", {
    "Effect.forkIn": joined(Effect.forkIn(Effect.void, scope)),
    "FiberRegistry.forkIn": joined(FiberRegistry.forkIn(Effect.void, scope, options)),
    "Effect.forkIn under Supervisor.track": joined(Effect.supervised(Effect.forkIn(Effect.void, scope), supervisor))
  })

  yield* compare("fork and join in the scope in use", {
    "Effect.forkScoped": joined(Effect.forkScoped(Effect.void)),
    "FiberRegistry.forkScoped": joined(FiberRegistry.forkScoped(Effect.void, options))
  })

  yield* compare("fork and join of a fiber that does a little (10 yields)", {
    "Effect.forkIn": joined(Effect.forkIn(Effect.repeatN(Effect.yieldNow(), 9), scope)),
    "FiberRegistry.forkIn": joined(FiberRegistry.forkIn(Effect.repeatN(Effect.yieldNow(), 9), scope, options))
  })

  yield* Effect.scoped(Effect.gen(function*() {
    const registry = yield* FiberRegistry.FiberRegistry
    yield* Effect.forkScoped(Stream.runDrain(registry.changes))
    yield* Effect.yieldNow()
    yield* compare("with a listener on the stream of changes", {
      "Effect.forkIn": joined(Effect.forkIn(Effect.void, scope)),
      "FiberRegistry.forkIn": joined(FiberRegistry.forkIn(Effect.void, scope, options))
    })
  }))

  yield* compare("a scope with one finalizer, opened and closed", {
    "Effect.addFinalizer": Effect.scoped(Effect.addFinalizer(() => Effect.void)),
    "addFinalizer, disconnect + timeout by hand": Effect.scoped(
      Effect.addFinalizer(() =>
        Effect.ignore(Effect.timeout(Effect.interruptible(Effect.disconnect(Effect.void)), 5000))
      )
    ),
    "Cleanup.addFinalizer": Effect.scoped(Cleanup.addFinalizer({ label: "release" }, () => Effect.void))
  })

  const { unsafeCensus, unsafeCounts, unsafeDump } = yield* FiberRegistry.FiberRegistry
  const many = yield* Scope.make()
  const bare = yield* heap
  yield* Effect.repeatN(Effect.forkIn(Effect.never, many), 9_999)
  const untracked = (yield* heap) - bare
  yield* Scope.close(many, Exit.void)
  const more = yield* Scope.make()
  const empty = yield* heap
  yield* Effect.repeatN(FiberRegistry.forkIn(Effect.never, more, { name: "session", kind: "session" }), 9_999)
  const tracked = (yield* heap) - empty
  const since = performance.now()
  unsafeCensus()
  const listed = performance.now()
  unsafeDump()
  const dumped = performance.now()
  yield* print("\n10,000 live fibers")
  yield* print(
    `  heap per fiber: bare ${(untracked / 10_000).toFixed(0)} bytes, tracked ${(tracked / 10_000).toFixed(0)} bytes`
  )
  yield* print(`  census ${(listed - since).toFixed(1)} ms, dump ${(dumped - listed).toFixed(1)} ms`)
  yield* Scope.close(more, Exit.void)

  const before = yield* heap
  yield* times(100_000, joined(FiberRegistry.forkIn(Effect.void, scope, options)))
  const after = yield* heap
  yield* print("\n100,000 tracked forks")
  yield* print(
    `  left in the census: ${unsafeCensus().length} of ${unsafeCounts().started} ever started; ` +
      `heap ${((after - before) / 1024).toFixed(0)} KB more than before${globalThis.gc ? "" : " (no --expose-gc)"}`
  )
})

program.pipe(
  Effect.scoped,
  FiberRegistry.withOwner("bench"),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none)),
  Effect.runFork
)
