import type * as Clock from "effect/Clock"
import type { Event } from "../../Envelope.js"
import * as Monotonic from "../../Monotonic.js"
import { SubscriberSaturated } from "../../Publishing.js"
import type { Mailbox } from "./mailbox.js"
import type { Draft, Request } from "./model.js"
import type { StallWatch } from "./stallWatch.js"
import type { TopicIndex } from "./topicIndex.js"

/** What a handler may put into a full queue, in multiples of its capacity, before it is refused. */
const handlerReserve = 8

/** Who may be accepted now, and who waits until a lossless subscriber has room. */
export class Admission<A extends Event> {
  /** How many lossless mailboxes are full. */
  full = 0

  constructor(
    private readonly bus: string,
    private readonly index: TopicIndex<Mailbox<A>>,
    private readonly watch: StallWatch<A>,
    private readonly clock: Clock.Clock,
    private readonly accept: (request: Request<A>) => void,
    /** Whether what it was decided on is over: it will be told so, and takes no room. */
    private readonly isLate: (ifLast: number | undefined) => boolean
  ) {}

  /** Whether nobody who is interested is full, or it takes no room. */
  hasRoom({ drafts, ifLast }: Pick<Request<A>, "drafts" | "ifLast">): boolean {
    return this.blockerOf(drafts, ifLast) === undefined
  }

  /**
   * The first subscriber of interest that is full. One that is late waits for none: it may be its own, with the very events
   * that it has not decided on.
   */
  private blockerOf(drafts: ReadonlyArray<Draft<A>>, ifLast: number | undefined): Mailbox<A> | undefined {
    return this.isLate(ifLast) ? undefined : this.findFull(drafts, 0)
  }

  /** Accepts a request, or lets it wait. */
  admit(request: Request<A>) {
    const blocker = this.blockerOf(request.drafts, request.ifLast)
    if (blocker === undefined) return this.accept(request)
    blocker.waiting.push(request)
    if (blocker.waiting.length === 1) {
      blocker.stalledSince = Monotonic.unsafeNow(this.clock)
      this.watch.add(blocker)
    }
  }

  /** A mailbox that publishers wait for has room, or will never take anything. */
  onRoom(mailbox: Mailbox<A>) {
    if (mailbox.isLive) mailbox.stalledSince = Monotonic.unsafeNow(this.clock)
    while (mailbox.waiting.length > 0 && (!mailbox.isLive || mailbox.size < mailbox.capacity)) {
      this.admit(mailbox.waiting.shift()!)
    }
  }

  /** What a handler is told instead of waiting, since it could wait for itself. */
  saturation(drafts: ReadonlyArray<Draft<A>>): SubscriberSaturated | undefined {
    const mailbox = this.findFull(drafts, handlerReserve)
    return mailbox === undefined ? undefined : new SubscriberSaturated({
      bus: this.bus,
      subscriber: mailbox.name,
      queued: mailbox.size,
      capacity: mailbox.capacity
    })
  }

  /** A lossless subscriber of interest whose queue is full, and longer than its capacity by more than `reserve` times that. */
  private findFull(drafts: ReadonlyArray<Draft<A>>, reserve: number): Mailbox<A> | undefined {
    if (this.full === 0) return undefined
    for (const { event, topic } of drafts) {
      for (const list of this.index.lookup(topic, event._tag)) {
        for (const mailbox of list) {
          if (
            mailbox.lossless && mailbox.size >= mailbox.capacity * (1 + reserve) &&
            (mailbox.tags === undefined || mailbox.tags.has(event._tag))
          ) return mailbox
        }
      }
    }
    return undefined
  }
}
