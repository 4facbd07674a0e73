/**
 * What drives a ticker: it waits for the next slot and hands it out, and is paused, resumed and repaced meanwhile.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as MetricLabel from "effect/MetricLabel"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as FiberRegistry from "../../FiberRegistry.js"
import * as Lock from "../../Lock.js"
import * as Monotonic from "../../Monotonic.js"
import type * as TickerStore from "../../TickerStore.js"
import { counter, histogram, noTags } from "./metrics.js"
import { fixedPlan, type Plan, schedulePlan, wallPlan } from "./plan.js"
import { Saver } from "./saver.js"
import type { Slots } from "./slots.js"

/** In milliseconds, or as a schedule says, which may name instants of the wall clock. */
export type Pace =
  | { readonly interval: number }
  | { readonly schedule: Schedule.Schedule<unknown, unknown>; readonly wall: boolean }

export interface Settings {
  readonly name: string
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  /** Whoever resumes the ticker, or changes its rate, does not become its owner. */
  readonly owner: FiberRegistry.OwnerPath
  readonly store: TickerStore.Service | undefined
  /** A slot is saved before it is handed out. */
  readonly ahead: boolean
}

/** Half of the longest time-out that JavaScript timers can do: longer waits are made of several. */
const longestSleep = 2 ** 30

export class Driver {
  phase: "running" | "paused" | "stopped" = "paused"
  plan: Plan | undefined = undefined
  ticks = 0
  lateMillis = 0
  maxLateMillis = 0
  closed = false
  readonly handlers: Array<Slots> = []
  readonly saver: Saver | undefined
  /** The instant from which the next slot is counted: of the last slot, or of a start after it. */
  private base = 0
  private fiber: Fiber.RuntimeFiber<void> | undefined = undefined
  private readonly control = new Lock.Lock()
  private readonly ticksTotal: ReturnType<typeof counter>
  private readonly lag: ReturnType<typeof histogram>

  constructor(private readonly settings: Settings, public state: TickerStore.State, private pace: Pace) {
    const { name, store } = settings
    this.saver = store === undefined ? undefined : new Saver(name, store, state.number, () => this.state)
    const labels = [MetricLabel.make("ticker", name)]
    this.ticksTotal = counter("holdfast_ticker_ticks_total", "Slots handed out", labels)
    this.lag = histogram("holdfast_ticker_lag_seconds", "Seconds from the instant of a slot to its tick", labels)
  }

  readonly pause = this.controlled(() => this.phase === "running" ? this.halt() : Effect.void)

  readonly resume = this.resumeFrom(Number.POSITIVE_INFINITY)

  /** As if the last slot had been then; at most one interval ago, and not in what is to come. */
  resumeFrom(last: number): Effect.Effect<void> {
    return this.controlled(() => {
      if (this.phase !== "paused") return Effect.void
      const now = Math.ceil(Monotonic.unsafeNow(this.settings.clock))
      const { pace } = this
      return this.start("interval" in pace ? Math.min(now, Math.max(last, now - pace.interval)) : now, now)
    })
  }

  repace(next: Pace): Effect.Effect<void> {
    return this.controlled(() => {
      this.pace = next
      if (this.phase !== "running") return Effect.void
      return Effect.zipRight(
        this.halt(),
        Effect.suspend(() => {
          const now = Math.ceil(Monotonic.unsafeNow(this.settings.clock))
          return this.start("interval" in next ? Math.max(this.base, now - next.interval) : this.base, now)
        })
      )
    })
  }

  close(): void {
    this.closed = true
    this.phase = "stopped"
    for (const handler of this.handlers) handler.close()
  }

  stats() {
    const { lateMillis, maxLateMillis, phase, plan, saver, state, ticks } = this
    return {
      name: this.settings.name,
      phase,
      rate: plan === undefined ? 0 : plan.rate,
      ...state,
      ticks,
      lateMillis,
      maxLateMillis,
      saves: saver === undefined ? 0 : saver.saves,
      saveFailures: saver === undefined ? 0 : saver.failures,
      handlers: this.handlers.map((handler) => handler.stats())
    }
  }

  private controlled(step: () => Effect.Effect<unknown>): Effect.Effect<void> {
    return Effect.uninterruptible(this.control.withLock(Effect.asVoid(Effect.suspend(step))))
  }

  private start(from: number, earliest: number): Effect.Effect<void> {
    const { clock, name, owner, scope } = this.settings
    const { pace } = this
    const anchor = { ...this.state, at: from }
    this.base = from
    const planned = "interval" in pace
      ? Effect.succeed(fixedPlan(pace.interval, anchor))
      : pace.wall
      ? wallPlan(pace.schedule, clock, anchor)
      : schedulePlan(pace.schedule, anchor, earliest)
    return Effect.flatMap(planned, (plan) => {
      this.plan = plan
      this.phase = "running"
      const drive = Effect.onExit(Effect.interruptible(this.drive(plan)), () =>
        Effect.sync(() => {
          if (this.plan === plan) this.phase = "stopped"
        }))
      return FiberRegistry.forkIn(drive, scope, { name, kind: "ticker" }).pipe(
        Effect.locally(FiberRegistry.currentOwner, owner),
        Effect.map((fiber) => {
          this.fiber = fiber
        })
      )
    })
  }

  private halt(): Effect.Effect<unknown> {
    this.plan = undefined
    this.phase = "paused"
    return this.fiber === undefined ? Effect.void : Fiber.interrupt(this.fiber)
  }

  private drive(plan: Plan): Effect.Effect<void> {
    const { saver } = this
    const { ahead, clock } = this.settings
    const next: Effect.Effect<void> = Effect.suspend(() => {
      const now = Monotonic.unsafeNow(clock)
      const wait = plan.wait(now)
      if (wait === Number.POSITIVE_INFINITY) return Effect.void
      if (wait > 0) {
        return Effect.zipRight(clock.sleep(Duration.millis(Math.min(Math.ceil(wait), longestSleep))), next)
      }
      return Effect.flatMap(plan.advance(now), (last) => {
        if (last === this.state.number) return next
        const state = { number: last, elapsedMillis: plan.elapsed(last), at: plan.at(last) }
        if (!ahead || saver === undefined) {
          this.handOut(plan, state, now, true)
          return next
        }
        return Effect.flatMap(saver.save(state), (kept) => {
          this.handOut(plan, state, Monotonic.unsafeNow(clock), kept)
          return next
        })
      })
    })
    return next
  }

  private handOut(plan: Plan, state: TickerStore.State, now: number, kept: boolean): void {
    const first = this.state.number + 1
    const last = state.number
    this.state = state
    this.base = plan.due(last)
    this.lateMillis = Math.max(0, now - plan.due(first))
    if (this.lateMillis > this.maxLateMillis) this.maxLateMillis = this.lateMillis
    if (!kept) {
      for (const handler of this.handlers) handler.drop(first, last)
      return
    }
    this.ticks += last - first + 1
    this.ticksTotal.unsafeUpdate(last - first + 1, noTags)
    this.lag.unsafeUpdate(this.lateMillis / 1000, noTags)
    for (const handler of this.handlers) handler.offer(first, last, plan)
    this.saver?.notify()
  }
}
