/**
 * The fiber of a supervisor: it takes exits and commands from its mailbox, one at a time.
 */
import { Cause, Deferred, Effect, Exit, FiberId, FiberRef } from "effect"
import type { Context } from "effect"
import * as FiberRegistry from "../../FiberRegistry.js"
import { Inbox } from "../../Inbox.js"
import * as InvalidOption from "../../InvalidOption.js"
import {
  ChildExists,
  ChildNotFound,
  ChildRunning,
  defaults,
  Escalated,
  SupervisorStopped
} from "../../SupervisorSpec.js"
import type { ChildSpec, Options, Supervisor } from "../../SupervisorSpec.js"
import * as Child from "./child.js"
import { endsSupervisor, groupOf, RestartAllowance, staysDown } from "./restart.js"

type Due<R> = ReadonlyArray<readonly [child: Child.Child<R>, generation: number]>

type Message<R> =
  | { readonly _tag: "Exited"; readonly child: Child.Child<R>; readonly generation: number }
  | { readonly _tag: "Restart"; readonly due: Due<R> }
  | { readonly _tag: "Command"; readonly run: Effect.Effect<void> }

type Verdict = { readonly _tag: "GiveUp"; readonly escalated: Escalated } | { readonly _tag: "Done" } | undefined

const checkChild = ({ shutdown }: Pick<ChildSpec, "shutdown">) => {
  if (shutdown === undefined || shutdown === "infinity" || shutdown === "brutal_kill") return
  InvalidOption.unsafeDuration("Supervision.shutdown", shutdown, { zero: true, infinite: true })
}

/** Refuses nonsense before anything is started; returns the period in milliseconds. */
const checkOptions = <R>({ children, intensity, period }: Options<R>): number => {
  if (intensity !== undefined) InvalidOption.unsafeWhole("Supervision.intensity", intensity, { infinite: true })
  for (const child of children ?? []) checkChild(child)
  return InvalidOption.unsafeDuration("Supervision.period", period ?? defaults.period, { infinite: true })
}

export const make = <R>(options: Options<R>): Effect.Effect<Manager<R>, never, R> =>
  Effect.gen(function*() {
    return new Manager(
      options,
      checkOptions(options),
      yield* Effect.context<R>(),
      yield* FiberRegistry.FiberRegistry,
      yield* Deferred.make<void>(),
      yield* Deferred.make<void, Escalated>()
    )
  })

export class Manager<R> implements Child.Parent<R> {
  /** Known once the loop runs: it is the path of its fiber. */
  owner: FiberRegistry.OwnerPath
  /** In start order. */
  children: ReadonlyArray<Child.Child<R>> = []
  readonly allowance: RestartAllowance<R>
  /** Refuses the commands that wait for their answer. */
  private readonly refusals = new Set<() => void>()
  private finished = false
  private readonly mailbox = new Inbox<Message<R>>()

  constructor(
    readonly options: Options<R>,
    periodMillis: number,
    readonly context: Context.Context<R>,
    readonly registry: FiberRegistry.Service,
    private readonly started: Deferred.Deferred<void>,
    private readonly ended: Deferred.Deferred<void, Escalated>
  ) {
    this.owner = [options.name]
    this.allowance = new RestartAllowance(options.intensity ?? defaults.intensity, periodMillis, options.backoff)
  }

  /** Waits until the children are started. */
  get ready(): Effect.Effect<void> {
    return Deferred.await(this.started)
  }

  readonly onExit = (child: Child.Child<R>, generation: number) => {
    this.mailbox.unsafeOffer({ _tag: "Exited", child, generation })
  }

  get loop(): Effect.Effect<void, Escalated> {
    return Effect.uninterruptible(
      Effect.gen(this, function*() {
        this.owner = yield* FiberRef.get(FiberRegistry.currentOwner)
        for (const spec of this.options.children ?? []) {
          if (this.find(spec.name) !== undefined) {
            return yield* Effect.die(new ChildExists({ child: spec.name, status: "running" }))
          }
          yield* this.start(this.add(spec))
        }
        yield* Deferred.succeed(this.started, undefined)
        while (true) {
          yield* Effect.interruptible(this.mailbox.filled)
          const [message] = this.mailbox.unsafeTake(1)
          const verdict = yield* this.handle(message)
          if (verdict === undefined) continue
          yield* this.stopAll(this.children)
          if (verdict._tag === "Done") return
          return yield* this.escalate(verdict.escalated)
        }
      }).pipe(Effect.onExit(() => this.stopAll(this.children)))
    )
  }

  /** Says to all who wait that nothing will come any more. */
  readonly unsafeFinish = () => {
    if (this.finished) return
    this.finished = true
    for (const refuse of this.refusals) refuse()
    Deferred.unsafeDone(this.started, Exit.void)
    Deferred.unsafeDone(this.ended, Exit.void)
  }

  private handle(message: Message<R>): Effect.Effect<Verdict> {
    switch (message._tag) {
      case "Exited":
        return message.child.generation === message.generation
          ? this.onChildEnded(message.child)
          : Effect.succeed(undefined)
      case "Restart":
        return Effect.as(this.startDue(message.due), undefined)
      case "Command":
        return Effect.as(message.run, undefined)
    }
  }

  private onChildEnded(child: Child.Child<R>): Effect.Effect<Verdict> {
    return Effect.gen(this, function*() {
      const fiber = child.fiber!
      const exit = fiber.unsafePoll()!
      const crashed = Child.isCrash(exit)
      const cause = exit._tag === "Failure" ? exit.cause : Cause.empty
      const reportEnd = (action: string) =>
        crashed
          ? Effect.sync(() => Child.reportCrash(child, this, fiber, cause, action))
          : (child.spec.restart ?? defaults.restart) === "permanent"
          ? Effect.logWarning(`Child ${Child.pathOf(child, this).join("/")} ended: ${action}`)
          : Effect.void
      Child.markStopped(child)
      if (crashed) child.lastFailure = cause

      if (staysDown(child, crashed)) {
        yield* reportEnd("not restarted")
        if (child.spec.restart === "temporary") this.forget(child)
        return endsSupervisor(this.options.autoShutdown, this.children, child) ? { _tag: "Done" } : undefined
      }

      const decision = yield* this.allowance.decide(child, cause)
      if (decision._tag === "GiveUp") {
        const { intensity, periodMillis } = this.allowance
        const { owner } = this
        const { reason } = decision
        const escalated = new Escalated({ owner, reason, child: child.spec.name, intensity, periodMillis, cause })
        yield* reportEnd(`not restarted: ${escalated.message}`)
        return { _tag: "GiveUp", escalated }
      }
      const group = groupOf(this.options.strategy ?? defaults.strategy, this.children, child)
      const { delayMillis } = decision
      yield* reportEnd(
        (delayMillis === 0 ? "restarted" : `restart in ${delayMillis} ms`) +
          (group.length > 1 ? ` with ${group.length - 1} others` : "")
      )
      yield* this.restart(group, delayMillis)
      return undefined
    })
  }

  private restart(group: ReadonlyArray<Child.Child<R>>, delayMillis: number): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      yield* this.stopAll(group)
      const again = group.filter((one) => this.children.includes(one))
      for (const one of again) one.status = "restarting"
      const due: Due<R> = again.map((one) => [one, one.generation] as const)
      if (delayMillis === 0) return yield* this.startDue(due)
      const later = Effect.zipRight(Effect.sleep(delayMillis), this.mailbox.offer({ _tag: "Restart", due }))
      yield* Effect.fork(Effect.interruptible(later))
    })
  }

  private escalate(escalated: Escalated): Effect.Effect<never, Escalated> {
    const { onEscalation } = this.options
    return Effect.gen(this, function*() {
      yield* Deferred.fail(this.ended, escalated)
      yield* Effect.logError(escalated.message)
      if (onEscalation !== undefined) {
        // a function of the user's: it may throw, and whoever waits is to hear of the child that failed, not of this
        yield* Effect.suspend(() => Effect.provide(onEscalation(escalated), this.context)).pipe(
          Effect.catchAllCause((cause) =>
            Effect.logError(
              `onEscalation of ${this.owner.join("/")} failed: what it was to do about ${escalated.child} is not done`,
              cause
            )
          )
        )
      }
      return yield* escalated
    })
  }

  private add(spec: ChildSpec<R>): Child.Child<R> {
    const child = Child.make(spec, this.options.backoff?.initial)
    this.children = [...this.children, child]
    return child
  }

  private find(name: string) {
    return this.children.find((child) => child.spec.name === name)
  }

  private forget(child: Child.Child<R>) {
    this.children = this.children.filter((one) => one !== child)
  }

  private start(child: Child.Child<R>) {
    return Child.start(child, this)
  }

  /** In start order. Who was stopped or started by other means in the meantime is not touched. */
  private startDue(due: Due<R>) {
    return Effect.forEach(
      due,
      ([child, generation]) =>
        child.status === "restarting" && child.generation === generation ? this.start(child) : Effect.void,
      { discard: true }
    )
  }

  /** In reverse order of start. Temporary children are forgotten. */
  private stopAll(group: ReadonlyArray<Child.Child<R>>) {
    return Effect.zipRight(
      Effect.forEach(group.toReversed(), (child) => Child.stop(child, this), {
        discard: true,
        concurrency: this.options.stop === "together" ? "unbounded" : 1
      }),
      Effect.sync(() => {
        for (const child of group) if (child.spec.restart === "temporary") this.forget(child)
      })
    )
  }

  /** Runs in the loop, between two messages. */
  private command<A, E>(body: Effect.Effect<A, E>): Effect.Effect<A, E | SupervisorStopped> {
    return Effect.suspend(() => {
      const { owner } = this
      if (this.finished) return new SupervisorStopped({ owner })
      const answer = Deferred.unsafeMake<A, E | SupervisorStopped>(FiberId.none)
      const refuse = () => Deferred.unsafeDone(answer, Exit.fail(new SupervisorStopped({ owner })))
      this.refusals.add(refuse)
      this.mailbox.unsafeOffer({ _tag: "Command", run: Effect.asVoid(Effect.intoDeferred(body, answer)) })
      return Effect.ensuring(Deferred.await(answer), Effect.sync(() => this.refusals.delete(refuse)))
    })
  }

  private known(name: string) {
    return Effect.suspend(() => {
      const child = this.find(name)
      return child === undefined ? new ChildNotFound({ child: name }) : Effect.succeed(child)
    })
  }

  private idle(name: string) {
    return Effect.filterOrFail(
      this.known(name),
      (child) => child.status === "stopped",
      (child) => new ChildRunning({ child: name, status: child.status as ChildRunning["status"] })
    )
  }

  get supervisor(): Supervisor<R> {
    const ownerNow = () => this.owner
    return {
      name: this.options.name,
      get owner() {
        return ownerNow()
      },
      startChild: (spec) =>
        Effect.suspend(() => {
          checkChild(spec)
          return this.command(Effect.suspend(() => {
            const present = this.find(spec.name)
            return present === undefined
              ? this.start(this.add(spec))
              : Effect.fail(new ChildExists({ child: spec.name, status: present.status }))
          }))
        }),
      stopChild: (name) => this.command(Effect.flatMap(this.known(name), (child) => this.stopAll([child]))),
      restartChild: (name) => this.command(Effect.flatMap(this.idle(name), (child) => this.start(child))),
      deleteChild: (name) => this.command(Effect.map(this.idle(name), (child) => this.forget(child))),
      children: Effect.sync(() => this.children.map(Child.infoOf)),
      counts: Effect.sync(() => {
        const supervisors = this.children.filter((child) => child.spec.kind === "supervisor").length
        return {
          specs: this.children.length,
          active: this.children.filter((child) => child.status === "running").length,
          supervisors,
          workers: this.children.length - supervisors
        }
      }),
      awaitEscalation: Deferred.await(this.ended)
    }
  }
}
