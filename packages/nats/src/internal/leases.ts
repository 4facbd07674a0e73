import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { check, unsafeCheck, unsafeDuration } from "@holdfast/core/InvalidOption"
import type { Options, Owner } from "@holdfast/core/Leadership"
import { defaults } from "@holdfast/core/Leadership"
import * as Race from "@holdfast/core/Race"
import { Signal } from "@holdfast/core/Signal"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { fromName } from "../NatsSubject.js"
import type { Bucket, Entry } from "./bucket.js"
import * as Live from "./live.js"

interface Claim {
  readonly node: string
  /** None in the claim that begins a term: it is its own revision then. */
  readonly term?: number
  /** Names the write. */
  readonly id: string
}

const parse = (entry: Entry | undefined): (Claim & { readonly term: number }) | undefined => {
  if (entry?.value === undefined) return undefined
  try {
    const { id, node, term } = JSON.parse(entry.value.toString("utf8")) as Partial<Claim>
    return { id: id ?? "", node: node ?? "", term: term ?? entry.revision }
  } catch {
    // whatever it is, it is not ours
    return { id: "", node: "", term: entry.revision }
  }
}

interface Held {
  readonly term: number
  revision: number
  /** When it has to be over, on the monotonic clock. */
  deadline: number
}

interface Seat {
  readonly name: string
  readonly key: string
  readonly changed: Signal
  /** Counts what others wrote, and what they deleted. */
  written: number
  deleted: number
  /** When another node was last heard to write, on the monotonic clock. */
  heardAt: number
  held: Held | undefined
  /** Who owned it when this node last heard of it. */
  known: Omit<Owner, "mine"> | undefined
}

export class Leases {
  private readonly seats = new Map<string, Seat>()
  private readonly byKey = new Map<string, Seat>()

  private constructor(private readonly bucket: Bucket, private readonly ttl: number) {}

  /** What is written to the bucket is heard at once; that a lease ran out is not told, and found by asking. */
  static open(bucket: Bucket, ttl: number): Effect.Effect<Leases, never, Scope.Scope> {
    return Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => {
          const leases = new Leases(bucket, ttl)
          return {
            leases,
            subscription: bucket.watch((key, deleted, value) => leases.heard(key, deleted, value))
          }
        }),
        ({ subscription }) => Effect.sync(() => subscription.unsubscribe())
      ),
      ({ leases }) => leases
    )
  }

  private get node(): string {
    return this.bucket.connection.node
  }

  private seat(name: string): Seat {
    const known = this.seats.get(name)
    if (known !== undefined) return known
    const made: Seat = {
      name,
      key: fromName(name),
      changed: new Signal(),
      written: 0,
      deleted: 0,
      heardAt: Live.now(),
      held: undefined,
      known: undefined
    }
    this.seats.set(name, made)
    this.byKey.set(made.key, made)
    return made
  }

  private heard(key: string, deleted: boolean, value: Buffer) {
    const seat = this.byKey.get(key)
    if (seat === undefined) return
    if (deleted) seat.deleted++
    else if (parse({ key, revision: 0, value })?.node !== this.node) {
      seat.written++
      seat.heardAt = Live.now()
    }
    seat.changed.wake()
  }

  owner(name: string): Effect.Effect<Option.Option<Owner>> {
    return Effect.suspend(() => {
      const seat = this.seat(name)
      if (seat.held !== undefined) return Effect.succeedSome({ node: this.node, term: seat.held.term, mine: true })
      const asked = Effect.map(this.bucket.get(seat.key, 1000), (entry) => this.learn(seat, entry))
      return Effect.map(Effect.orElseSucceed(asked, () => seat.known), (known) =>
        known === undefined
          ? Option.none()
          : Option.some({
            node: known.node,
            term: known.term,
            mine: seat.held !== undefined && known.node === this.node
          }))
    })
  }

  private learn(seat: Seat, entry: Entry | undefined): Omit<Owner, "mine"> | undefined {
    const claim = parse(entry)
    seat.known = claim === undefined ? undefined : { node: claim.node, term: claim.term }
    return seat.known
  }

  whileOwner<E, R>(
    given: Options,
    owned: (term: number) => Effect.Effect<never, E, R>
  ): Effect.Effect<void, InvalidOption, Exclude<R, Scope.Scope> | Scope.Scope> {
    return Effect.gen(this, function*() {
      const { budget, pause } = yield* check(() => {
        const budget = unsafeDuration("Leadership.budget", given.budget ?? defaults.budget, { zero: true })
        unsafeCheck(
          "Leadership.budget",
          budget,
          // a smaller one than the default is taken as it comes when the lease is short
          () => given.budget === undefined || budget <= this.ttl / 2,
          `half of the lease at most, which is ${this.ttl} ms long`
        )
        return {
          budget: Math.min(budget, this.ttl / 2),
          pause: unsafeDuration("Leadership.pause", given.pause ?? defaults.pause, { zero: true })
        }
      })
      const seat = this.seat(given.name)
      const term = Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(restore(this.acquire(seat, budget)), (held) =>
          held === undefined
            ? restore(Effect.as(this.untilFree(seat), "over" as const))
            : this.hold(seat, held, budget, (effect) => restore(effect), owned))
      )
      const loop = Effect.flatMap(term, (how) => how === "failed" ? Live.sleep(pause) : Effect.void)
      yield* FiberRegistry.forkScoped(Effect.forever(loop), { name: `leadership/${given.name}`, kind: "service" })
    }) as Effect.Effect<void, InvalidOption, Exclude<R, Scope.Scope> | Scope.Scope>
  }

  /** Claims the lease if nobody has it. */
  private acquire(seat: Seat, budget: number): Effect.Effect<Held | undefined> {
    const { bucket, node, ttl } = this
    return Effect.suspend(() => {
      const patience = ttl / 4
      return Effect.flatMap(bucket.get(seat.key, patience), (entry) => {
        if (this.learn(seat, entry) !== undefined) return Effect.succeed(undefined)
        const id = randomBytes(8).toString("hex")
        const asked = Live.now()
        return Effect.map(
          bucket.write(seat.key, JSON.stringify({ node, id } satisfies Claim), {
            id,
            expected: entry?.revision ?? 0,
            isMine: (other) => parse(other)?.id === id,
            patience
          }),
          (revision): Held => ({ term: revision, revision, deadline: this.deadline(asked, budget) })
        )
      })
    }).pipe(
      // another one was faster, or nobody answers
      Effect.orElseSucceed(() => undefined),
      Effect.tap((held) =>
        Effect.sync(() => {
          seat.held = held
          if (held !== undefined) seat.known = { node, term: held.term }
        })
      ),
      Effect.uninterruptible
    )
  }

  private deadline(asked: number, budget: number): number {
    return asked + this.ttl - budget - this.ttl / 20
  }

  /** Until the lease may be free: it was deleted, or it is time to ask. */
  private untilFree(seat: Seat): Effect.Effect<void> {
    const { deleted } = seat
    return Effect.zipRight(
      Race.first(Live.sleep(this.untilAsked(seat)), seat.changed.wait(() => seat.deleted !== deleted)),
      // what was heard is written a moment later
      Effect.suspend(() => seat.deleted === deleted ? Effect.void : this.untilWritten(seat, 20))
    )
  }

  /** The end of a lease is known when its owner was heard: about then it is asked often. The server forgets it within 0.3 s. */
  private untilAsked({ heardAt }: Seat): number {
    const usual = this.ttl / 5
    const left = heardAt + this.ttl - Live.now()
    return left > 0 ? Math.min(usual, left) : left > -2_000 ? Math.min(usual, 100) : usual
  }

  private untilWritten(seat: Seat, tries: number): Effect.Effect<void> {
    return Effect.flatMap(
      Effect.orElseSucceed(this.bucket.get(seat.key, 500), () => undefined),
      (entry) =>
        tries === 0 || parse(entry) === undefined
          ? Effect.void
          : Effect.zipRight(Live.sleep(25), this.untilWritten(seat, tries - 1))
    )
  }

  /** Runs `owned` until it ends, the lease is lost, or the caller is interrupted. */
  private hold<E, R>(
    seat: Seat,
    held: Held,
    budget: number,
    restore: <A, E2, R2>(effect: Effect.Effect<A, E2, R2>) => Effect.Effect<A, E2, R2>,
    owned: (term: number) => Effect.Effect<never, E, R>
  ) {
    return Effect.gen(this, function*() {
      const scope = yield* Scope.make()
      const child = yield* Scope.extend(
        FiberRegistry.forkScoped(restore(Effect.scoped(owned(held.term))), {
          name: `term ${held.term}`,
          kind: "service"
        }),
        scope
      )
      let failed = false
      const onEnd = () => {
        failed = true
        seat.changed.wake()
      }
      child.addObserver(onEnd)
      const exit = yield* Effect.exit(
        restore(
          Race.first(this.keep(seat, held, budget), Effect.as(seat.changed.wait(() => failed), "failed" as const))
        )
      )
      child.removeObserver(onEnd)
      yield* Cleanup.run(
        { label: `leadership of ${seat.name}, term ${held.term}`, budget },
        Scope.close(scope, Exit.void)
      )
      const lost = Exit.isSuccess(exit) && exit.value === "lost"
      if (!lost) yield* this.release(seat, held)
      seat.held = undefined
      yield* exit
      return failed ? "failed" as const : "over" as const
    })
  }

  /** Renews the lease until it is lost. */
  private keep(seat: Seat, held: Held, budget: number): Effect.Effect<"lost"> {
    const { bucket, node, ttl } = this
    let { written } = seat
    let { deleted } = seat
    const renewal = Race.first(
      Live.sleep(ttl / 4),
      seat.changed.wait(() => seat.written !== written || seat.deleted !== deleted)
    ).pipe(
      Effect.zipRight(Effect.suspend(() => {
        written = seat.written
        deleted = seat.deleted
        const asked = Live.now()
        const id = randomBytes(8).toString("hex")
        return bucket.write(seat.key, JSON.stringify({ node, term: held.term, id } satisfies Claim), {
          id,
          expected: held.revision,
          isMine: (entry) => parse(entry)?.id === id,
          patience: held.deadline - asked
        }).pipe(Effect.map((revision) => {
          held.revision = revision
          held.deadline = this.deadline(asked, budget)
        }))
      }))
    )
    const overdue: Effect.Effect<"lost"> = Effect.suspend(() => {
      const left = held.deadline - Live.now()
      // an answer that lies in the socket may have renewed it
      return left <= 0
        ? Effect.succeed("lost")
        : Live.sleep(left).pipe(Effect.zipRight(Live.turn), Effect.zipRight(overdue))
    })
    return Race.first(overdue, Effect.orElseSucceed(Effect.forever(renewal), () => "lost" as const))
  }

  /** Gives the lease back, so that the next owner need not wait for its end. */
  private release(seat: Seat, held: Held): Effect.Effect<void> {
    return Effect.ignore(this.bucket.write(seat.key, "", {
      id: randomBytes(8).toString("hex"),
      expected: held.revision,
      operation: "DEL",
      patience: Math.max(0, Math.min(1000, held.deadline - Live.now()))
    }))
  }
}
