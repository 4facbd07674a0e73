import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import type * as ShutdownReport from "@holdfast/core/ShutdownReport"
import * as Supervision from "@holdfast/core/Supervision"
import type { Clock } from "effect"
import {
  Config,
  ConfigProvider,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Scope,
  TestClock
} from "effect"

const reason: ShutdownReport.ShutdownReason = { _tag: "Signal", signal: "SIGTERM" }
const quiet = Layer.mergeAll(FiberRegistry.layer, Cleanup.layerMonitor, Logger.remove(Logger.defaultLogger))

describe("facts of a shutdown", () => {
  for (const label of ["stop mailer", "halt mailer"]) {
    it.effect(`are no matter of labels: a finalizer "${label}" that fails, beside an abandoned fiber "mailer"`, () =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const scope = yield* Scope.make()
        const fibers = yield* Scope.make()
        yield* Effect.gen(function*() {
          yield* FiberRegistry.forkIn(Effect.uninterruptible(Deferred.await(gate)), fibers, { name: "mailer" })
          yield* Scope.extend(Cleanup.addFinalizer({ label }, () => Effect.fail("no")), scope)
        }).pipe(FiberRegistry.withOwner("app"))
        yield* Effect.yieldNow()
        const lifecycle = yield* Lifecycle.make({ scope, log: false, gracefulShutdownTimeout: "300 millis" })
        const report = yield* lifecycle.shutdown(reason)
        assert.deepStrictEqual(report.items("abandoned").map(({ path }) => path), ["app/mailer"])
        assert.deepStrictEqual(report.items("failed").map(({ path }) => path), [`app "${label}"`])
        yield* Deferred.succeed(gate, undefined)
        yield* Scope.close(fibers, Exit.void)
      }).pipe(Effect.provide(quiet)))
  }

  const failing: Record<string, Layer.Layer<never>> = {
    dies: Layer.scopedDiscard(Effect.addFinalizer(() => Effect.die(new Error("flush failed")))),
    throws: Layer.scopedDiscard(Effect.addFinalizer(() => {
      throw new Error("flush failed")
    })),
    rejects: Layer.scopedDiscard(
      Effect.addFinalizer(() => Effect.promise(() => Promise.reject(new Error("flush failed"))))
    ),
    "of acquireRelease": Layer.scopedDiscard(
      Effect.acquireRelease(Effect.void, () => Effect.die(new Error("flush failed")))
    )
  }
  const around: Record<string, (layer: Layer.Layer<never>) => Layer.Layer<never>> = {
    alone: (layer) => layer,
    merged: (layer) => Layer.merge(Layer.effectDiscard(Effect.void), layer),
    provided: (layer) => Layer.effectDiscard(Effect.void).pipe(Layer.provide(layer))
  }
  for (const [how, layer] of Object.entries(failing)) {
    for (const [where, wrap] of Object.entries(around)) {
      it.effect(`tell of a plain finalizer that fails: ${how}, ${where}`, () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const lifecycle = yield* Lifecycle.make({ scope, log: false })
          yield* lifecycle.build(Layer.build(wrap(layer)))
          const report = yield* lifecycle.shutdown(reason)
          assert.strictEqual(report.verdict, "failed")
          const [item, ...rest] = report.items("failed")
          assert.deepStrictEqual(rest, [])
          assert.strictEqual(item.kind, "finalizer")
          assert.include(item.detail ?? "", "flush failed")
        }).pipe(Effect.provide(quiet)))
    }
  }
})

describe("references of the place where a finalizer is added", () => {
  it.effect("hold for the finalizer, its fallbacks and its report, and not beyond", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ annotations, logLevel, message }) => {
        // What Effect itself says of the fiber that failed.
        if (String(message).startsWith("Fiber terminated")) return
        lines.push(`${logLevel.label} ${String(message).slice(0, 22)} ${JSON.stringify([...annotations].slice(-1))}`)
      })
      const here = <A, E, R>(self: Effect.Effect<A, E, R>) =>
        self.pipe(
          Logger.withMinimumLogLevel(LogLevel.Debug),
          Effect.annotateLogs("place", "here"),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["PORT", "8080"]]))),
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
      const seen: Array<string> = []
      const scope = yield* Scope.make()
      yield* here(Scope.extend(
        Cleanup.addFinalizer({
          label: "flush",
          fallbacks: [{ label: "drop", run: () => Effect.logDebug("from the fallback") }]
        }, () =>
          Effect.gen(function*() {
            seen.push(yield* Effect.orDie(Config.string("PORT")))
            yield* Effect.logDebug("from the finalizer")
            return yield* Effect.fail("no")
          })),
        scope
      ))
      yield* Scope.close(scope, Exit.void)
      yield* Effect.logDebug("from elsewhere")
      assert.deepStrictEqual(seen, ["8080"])
      assert.strictEqual(lines.length, 3, lines.join("\n"))
      assert.match(lines[0], /^DEBUG from the finalizer/)
      assert.match(lines[1], /^DEBUG from the fallback/)
      assert.match(lines[2], /^WARN Cleanup flush fell ba/)
    }).pipe(Effect.provide(Layer.merge(FiberRegistry.layer, Cleanup.layerMonitor))))
})

describe("restart intensity", () => {
  /** A clock whose wall part is set from outside; its monotonic part is that of the test. */
  const withWall = (offset: () => number) =>
    Effect.map(Effect.clock, (clock) =>
      Layer.setClock(Object.assign(Object.create(clock) as Clock.Clock, {
        unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() + offset(),
        // That of the test clock would read the wall of this one.
        unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
        currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + offset())
      })))

  for (const [name, jump, escalates] of [["back", -3_600_000, false], ["forward", 3_600_000, true]] as const) {
    it.scoped(`is not moved by a clock that is set ${name}`, () =>
      Effect.gen(function*() {
        let offset = 0
        const wall = yield* withWall(() => offset)
        yield* Effect.gen(function*() {
          const crash = yield* Effect.makeLatch(false)
          const supervisor = yield* Supervision.make({
            name: "top",
            intensity: 1,
            period: "5 seconds",
            children: [{ name: "child", start: Effect.zipRight(crash.await, Effect.die("bug")) }]
          })
          const crashOnce = Effect.gen(function*() {
            yield* crash.open
            yield* crash.close
            yield* Effect.repeatN(Effect.yieldNow(), 20)
          })
          const ended = yield* Effect.fork(Effect.exit(supervisor.awaitEscalation))
          yield* Effect.repeatN(Effect.yieldNow(), 20)
          yield* crashOnce
          offset = jump
          // Two crashes in six seconds are legal, two in one second are one too many.
          yield* TestClock.adjust(escalates ? "1 second" : "6 seconds")
          yield* crashOnce
          const over = yield* Fiber.poll(ended)
          assert.strictEqual(over._tag, escalates ? "Some" : "None")
        }).pipe(Effect.provide(wall))
      }).pipe(Effect.provide(quiet)))
  }
})
