import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import {
  Array as Arr,
  Cause,
  Chunk,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FiberSet,
  Layer,
  Logger,
  LogLevel,
  Option,
  Queue,
  Runtime,
  Scope,
  Stream
} from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const registry = FiberRegistry.FiberRegistry
const quiet = Logger.replace(Logger.defaultLogger, Logger.none)
const fresh = Effect.provide(Layer.merge(FiberRegistry.layer, quiet))

/** Lets everybody who is able to run do so. */
const settle = Effect.repeatN(Effect.yieldNow(), 20)

const names = (entries: ReadonlyArray<FiberRegistry.Entry>) => entries.map((entry) => entry.owner.join("/"))

/** The dump without what differs from run to run. */
const plain = (dump: string) =>
  dump.replaceAll(/#\d+/g, "#").replaceAll(/\b\d+(\.\d+)?(ms|s)\b/g, "T").split("\n").slice(1).join("\n")

describe("FiberRegistry", () => {
  describe("the census", () => {
    it.effect("has a tracked fiber from the fork to its end", () =>
      Effect.gen(function*() {
        const { census, counts, ended } = yield* registry
        const scope = yield* Scope.make()
        const fiber = yield* FiberRegistry.forkIn(Effect.never, scope, { name: "reader", kind: "session" }).pipe(
          FiberRegistry.withOwner("chat")
        )
        const [entry] = yield* census
        assert.deepInclude({ ...entry }, {
          name: "reader",
          kind: "session",
          owner: ["chat", "reader"],
          tracked: true,
          ownership: "scope",
          parent: undefined,
          restarts: 0,
          lastFailure: undefined,
          supervised: false,
          children: 0
        })
        assert.strictEqual(entry!.fiber, fiber)
        assert.strictEqual(entry!.id, `#${fiber.id().id}`)
        assert.isAtLeast(entry!.ageMillis, 0)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* census, [])
        assert.deepStrictEqual(yield* counts, { live: 0, byKind: {}, started: 1, ended: 1, crashed: 0 })
        assert.deepInclude((yield* ended)[0]!, { name: "reader", outcome: "interrupted" })
      }).pipe(fresh))

    it.scoped("knows owner and parent, through untracked fibers and withOwner in between", () =>
      Effect.gen(function*() {
        const { census } = yield* registry
        const leaf = FiberRegistry.forkScoped(Effect.never, { name: "leaf" })
        yield* FiberRegistry.forkScoped(
          Effect.zipRight(
            Effect.fork(Effect.zipRight(FiberRegistry.withOwner("group")(leaf), Effect.never)),
            Effect.never
          ),
          { name: "root", kind: "service" }
        ).pipe(FiberRegistry.withOwner("app"))
        yield* settle
        const all = yield* census
        assert.deepStrictEqual(names(all), ["app/root", "app/root/group/leaf"])
        assert.strictEqual(all[1]!.parent, all[0]!.id)
      }).pipe(fresh))

    it.effect("an owner path does not flow back through a join, nor out of its region", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const fiber = yield* FiberRegistry.forkIn(FiberRegistry.withOwner("inner")(Effect.void), scope, { name: "a" })
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(
          yield* Effect.withFiberRuntime((self) => Effect.succeed(self.getFiberRef(FiberRegistry.currentOwner))),
          []
        )
      }).pipe(fresh))

    it.scoped("tells running, suspended and stopping apart, and whom a fiber waits for", () =>
      Effect.gen(function*() {
        const { census } = yield* registry
        const gate = yield* Deferred.make<void>()
        const target = yield* FiberRegistry.forkScoped(Effect.never, { name: "suspended" })
        yield* FiberRegistry.forkScoped(Fiber.join(target), { name: "waiting" })
        const busy = yield* FiberRegistry.forkScoped(Effect.forever(Effect.yieldNow()), { name: "running" })
        const stopping = yield* FiberRegistry.forkScoped(Effect.uninterruptible(Deferred.await(gate)), {
          name: "stopping"
        })
        yield* settle
        yield* Fiber.interruptFork(stopping)
        yield* settle
        const all = yield* census
        assert.deepStrictEqual(all.map((one) => [one.name, one.status]), [
          ["suspended", "suspended"],
          ["waiting", "suspended"],
          ["running", "running"],
          ["stopping", "stopping"]
        ])
        assert.strictEqual(all[1]!.waitingFor, `#${target.id().id}`)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.interrupt(busy)
      }).pipe(fresh))

    it.scoped("shows the span that a fiber is in", () =>
      Effect.gen(function*() {
        const { census } = yield* registry
        yield* FiberRegistry.forkScoped(Effect.withSpan(Effect.never, "Reader.read"), { name: "reader" })
        yield* settle
        assert.strictEqual((yield* census)[0]!.span?.name, "Reader.read")
      }).pipe(fresh))

    it.effect("shows what outlives its scope", () =>
      Effect.gen(function*() {
        const { census } = yield* registry
        const gate = yield* Deferred.make<void>()
        const scope = yield* Scope.make()
        yield* FiberRegistry.forkIn(Effect.uninterruptible(Deferred.await(gate)), scope, { name: "stubborn" })
        yield* settle
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* settle
        assert.deepInclude({ ...(yield* census)[0]! }, { ownership: "scope-closed", status: "stopping" })
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(closing)
        assert.deepStrictEqual(yield* census, [])
      }).pipe(fresh))

    it.effect("a fiber forked into a closed scope is interrupted before its first step, and counted", () =>
      Effect.gen(function*() {
        const { census, counts } = yield* registry
        const scope = yield* Scope.make()
        yield* Scope.close(scope, Exit.void)
        const log: Array<string> = []
        const fiber = yield* FiberRegistry.forkIn(Effect.sync(() => log.push("ran")), scope, { name: "late" })
        assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
        assert.deepStrictEqual(log, [])
        assert.deepStrictEqual(yield* census, [])
        assert.deepInclude(yield* counts, { started: 1, ended: 1 })
      }).pipe(fresh))

    it.effect("track enters the fiber that runs already, for as long as the effect runs", () =>
      Effect.gen(function*() {
        const { census } = yield* registry
        const inside = yield* FiberRegistry.track({ name: "request", kind: "request" })(census)
        assert.deepStrictEqual(inside.map((one) => [one.name, one.kind, one.ownership]), [
          ["request", "request", "owner"]
        ])
        assert.deepStrictEqual(yield* census, [])
        const exit = yield* Effect.exit(FiberRegistry.track({ name: "request" })(Effect.fail("no")))
        assert.deepStrictEqual(exit, Exit.fail("no"))
        assert.deepStrictEqual(yield* census, [])
      }).pipe(fresh))

    it.scoped("counts by kind", () =>
      Effect.gen(function*() {
        const { counts } = yield* registry
        for (const kind of ["session", "session", "ticker"]) {
          yield* FiberRegistry.forkScoped(Effect.never, { name: "x", kind })
        }
        yield* FiberRegistry.forkScoped(Effect.never, { name: "x" })
        assert.deepStrictEqual((yield* counts).byKind, { session: 2, ticker: 1, worker: 1 })
      }).pipe(fresh))

    it.scoped("gives the fibers of one kind, oldest first, and census and untracked ones at once", () =>
      Effect.gen(function*() {
        const { unsafeCensus, unsafeFibers, unsafeSurvey, unsafeUntracked } = yield* registry
        const fork = (name: string, kind?: FiberRegistry.FiberKind | undefined) =>
          FiberRegistry.forkScoped(Effect.never, { name, kind })
        const first = yield* fork("first", "session")
        const other = yield* fork("other")
        const second = yield* fork("second", "session")
        yield* Effect.forkScoped(Effect.never)
        yield* settle
        assert.deepStrictEqual(unsafeFibers("session"), [first, second])
        assert.deepStrictEqual(unsafeFibers("worker"), [other])
        assert.deepStrictEqual(unsafeFibers("ticker"), [])
        const { tracked, untracked } = unsafeSurvey()
        const fibers = (entries: ReadonlyArray<FiberRegistry.Entry>) => entries.map(({ fiber }) => fiber)
        assert.deepStrictEqual(fibers(tracked), fibers(unsafeCensus()))
        assert.deepStrictEqual(fibers(untracked), fibers(unsafeUntracked()))
        assert.strictEqual(untracked.length, 1)
        yield* Fiber.interrupt(first)
        assert.deepStrictEqual(unsafeFibers("session"), [second])
      }).pipe(fresh))

    it.scoped("registries do not see each other's fibers", () =>
      Effect.gen(function*() {
        const { census, untracked } = yield* registry
        yield* FiberRegistry.forkScoped(Effect.zipRight(Effect.forkScoped(Effect.never), Effect.never), {
          name: "other"
        })
          .pipe(fresh)
        yield* settle
        assert.deepStrictEqual(yield* census, [])
        assert.deepStrictEqual((yield* untracked).filter((one) => one.owner.includes("other")), [])
      }).pipe(fresh))
  })

  describe("what users fork inside", () => {
    const inside = (name: string) =>
      Effect.map(
        Effect.flatMap(registry, (service) => service.untracked),
        Arr.filter((one: FiberRegistry.Entry) => one.owner.includes(name))
      )

    const forks: Record<string, [Effect.Effect<unknown, never, Scope.Scope>, number, boolean]> = {
      "Effect.fork": [Effect.fork(Effect.never), 1, false],
      "a fork in a fork": [Effect.fork(Effect.zipRight(Effect.fork(Effect.never), Effect.never)), 2, false],
      "Effect.forkScoped": [Effect.forkScoped(Effect.never), 1, false],
      "Effect.forkDaemon": [Effect.forkDaemon(Effect.never), 1, true],
      "Effect.forEach": [
        Effect.fork(Effect.forEach([1, 2, 3], () => Effect.never, { concurrency: "unbounded" })),
        5,
        false
      ],
      "Effect.timeout": [Effect.fork(Effect.timeoutOption(Effect.never, "1 hour")), 4, false],
      "Effect.race": [Effect.fork(Effect.race(Effect.never, Effect.never)), 3, false],
      "FiberSet.run": [
        Effect.flatMap(FiberSet.make(), (set) => FiberSet.run(set, Effect.never)),
        1,
        false
      ],
      "FiberSet.runtime": [
        Effect.flatMap(FiberSet.makeRuntime(), (run) => Effect.sync(() => run(Effect.never))),
        1,
        false
      ],
      "Runtime.runFork with somebody who waits": [
        Effect.flatMap(Effect.runtime(), (runtime) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              // edge: a fiber that plain JavaScript starts is the subject
              const fiber = Runtime.runFork(runtime)(Effect.never)
              fiber.addObserver(() => {})
              return fiber
            }),
            Fiber.interrupt
          )),
        1,
        false
      ],
      "Runtime.runFork": [
        Effect.flatMap(Effect.runtime(), (runtime) =>
          Effect.acquireRelease(
            // edge: a fiber that plain JavaScript starts is the subject
            Effect.sync(() => Runtime.runFork(runtime)(Effect.never)),
            Fiber.interrupt
          )),
        1,
        true
      ]
    }
    for (const [name, [fork, count, detached]] of Object.entries(forks)) {
      it.effect(`${name}: found, attributed to its owner, ${detached ? "detached" : "not detached"}`, () =>
        Effect.gen(function*() {
          const found = yield* Effect.scoped(Effect.gen(function*() {
            const tracked = yield* FiberRegistry.forkScoped(Effect.zipRight(fork, Effect.never), { name: "parent" })
            yield* settle
            const found = yield* inside("parent")
            const { census } = yield* registry
            const parent = (yield* census)[0]!
            assert.strictEqual(parent.fiber, tracked)
            for (const one of found) {
              assert.deepStrictEqual(one.owner, ["parent"])
              assert.strictEqual(one.ownership, "owner")
              assert.strictEqual(one.tracked, false)
            }
            assert.include(found.map((one) => one.parent), parent.id)
            return found
          }))
          assert.strictEqual(found.length, count)
          assert.strictEqual(found.some((one) => one.detached), detached)
          for (const one of found) yield* Fiber.interrupt(one.fiber)
        }).pipe(fresh))
    }

    it.effect("a daemon that outlives its owner is found, and said to", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const parent = yield* FiberRegistry.forkIn(
          FiberRegistry.withOwner("region")(Effect.forkDaemon(Effect.withSpan(Effect.never, "leak"))),
          scope,
          { name: "parent" }
        )
        yield* Fiber.join(parent)
        yield* settle
        const [leak] = yield* inside("parent")
        assert.deepInclude({ ...leak! }, {
          name: "leak",
          owner: ["parent", "region"],
          ownership: "owner-ended",
          detached: true,
          parent: undefined
        })
        yield* Fiber.interrupt(leak!.fiber)
      }).pipe(fresh))

    it.effect("withOwner alone is not an owner that can end", () =>
      Effect.gen(function*() {
        const fiber = yield* FiberRegistry.withOwner("boot")(Effect.forkDaemon(Effect.never))
        yield* settle
        const [one] = yield* inside("boot")
        assert.deepInclude({ ...one! }, { ownership: "none", detached: true })
        yield* Fiber.interrupt(fiber)
      }).pipe(fresh))
  })

  describe("forkFinally", () => {
    const ends: ReadonlyArray<readonly [how: string, self: Effect.Effect<number, string>, steps: number, tag: string]> =
      [
        ["a value", Effect.succeed(1), 20, "Success"],
        ["a failure", Effect.fail("no"), 20, "Fail"],
        ["a defect", Effect.die("no"), 20, "Die"],
        ["an interrupt on its way", Effect.never, 20, "Interrupt"],
        ["an interrupt before its first step", Effect.never, 0, "Interrupt"]
      ]
    for (const [how, self, steps, tag] of ends) {
      it.effect(`tells of ${how}`, () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const told: Array<string> = []
          yield* FiberRegistry.forkFinally(
            self,
            { name: "awaited" },
            (exit) =>
              Effect.sync(() =>
                told.push(Exit.isSuccess(exit) ? "Success" : Exit.isInterrupted(exit) ? "Interrupt" : exit.cause._tag)
              )
          ).pipe(Scope.extend(scope))
          yield* Effect.repeatN(Effect.yieldNow(), steps).pipe(Effect.when(() => steps > 0))
          yield* Scope.close(scope, Exit.void)
          assert.deepStrictEqual(told, [tag])
        }).pipe(fresh))
    }

    it.effect("tells where the scope was closed already, and what runs at the end cannot be interrupted", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.close(scope, Exit.void)
        const told: Array<string> = []
        const last = Effect.andThen(Effect.yieldNow(), Effect.sync(() => told.push("told")))
        const fiber = yield* FiberRegistry.forkFinally(Effect.never, { name: "late" }, () => last).pipe(
          Scope.extend(scope)
        )
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(told, ["told"])
      }).pipe(fresh))
  })

  describe("crashes", () => {
    const crash = {
      die: Effect.die(new Error("boom")),
      fail: Effect.fail("boom"),
      both: Effect.zipRight(Effect.interrupt, Effect.void)
    }
    it.scoped("are logged at Error level with cause and owner, and published", () =>
      Effect.gen(function*() {
        const { counts, crashes } = yield* registry
        const lines: Array<string> = []
        const logger = Logger.make(({ annotations, cause, logLevel, message }) => {
          if (LogLevel.greaterThan(logLevel, LogLevel.Debug)) {
            lines.push(
              `${logLevel.label} ${String(message)} ${Array.from(annotations).join(" ")} ${Cause.pretty(cause)}`
            )
          }
        })
        const reports = yield* Effect.forkScoped(Stream.runCollect(Stream.take(crashes, 2)))
        yield* settle
        yield* Effect.gen(function*() {
          yield* FiberRegistry.forkScoped(crash.die, { name: "dies", kind: "session" })
          yield* FiberRegistry.forkScoped(crash.fail, { name: "fails" })
          yield* FiberRegistry.forkScoped(crash.both, { name: "interrupted" })
          yield* FiberRegistry.forkScoped(crash.die, { name: "silent", crash: "silent" })
        }).pipe(
          Effect.annotateLogs("room", "attic"),
          FiberRegistry.withOwner("app"),
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
        const all = Chunk.toReadonlyArray(yield* Fiber.join(reports))
        yield* settle
        assert.deepStrictEqual(all.map((one) => [one.owner, one.kind, one.action]), [
          [["app", "dies"], "session", undefined],
          [["app", "fails"], "worker", undefined]
        ])
        assert.include(Cause.pretty(all[0]!.cause), "boom")
        assert.strictEqual(lines.length, 2)
        assert.match(lines[0]!, /^ERROR Fiber app\/dies crashed .*owner,app\/dies.*boom/s)
        assert.match(lines[0]!, /room,attic/)
        assert.strictEqual((yield* counts).crashed, 3)
      }).pipe(fresh))

    it.scoped("a logger that throws does not keep others from hearing of the end", () =>
      Effect.gen(function*() {
        const { census } = yield* registry
        const logger = Logger.make(() => {
          throw new Error("no logger")
        })
        const fiber = yield* FiberRegistry.forkScoped(Effect.withUnhandledErrorLogLevel(crash.die, Option.none()), {
          name: "dies"
        }).pipe(
          Effect.withUnhandledErrorLogLevel(Option.none()),
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
        assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
        assert.deepStrictEqual(yield* census, [])
      }).pipe(fresh))
  })

  describe("history", () => {
    it.scoped("changes tells starts and ends from the subscription on", () =>
      Effect.gen(function*() {
        const { changes } = yield* registry
        yield* FiberRegistry.forkScoped(Effect.never, { name: "before" })
        const seen = yield* Queue.unbounded<FiberRegistry.Change>()
        const listener = yield* Effect.forkScoped(Stream.runForEach(changes, (change) => seen.offer(change)))
        yield* settle
        const fiber = yield* FiberRegistry.forkScoped(Effect.succeed(1), { name: "a", kind: "session" }).pipe(
          FiberRegistry.withOwner("app")
        )
        yield* Fiber.join(fiber)
        const started = yield* seen.take
        const ended = yield* seen.take
        assert.deepInclude({ ...started }, { _tag: "Started", name: "a", kind: "session", owner: ["app", "a"] })
        assert.strictEqual(ended._tag, "Ended")
        assert.deepInclude({ ...(ended as { ended: FiberRegistry.Ended }).ended }, { name: "a", outcome: "success" })
        yield* Fiber.interrupt(listener)
        const internal = (yield* registry) as unknown as { changeFeed: { isHeard: () => boolean } }
        assert.isFalse(internal.changeFeed.isHeard())
      }).pipe(fresh))

    it.effect("recently ended fibers are bounded, oldest first, and hold no fiber", () =>
      Effect.gen(function*() {
        const service = FiberRegistry.unsafeMake({ endedCapacity: 3 })
        yield* Effect.gen(function*() {
          const scope = yield* Scope.make()
          for (let index = 0; index < 5; index++) {
            const effect = index === 3 ? Effect.die("boom") : Effect.void
            yield* Fiber.await(yield* FiberRegistry.forkIn(effect, scope, { name: `${index}` }))
          }
        }).pipe(Effect.provideService(registry, service), Effect.provide(quiet))
        const ended = yield* service.ended
        assert.deepStrictEqual(ended.map((one) => [one.name, one.outcome]), [
          ["2", "success"],
          ["3", "failure"],
          ["4", "success"]
        ])
        assert.notProperty(ended[0], "fiber")
      }))

    it.scoped("a listener that does not keep up loses the oldest changes, and holds nobody up", () =>
      Effect.gen(function*() {
        const { changes } = yield* registry
        const gate = yield* Deferred.make<void>()
        const seen: Array<FiberRegistry.Change> = []
        yield* Effect.forkScoped(
          Stream.runForEach(changes, (change) =>
            Effect.zipRight(
              Deferred.await(gate),
              Effect.sync(() => seen.push(change))
            ))
        )
        yield* settle
        const scope = yield* Scope.make()
        for (let index = 0; index < 2000; index++) {
          yield* Fiber.join(yield* FiberRegistry.forkIn(Effect.void, scope, { name: `${index}` }))
        }
        yield* Deferred.succeed(gate, undefined)
        while (seen.length === 0 || (seen.at(-1) as { ended?: FiberRegistry.Ended }).ended?.name !== "1999") {
          yield* Effect.yieldNow()
        }
        assert.isBelow(seen.length, 1200)
      }).pipe(fresh))
  })

  describe("the dump", () => {
    it.effect("reads like a process tree", () =>
      Effect.gen(function*() {
        const { dump } = yield* registry
        const session = (name: string) =>
          FiberRegistry.forkScoped(Effect.zipRight(Effect.fork(Effect.never), Effect.never), { name, kind: "session" })
        const text = yield* Effect.scoped(
          Effect.gen(function*() {
            yield* FiberRegistry.forkScoped(
              Effect.zipRight(session("session-1"), Effect.zipRight(session("session-2"), Effect.never)),
              { name: "http", kind: "service" }
            )
            yield* FiberRegistry.forkScoped(Effect.withSpan(Effect.never, "Ticker.tick"), {
              name: "ticker",
              kind: "ticker",
              restarts: 2,
              lastFailure: Cause.die(new Error("late"))
            })
            const failed = yield* FiberRegistry.forkScoped(Effect.die(new Error("gone")), { name: "import" })
            yield* Fiber.await(failed)
            yield* settle
            return yield* dump
          }).pipe(FiberRegistry.withOwner("mud"))
        )
        assert.strictEqual(
          plain(text).split("\n").filter((line) => !line.startsWith("fiber [untracked]")).join("\n"),
          [
            "mud",
            "├─ http [service] # suspended T",
            "│  ├─ session-1 [session] # suspended T",
            "│  │  └─ fiber [untracked] # suspended T",
            "│  └─ session-2 [session] # suspended T",
            "│     └─ fiber [untracked] # suspended T",
            "└─ ticker [ticker] # suspended T span=Ticker.tick restarts=2 last failure: Error: late",
            "recently ended:",
            "  mud/import [worker] # failure after T: Error: gone"
          ].join("\n")
        )
      }).pipe(fresh))

    it.scoped("sums up siblings beyond a limit", () =>
      Effect.gen(function*() {
        const { unsafeDump } = yield* registry
        yield* Effect.gen(function*() {
          for (let index = 0; index < 30; index++) {
            yield* FiberRegistry.forkScoped(Effect.never, { name: `s${index}`, kind: "session" })
          }
        }).pipe(FiberRegistry.withOwner("hub"))
        const text = unsafeDump({ maxSiblings: 10 })
        assert.include(text, "├─ s9 ")
        assert.notInclude(text, "─ s10 ")
        assert.match(text, /└─ … and 2\d more \(20 session/)
      }).pipe(fresh))

    it.scoped("the tree has tracked and untracked fibers under their owners", () =>
      Effect.gen(function*() {
        const { tree } = yield* registry
        yield* FiberRegistry.forkScoped(Effect.zipRight(Effect.fork(Effect.never), Effect.never), { name: "a" }).pipe(
          FiberRegistry.withOwner("app")
        )
        yield* settle
        const app = (yield* tree).find((node) => node.label === "app")!
        assert.strictEqual(app.entry, undefined)
        assert.deepStrictEqual(app.children.map((node) => node.label), ["a"])
        assert.strictEqual(app.children[0]!.entry!.children, 1)
        assert.deepStrictEqual(app.children[0]!.children.map((node) => node.entry!.kind), ["untracked"])
      }).pipe(fresh))
  })

  describe("volume", () => {
    const forks = 100_000

    it.effect(`${forks} tracked forks leave an empty census and a flat heap (daily)`, () =>
      Effect.gen(function*() {
        const { census, counts } = yield* registry
        const scope = yield* Scope.make()
        const round = (count: number) =>
          Effect.repeatN(
            Effect.flatMap(FiberRegistry.forkIn(Effect.void, scope, { name: "worker" }), Fiber.join),
            count - 1
          )
        const heap = Effect.sync(() => {
          collectGarbage()
          return process.memoryUsage().heapUsed
        })
        yield* round(2000)
        const before = yield* heap
        yield* round(forks)
        const after = yield* heap
        assert.deepStrictEqual(yield* census, [])
        assert.deepInclude(yield* counts, { live: 0, started: forks + 2000, ended: forks + 2000 })
        // A fiber that is kept weighs 4 KB, its record alone 700 bytes; the harness keeps some 20 bytes for each.
        assert.isBelow((after - before) / forks, 100)
        yield* Scope.close(scope, Exit.void)
      }).pipe(fresh), 60_000)

    it.effect("10,000 live fibers are counted, listed, and gone together", () =>
      Effect.gen(function*() {
        const { census, counts } = yield* registry
        const scope = yield* Scope.make()
        yield* Effect.repeatN(FiberRegistry.forkIn(Effect.never, scope, { name: "session", kind: "session" }), 9_999)
        assert.deepStrictEqual((yield* counts).byKind, { session: 10_000 })
        assert.strictEqual((yield* census).length, 10_000)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* census, [])
      }).pipe(fresh))
  })
})
