import * as Audit from "@holdfast/core/Audit"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as TestProbes from "@holdfast/testing/TestProbes"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Deferred, Effect, Exit, Fiber, Layer, PubSub, Queue, Schedule, Scope, Stream, TestClock } from "effect"

const observers = Layer.mergeAll(FiberRegistry.layer, Cleanup.layerMonitor)

const layer = (options: Audit.Options = {}) =>
  Audit.layer({ orphanAfter: 0, ...options }).pipe(
    Layer.provideMerge(Layer.mergeAll(Lifecycle.layer({ log: false }), TestProbes.layer)),
    Layer.provideMerge(observers)
  )

const paths = (findings: ReadonlyArray<Audit.Finding>) =>
  findings.flatMap((finding) => finding._tag === "Orphan" ? [finding.suspect.path.replace(/ #\d+$/, "")] : []).sort()

/** Fibers of every shape that has an owner. */
const honest = Effect.gen(function*() {
  const pubsub = yield* PubSub.unbounded<number>()
  const queue = yield* Queue.unbounded<number>()
  yield* FiberRegistry.forkScoped(Effect.never, { name: "plain" })
  yield* FiberRegistry.forkScoped(Effect.forEach([1, 2, 3], () => Effect.never, { concurrency: "unbounded" }), {
    name: "parallel"
  })
  yield* FiberRegistry.forkScoped(Effect.never.pipe(Effect.timeout("1 hour")), { name: "timeout" })
  yield* FiberRegistry.forkScoped(Effect.race(Effect.never, Effect.never), { name: "race" })
  yield* FiberRegistry.forkScoped(Effect.flatMap(Effect.fork(Effect.never), Fiber.join), { name: "parent" })
  const joined = yield* Effect.acquireRelease(Effect.forkDaemon(Effect.interruptible(Effect.never)), Fiber.interrupt)
  yield* FiberRegistry.forkScoped(Fiber.join(joined), { name: "joins" })
  yield* FiberRegistry.forkScoped(
    Stream.fromPubSub(pubsub).pipe(
      Stream.merge(Stream.fromQueue(queue)),
      Stream.mapEffect(() => Effect.never, { concurrency: 4 }),
      Stream.buffer({ capacity: 4 }),
      Stream.runDrain
    ),
    { name: "stream" }
  )
  yield* Effect.forkScoped(Effect.never)
  yield* Effect.forkIn(Effect.never, yield* Effect.scope)
  const scope = yield* Effect.scope
  // Its parent ends, its scope is open.
  yield* FiberRegistry.forkScoped(Effect.forkIn(Effect.never, scope), { name: "passes-on" })
  yield* Effect.sleep("1 minute").pipe(Effect.forkScoped)
})

const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow(), { discard: true })

describe("Audit", () => {
  it.scoped("finds all leaked daemons, and nothing else", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      yield* honest
      yield* settle
      assert.deepStrictEqual(yield* audit.inspect, [])

      const leaked: Array<Fiber.RuntimeFiber<unknown>> = []
      const leak = Effect.tap(Effect.forkDaemon(Effect.never), (fiber) => Effect.sync(() => leaked.push(fiber)))
      // From a fiber that lives, from one that has ended, and from no tracked fiber at all.
      yield* FiberRegistry.forkScoped(Effect.zipRight(Effect.replicateEffect(leak, 40), Effect.never), {
        name: "living"
      })
      yield* Fiber.join(yield* FiberRegistry.forkScoped(Effect.replicateEffect(leak, 40), { name: "ended" }))
      yield* Effect.replicateEffect(leak, 20).pipe(FiberRegistry.withOwner("region"))
      yield* settle

      const found = yield* audit.inspect
      assert.deepStrictEqual(
        found.map((finding) => finding._tag === "Orphan" ? finding.suspect.id : finding._tag).sort(),
        leaked.map((fiber) => `#${fiber.id().id}`).sort()
      )
      const byOwner = (owner: string) =>
        found.filter((finding) => finding._tag === "Orphan" && finding.suspect.path.startsWith(`${owner}/`)).length
      assert.deepStrictEqual(["living", "ended", "region"].map(byOwner), [40, 40, 20])

      const done = yield* audit.cleanUp()
      assert.strictEqual(done.length, 100)
      assert.isTrue(done.every(({ outcome }) => outcome === "ended"))
      assert.deepStrictEqual(yield* audit.inspect, [])
    }).pipe(Effect.provide(layer())))

  it.scoped("finds a fiber that outlives its scope, and names it when it refuses to end", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      const release = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      yield* FiberRegistry.forkIn(Effect.uninterruptible(Deferred.await(release)), scope, { name: "stubborn" })
      yield* settle
      assert.deepStrictEqual(yield* audit.inspect, [])
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* settle
      const found = yield* audit.inspect
      assert.deepStrictEqual(paths(found), ["stubborn"])
      assert.isTrue(found[0]._tag === "Orphan" && found[0].why === "scope-closed")
      const done = yield* audit.cleanUp({ budget: "20 millis" })
      assert.deepStrictEqual(done.map(({ outcome, suspect }) => `${suspect.path} ${outcome}`), ["stubborn abandoned"])
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(closing)
    }).pipe(Effect.provide(layer())))

  it.scoped("leaves an orphan alone until it is old enough", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      const daemon = yield* Effect.forkDaemon(Effect.never)
      yield* settle
      assert.deepStrictEqual(yield* audit.inspect, [])
      yield* Fiber.interrupt(daemon)
    }).pipe(Effect.provide(layer({ orphanAfter: "1 hour" }))))

  it.scoped("finds fibers over the age of their kind", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      yield* FiberRegistry.forkScoped(Effect.never, { name: "slow", kind: "request" })
      yield* FiberRegistry.forkScoped(Effect.never, { name: "other" })
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))
      const found = yield* audit.inspect
      assert.deepStrictEqual(found.map((finding) => [finding._tag, "suspect" in finding && finding.suspect.path]), [
        ["OverAge", "slow"]
      ])
    }).pipe(Effect.provide(layer({ maxAge: { request: "5 millis" } }))))

  it.scoped("finds growth against the baseline", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      const more = (count: number) =>
        Effect.replicateEffect(FiberRegistry.forkScoped(Effect.never, { name: "s", kind: "session" }), count)
      yield* more(3)
      yield* audit.rebase
      yield* more(8)
      assert.deepStrictEqual(yield* audit.inspect, [])
      yield* more(1)
      assert.deepStrictEqual(yield* audit.inspect, [
        Audit.Finding.Growth({ kind: "session", baseline: 3, count: 12, limit: 11 })
      ])
      yield* audit.rebase
      assert.deepStrictEqual(yield* audit.inspect, [])
    }).pipe(Effect.provide(layer({ growth: { factor: 2, slack: 5 } }))))

  it.scoped("compares memory and lag with their thresholds", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      const probes = yield* TestProbes.TestProbes
      assert.deepStrictEqual(yield* audit.inspect, [])
      yield* probes.setMemory({ heapUsed: 150, rss: 2500, external: 99 })
      yield* probes.setLag({ p99: 60 })
      assert.deepStrictEqual(yield* audit.inspect, [
        Audit.Finding.HighMemory({ what: "heapUsed", level: "soft", bytes: 150, limit: 100 }),
        Audit.Finding.HighMemory({ what: "rss", level: "hard", bytes: 2500, limit: 2000 }),
        Audit.Finding.HighLag({ level: "soft", millis: 60, limit: 50 })
      ])
    }).pipe(Effect.provide(layer({
      memory: { heapUsed: { soft: 100, hard: 200 }, rss: { soft: 1000, hard: 2000 }, external: { soft: 100 } },
      lag: { soft: 50, hard: 500 }
    }))))

  it.scoped("handles a finding once for as long as it persists", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      const probes = yield* TestProbes.TestProbes
      const fresh = Effect.map(audit.run, (report) => [report.findings.length, report.fresh.length])
      yield* probes.setMemory({ rss: 11 })
      assert.deepStrictEqual(yield* fresh, [1, 1])
      assert.deepStrictEqual(yield* fresh, [1, 0])
      yield* probes.setMemory({ rss: 9 })
      assert.deepStrictEqual(yield* fresh, [0, 0])
      yield* probes.setMemory({ rss: 12 })
      assert.deepStrictEqual(yield* fresh, [1, 1])
    }).pipe(Effect.provide(layer({ memory: { rss: { soft: 10 } } }))))

  it.scoped("runs on its schedule and does what the policy says", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      const lifecycle = yield* Lifecycle.Lifecycle
      const probes = yield* TestProbes.TestProbes
      const published = yield* Effect.fork(Stream.runHead(audit.findings))
      const daemon = yield* Effect.forkDaemon(Effect.never)
      yield* settle
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(daemon)))
      yield* probes.setMemory({ rss: 11 })
      yield* TestClock.adjust("10 seconds")
      const reason = yield* lifecycle.awaitShutdown
      assert.isTrue(reason._tag === "Requested" && reason.by.startsWith("audit: rss is"))
      const first = yield* Fiber.join(published)
      assert.isTrue(first._tag === "Some" && first.value._tag === "HighMemory")
    }).pipe(Effect.provide(layer({
      schedule: Schedule.spaced("10 seconds"),
      memory: { rss: { hard: 10 } },
      policy: (finding) => finding._tag === "Orphan" ? ["clean-up"] : ["publish", "drain"]
    }))))

  it.scoped("stops with the lifecycle fibers", () =>
    Effect.gen(function*() {
      const lifecycle = yield* Lifecycle.Lifecycle
      const report = yield* lifecycle.shutdown({ _tag: "Requested", by: "test" })
      const stopped = report.phases.find(({ phase }) => phase === "stopping-sources")!
      assert.deepStrictEqual(stopped.items.map(({ path, status }) => `${path} ${status}`), ["audits completed"])
      assert.strictEqual(report.verdict, "clean")
    }).pipe(Effect.provide(layer())))

  it.scoped("cleans up every orphan for a finding about the process", () =>
    Effect.gen(function*() {
      const audit = yield* Audit.Audit
      const probes = yield* TestProbes.TestProbes
      const daemon = yield* Effect.forkDaemon(Effect.never)
      yield* settle
      yield* probes.setLag({ p99: 1000 })
      const report = yield* audit.run
      assert.strictEqual(report.cleanedUp.length, 1)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(daemon)))
      assert.deepStrictEqual(yield* Effect.map(audit.last, (last) => last._tag), "Some")
    }).pipe(Effect.provide(layer({
      lag: { hard: 500 },
      policy: (finding) => finding._tag === "HighLag" ? ["clean-up"] : []
    }))))
})
