import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import * as Explore from "@holdfast/testing/Explore"
import * as Faults from "@holdfast/testing/Faults"
import { Clock, Effect, Exit, Fiber, Option, Random, Scope, Stream } from "effect"
import { ensure, fewer, seeds, soon, timeout } from "./support/explore.js"

const reason = { _tag: "Requested", by: "test" } as unknown as Lifecycle.ShutdownReason

describe("shutdown under every interleaving", () => {
  it.effect(
    "who follows the phases and is interrupted holds up nothing; who stays hears of all of them",
    () =>
      Explore.check(
        Effect.gen(function*() {
          const lifecycle = yield* Lifecycle.make({ gracefulShutdownTimeout: "5 seconds", log: false })
          const follow = Effect.fork(Stream.runCollect(lifecycle.phases))
          const stays = yield* follow
          const victims = yield* Effect.replicateEffect(follow, 3)
          const shutdown = yield* Effect.fork(Effect.zipRight(soon(15), lifecycle.shutdown(reason)))
          yield* soon(25)
          yield* Fiber.interruptAll(victims)
          yield* Fiber.join(shutdown)
          const heard = Array.from(yield* Fiber.join(stays))
          const all = ["accepting", "draining", "stopping-sources", "stopping-workers", "releasing", "done"]
          // the first that it hears of is the one in which it came
          yield* ensure(
            heard.length > 0 && heard.join() === all.slice(all.length - heard.length).join(),
            () => `it heard of ${heard.join()}`
          )
        }),
        { seeds: fewer }
      ),
    timeout
  )

  it.effect("admits nothing behind readiness, loses nothing that it admitted, ends in time", () =>
    Explore.check(
      Effect.gen(function*() {
        const appScope = yield* Scope.make()
        const lifecycle = yield* Lifecycle.make({ scope: appScope, gracefulShutdownTimeout: "5 seconds", log: false })
        let closed = 0
        yield* Scope.addFinalizer(appScope, Effect.sync(() => closed++))
        const ran: Array<string> = []
        const phases = ["draining", "stopping-sources", "stopping-workers", "releasing"] as const
        for (const phase of phases) {
          yield* Scope.extend(
            lifecycle.onPhase(phase, { label: phase }, Effect.zipRight(soon(3), Effect.sync(() => ran.push(phase)))),
            appScope
          )
          // its scope has gone
          yield* Effect.scoped(lifecycle.onPhase(phase, { label: "gone" }, Effect.sync(() => ran.push("gone"))))
        }
        yield* FiberRegistry.forkIn(Effect.forever(Effect.sleep("1 second")), appScope, {
          name: "tick",
          kind: "ticker"
        })
        let began = 0
        let over = 0
        let lastOver = 0
        let cutShort = false
        const job = Effect.gen(function*() {
          const millis = yield* Random.nextIntBetween(0, (yield* Random.nextBoolean) ? 10_000 : 1_000)
          yield* Effect.exit(lifecycle.admit(
            "job",
            Effect.acquireUseRelease(
              Effect.sync(() => began++),
              () => Effect.sleep(millis),
              (_, exit) =>
                Effect.map(Clock.currentTimeMillis, (now) => {
                  if (Exit.isInterrupted(exit) && millis <= 1_000) cutShort = true
                  over++
                  lastOver = now
                })
            )
          ))
        })
        const jobs = yield* Effect.replicateEffect(Effect.fork(job), yield* Random.nextIntBetween(0, 4))
        yield* Effect.sleep(yield* Random.nextIntBetween(0, 2_000))
        const before = yield* Clock.currentTimeMillis
        // admitted, refused or interrupted: it must not matter when they come
        jobs.push(...(yield* Effect.replicateEffect(Effect.fork(job), 4)))
        const [one, two] = yield* Effect.all([
          lifecycle.shutdown(reason),
          lifecycle.shutdown(reason),
          lifecycle.requestShutdown(reason)
        ], { concurrency: "unbounded" })
        const end = yield* Clock.currentTimeMillis
        yield* ensure(end - before <= 5_100, () => `the shutdown took ${end - before} ms`)
        const idle = end - Math.max(before, lastOver)
        yield* ensure(idle <= 100, () => `the shutdown went on for ${idle} ms after the last job had ended`)
        yield* ensure(one === two, () => "two shutdowns, two reports")
        yield* ensure(began === over, () => `${began} jobs began, ${over} had ended when the shutdown was over`)
        yield* Effect.forEach(jobs, Fiber.await)
        yield* ensure(!cutShort, () => "a job was interrupted that draining had time for")
        yield* ensure(began === over, () => `${began} jobs began, ${over} ended`)
        yield* ensure((yield* lifecycle.admitted) === 0, () => "work is still counted")
        yield* ensure(closed === 1, () => `the scope was closed ${closed} times`)
        yield* ensure(ran.join() === phases.join(), () => `hooks that ran: ${ran.join()}`)
        const refused = yield* Effect.exit(lifecycle.admit("late", Effect.void))
        yield* ensure(Exit.isFailure(refused), () => "work was admitted after the end")
        yield* ensure(Option.isSome(yield* lifecycle.report), () => "no report")
        yield* lifecycle.awaitShutdown
      }),
      { seeds, settle: "1 minute" }
    ), timeout)

  it.effect("waits for work that comes as it begins, or refuses it", () =>
    Explore.check(
      Effect.gen(function*() {
        const lifecycle = yield* Lifecycle.make({ log: false })
        let atWork = 0
        const work = Effect.acquireUseRelease(
          Effect.sync(() => atWork++),
          () => Effect.sleep("1 second"),
          () => Effect.sync(() => atWork--)
        )
        const coming = yield* Effect.fork(Effect.exit(lifecycle.admit("work", work)))
        yield* lifecycle.shutdown(reason)
        yield* ensure(atWork === 0, () => "the shutdown was over before the work was")
        yield* Fiber.join(coming)
      }),
      { seeds, settle: "1 minute" }
    ), timeout)

  it.effect("ends within its time when hooks, fibers and finalizers hang or die", () =>
    Explore.check(
      Effect.gen(function*() {
        const appScope = yield* Scope.make()
        const lifecycle = yield* Lifecycle.make({ scope: appScope, gracefulShutdownTimeout: "5 seconds", log: false })
        for (const phase of ["draining", "releasing"] as const) {
          yield* Scope.extend(
            lifecycle.onPhase(
              phase,
              { label: phase },
              Effect.sleep("100 millis").pipe(Faults.finalizer(`hook.${phase}`))
            ),
            appScope
          )
        }
        const finalizers: Array<string> = []
        for (const label of ["first", "second", "third"]) {
          yield* Scope.extend(
            Cleanup.addFinalizer(
              { label, budget: "500 millis" },
              () =>
                Effect.zipRight(
                  Effect.sync(() => finalizers.push(label)),
                  Faults.finalizer(`finalizer.${label}`)(Effect.void)
                )
            ),
            appScope
          )
        }
        yield* FiberRegistry.forkIn(
          Effect.never.pipe(Effect.onInterrupt(() => Faults.finalizer("service")(Effect.void))),
          appScope,
          { name: "service", kind: "service" }
        )
        yield* Effect.yieldNow()
        const before = performance.now()
        const report = yield* lifecycle.shutdown(reason)
        const took = performance.now() - before
        yield* ensure(took <= 5_100, () => `the shutdown took ${took} ms of 5000`)
        yield* Effect.logInfo(ShutdownReport.render(report))
        yield* ensure(finalizers.join() === "third,second,first", () => `finalizers that ran: ${finalizers.join()}`)
      }).pipe(Effect.provide(Faults.layer({ probability: 1, activation: 0.4 }))),
      { seeds, leaks: false }
    ), timeout)

  it.effect("finalizers with a budget run once, in reverse order, whoever interrupts", () =>
    Explore.check(
      Effect.gen(function*() {
        const acquired: Array<number> = []
        const order: Array<number> = []
        const work = Effect.scoped(Effect.gen(function*() {
          for (const n of [1, 2, 3]) {
            yield* Cleanup.acquireRelease(
              Effect.zipRight(Effect.yieldNow(), Effect.sync(() => acquired.push(n))),
              { label: `resource ${n}`, budget: "1 second" },
              () =>
                Effect.zipRight(Effect.sleep(n === 2 ? "10 seconds" : "10 millis"), Effect.sync(() => order.push(n)))
            )
          }
          return yield* Effect.never
        }))
        const fiber = yield* Effect.fork(work)
        yield* soon()
        yield* Effect.all([Fiber.interrupt(fiber), Fiber.interrupt(fiber)], { concurrency: 2 })
        yield* Effect.sleep("1 minute")
        // the second one goes beyond its budget
        const expected = acquired.filter((n) => n !== 2).toReversed()
        yield* ensure(order.join() === expected.join(), () => `acquired ${acquired.join()}, released ${order.join()}`)
      }),
      { seeds }
    ), timeout)

  it.effect("is deterministic", () =>
    Effect.gen(function*() {
      const report = yield* Explore.checkDeterminism(
        Effect.gen(function*() {
          const lifecycle = yield* Lifecycle.make({ log: false })
          yield* lifecycle.shutdown(reason)
        }),
        { settle: "1 minute" }
      )
      assert.deepStrictEqual(report.escapes, [])
    }))
})
