import { assert, describe, it } from "@effect/vitest"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import * as Supervision from "@holdfast/core/Supervision"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, TestClock } from "effect"
import * as fc from "fast-check"
import { sized } from "../../../scripts/sized.js"

const fresh = Effect.provide(Layer.merge(FiberRegistry.layer, Logger.replace(Logger.defaultLogger, Logger.none)))
const settle = Effect.repeatN(Effect.yieldNow(), 30)

type Ending = "finish" | "crash" | "interrupt"

type Step =
  | { readonly op: "end"; readonly name: string; readonly how: Ending }
  | { readonly op: "start"; readonly name: string; readonly restart: Supervision.Restart }
  | { readonly op: "stop" | "restart" | "delete"; readonly name: string }
  | { readonly op: "wait"; readonly millis: number }

interface Scenario {
  readonly strategy: Supervision.Strategy
  readonly intensity: number
  readonly children: ReadonlyArray<Supervision.Restart>
  readonly steps: ReadonlyArray<Step>
}

const names = ["a", "b", "c", "d", "e"]
const name = fc.constantFrom(...names)
const restart = fc.constantFrom<Supervision.Restart>("permanent", "transient", "temporary")
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant("end" as const),
      name,
      how: fc.constantFrom<Ending>("finish", "crash", "interrupt")
    })
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("start" as const), name, restart }) },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constantFrom("stop" as const, "restart" as const, "delete" as const), name })
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("wait" as const), millis: fc.constantFrom(400, 1000, 1001) }) }
)
const scenario: fc.Arbitrary<Scenario> = fc.record({
  strategy: fc.constantFrom<Supervision.Strategy>("one_for_one", "one_for_all", "rest_for_one"),
  intensity: fc.integer({ min: 0, max: 4 }),
  children: fc.array(restart, { maxLength: 4 }),
  steps: fc.array(step, { minLength: 3, maxLength: 15 })
})

const period = 1000

/** OTP's supervisor on paper: no fibers, no time but its own, nothing shared with the implementation. */
class Model {
  children: Array<{ name: string; restart: Supervision.Restart; up: boolean }> = []
  log: Array<string> = []
  restarts: Array<number> = []
  now = 0
  over = false

  constructor(readonly scenario: Scenario) {
    scenario.children.forEach((restart, index) => this.start(names[index]!, restart))
  }

  find(name: string) {
    return this.children.find((child) => child.name === name)
  }

  up(child: Model["children"][number]) {
    child.up = true
    this.log.push(`+${child.name}`)
  }

  down(child: Model["children"][number]) {
    if (child.up) this.log.push(`-${child.name}`)
    child.up = false
    if (child.restart === "temporary") this.children = this.children.filter((one) => one !== child)
  }

  start(name: string, restart: Supervision.Restart) {
    const child = { name, restart, up: false }
    this.children.push(child)
    this.up(child)
    return "ok"
  }

  take(step: Step): string {
    if (step.op === "wait") {
      this.now += step.millis
      return "ok"
    }
    const child = this.find(step.name)
    if (step.op === "end") {
      if (child?.up === true && !this.over) this.ended(child, step.how)
      return "ok"
    }
    if (this.over) return "SupervisorStopped"
    switch (step.op) {
      case "start":
        return child === undefined ? this.start(step.name, step.restart) : "ChildExists"
      case "stop":
        if (child === undefined) return "ChildNotFound"
        this.down(child)
        return "ok"
      case "restart":
        if (child === undefined) return "ChildNotFound"
        if (child.up) return "ChildRunning"
        this.up(child)
        return "ok"
      case "delete":
        if (child === undefined) return "ChildNotFound"
        if (child.up) return "ChildRunning"
        this.children = this.children.filter((one) => one !== child)
        return "ok"
    }
  }

  ended(child: Model["children"][number], how: Ending) {
    const { intensity, strategy } = this.scenario
    const index = this.children.indexOf(child)
    this.down(child)
    if (child.restart === "temporary" || (child.restart === "transient" && how !== "crash")) return
    this.restarts = [...this.restarts.filter((at) => this.now - at <= period), this.now]
    if (this.restarts.length > intensity) {
      this.over = true
      for (const one of this.children.toReversed()) this.down(one)
      return
    }
    const group = strategy === "one_for_one" ? [child] : this.children.slice(strategy === "one_for_all" ? 0 : index)
    for (const one of group.toReversed()) this.down(one)
    for (const one of group) if (one.restart !== "temporary") this.up(one)
  }

  get statuses() {
    return this.over ? "over" : this.children.map((child) => `${child.name}:${child.up}`).join(" ")
  }
}

const agree = (scenario: Scenario) =>
  Effect.scoped(Effect.gen(function*() {
    const model = new Model(scenario)
    const log: Array<string> = []
    const doors = new Map<string, Deferred.Deferred<void>>()
    const spec = (name: string, restart: Supervision.Restart): Supervision.ChildSpec => ({
      name,
      restart,
      start: Effect.gen(function*() {
        const door = yield* Deferred.make<void>()
        doors.set(name, door)
        log.push(`+${name}`)
        yield* Effect.onExit(Deferred.await(door), () => Effect.sync(() => log.push(`-${name}`)))
      })
    })
    const sup = yield* Supervision.make({
      name: "sup",
      strategy: scenario.strategy,
      intensity: scenario.intensity,
      period,
      children: scenario.children.map((restart, index) => spec(names[index]!, restart))
    })
    let over = false
    yield* Effect.forkScoped(Effect.ensuring(Effect.ignore(sup.awaitEscalation), Effect.sync(() => over = true)))
    yield* settle

    const perform = (step: Step): Effect.Effect<unknown, { readonly _tag: string }> => {
      switch (step.op) {
        case "end":
          return Effect.flatMap(sup.children, (all) => {
            const child = all.find((one) => one.name === step.name)
            if (child?.fiber === undefined) return Effect.void
            return step.how === "interrupt"
              ? Fiber.interrupt(child.fiber)
              : Deferred.done(doors.get(step.name)!, step.how === "crash" ? Exit.die("crash") : Exit.void)
          })
        case "start":
          return sup.startChild(spec(step.name, step.restart))
        case "stop":
          return sup.stopChild(step.name)
        case "restart":
          return sup.restartChild(step.name)
        case "delete":
          return sup.deleteChild(step.name)
        case "wait":
          return TestClock.adjust(step.millis)
      }
    }

    const taken: Array<string> = []
    for (const step of scenario.steps) {
      taken.push(JSON.stringify(step))
      const expected = model.take(step)
      const result = yield* Effect.match(perform(step), { onFailure: (error) => error._tag, onSuccess: () => "ok" })
      yield* settle
      const statuses = over
        ? "over"
        : (yield* sup.children).map((one) => `${one.name}:${one.status === "running"}`).join(" ")
      assert.deepStrictEqual(
        { result, statuses, log: log.join(" ") },
        { result: expected, statuses: model.statuses, log: model.log.join(" ") },
        `${JSON.stringify({ ...scenario, steps: [] })} after ${taken.join(", ")}`
      )
    }
  }))

describe("Supervision agrees with a model of OTP's supervisor", () => {
  const runs = sized(120, 2000, 40)

  it.effect(
    `in ${runs} scenarios of ends, commands and time`,
    () =>
      Effect.forEach(fc.sample(scenario, { numRuns: runs, seed: 20 }), (one) => agree(one).pipe(fresh), {
        discard: true
      }),
    60_000
  )
})
