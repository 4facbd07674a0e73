import { assert, describe, it } from "@effect/vitest"
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Supervision from "@holdfast/core/Supervision"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Fiber, Layer, Logger } from "effect"

const quiet = Logger.replace(Logger.defaultLogger, Logger.none)
const fresh = Effect.provide(Layer.mergeAll(Cleanup.layerMonitor, FiberRegistry.layer, quiet))

type Options = Supervision.Options

/** Lets everybody who is able to run do so. */
const settle = Effect.repeatN(Effect.yieldNow(), 50)

/** Children that log their start and stop, and end as they are told. */
const stage = Effect.sync(() => {
  const log: Array<string> = []
  const doors = new Map<string, Deferred.Deferred<unknown, unknown>>()
  const actor = (name: string, spec?: Partial<Supervision.ChildSpec>): Supervision.ChildSpec => ({
    name,
    ...spec,
    start: Effect.gen(function*() {
      log.push(`+${name}`)
      const door = yield* Deferred.make<unknown, unknown>()
      doors.set(name, door)
      yield* Effect.onExit(Deferred.await(door), () => Effect.sync(() => log.push(`-${name}`)))
    })
  })
  const end = (name: string, exit: Exit.Exit<unknown, unknown>) =>
    Effect.zipRight(Effect.suspend(() => Deferred.done(doors.get(name)!, exit)), settle)
  return {
    actor,
    /** What happened since the last look. */
    happened: Effect.map(settle, () => log.splice(0).join(" ")),
    crash: (name: string) => end(name, Exit.die(new Error(`${name} crashed`))),
    fail: (name: string) => end(name, Exit.fail(`${name} failed`)),
    finish: (name: string) => end(name, Exit.void),
    kill: (supervisor: Supervision.Supervisor, name: string) =>
      Effect.gen(function*() {
        const info = (yield* supervisor.children).find((one) => one.name === name)!
        yield* Fiber.interrupt(info.fiber!)
        yield* settle
      })
  }
})

type Stage = Effect.Effect.Success<typeof stage>

const rule = (
  name: string,
  body: (stage: Stage) => Effect.Effect<void, unknown, Scope.Scope>
) => it.scoped(name, () => Effect.flatMap(stage, body).pipe(fresh))

const start = (options: Partial<Options>) => Supervision.make({ name: "sup", intensity: 10, ...options })

const statuses = (supervisor: Supervision.Supervisor) =>
  Effect.map(supervisor.children, (all) => all.map((one) => `${one.name}:${one.status}`).join(" "))

describe("Supervision by the rules of OTP", () => {
  describe("restart type", () => {
    const table: ReadonlyArray<[Supervision.Restart, "finish" | "crash" | "fail" | "kill", boolean]> = [
      ["permanent", "finish", true],
      ["permanent", "crash", true],
      ["permanent", "fail", true],
      ["permanent", "kill", true],
      ["transient", "finish", false],
      ["transient", "crash", true],
      ["transient", "fail", true],
      ["transient", "kill", false],
      ["temporary", "finish", false],
      ["temporary", "crash", false],
      ["temporary", "fail", false],
      ["temporary", "kill", false]
    ]
    const how = {
      finish: "that returns (reason normal)",
      crash: "that dies (abnormal reason)",
      fail: "that fails (abnormal reason)",
      kill: "that is interrupted from outside (reason shutdown)"
    }
    for (const [restart, end, restarted] of table) {
      rule(`a ${restart} child ${how[end]} is ${restarted ? "" : "not "}restarted`, (stage) =>
        Effect.gen(function*() {
          const sup = yield* start({ children: [stage.actor("a", { restart })] })
          yield* stage.happened
          yield* end === "kill" ? stage.kill(sup, "a") : stage[end]("a")
          assert.strictEqual(yield* stage.happened, restarted ? "-a +a" : "-a")
        }))
    }
    rule("a child is permanent unless it says otherwise", (stage) =>
      Effect.gen(function*() {
        yield* start({ children: [stage.actor("a")] })
        yield* stage.happened
        yield* stage.finish("a")
        assert.strictEqual(yield* stage.happened, "-a +a")
      }))
    rule("the spec of a transient child that is done is kept", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a", { restart: "transient" })] })
        yield* settle
        yield* stage.finish("a")
        assert.strictEqual(yield* statuses(sup), "a:stopped")
      }))
    rule("the spec of a temporary child that is done is deleted", (stage) =>
      Effect.gen(function*() {
        const sup = yield* start({ children: [stage.actor("a", { restart: "temporary" })] })
        yield* settle
        yield* stage.crash("a")
        assert.strictEqual(yield* statuses(sup), "")
      }))
  })
})
