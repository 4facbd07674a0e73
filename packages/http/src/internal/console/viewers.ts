/**
 * Who looks. Each has room for a few frames; one that does not take them misses frames, and gets a whole picture when it
 * reads again.
 */
import { Signal } from "@holdfast/core/Signal"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Visitor } from "../../OperatorGuard.js"

/** Frames that wait for a slow reader. */
const room = 3

export class Viewer {
  readonly waiting: Array<Uint8Array> = []
  /** Does it need a whole frame, because it is new or has missed some? */
  stale = true
  missed = 0
  isGreeted = false
  private ended = false
  private readonly changed = new Signal()

  constructor(readonly role: Visitor["role"]) {}

  offer(bytes: Uint8Array) {
    this.waiting.push(bytes)
    this.changed.wake()
  }

  /** Is there room for a frame? When there is none, those that wait are dropped. */
  hasRoom(): boolean {
    if (this.waiting.length < room) return true
    this.missed += this.waiting.length + 1
    this.waiting.length = 0
    this.stale = true
    return false
  }

  end() {
    this.ended = true
    this.changed.wake()
  }

  readonly stream: Stream.Stream<Uint8Array> = Stream.repeatEffectOption(
    Effect.zipRight(
      this.changed.wait(() => this.ended || this.waiting.length > 0),
      Effect.suspend(() => {
        const next = this.waiting.shift()
        return next === undefined ? Effect.fail(Option.none()) : Effect.succeed(next)
      })
    )
  )
}

export class Viewers {
  readonly all = new Set<Viewer>()
  private closed = false

  constructor(readonly limit: number) {}

  /** For as long as the scope; undefined when there is no room. */
  readonly enter = (role: Visitor["role"]): Effect.Effect<Viewer | undefined, never, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => {
        if (this.all.size >= this.limit) return undefined
        const viewer = new Viewer(role)
        if (this.closed) viewer.end()
        this.all.add(viewer)
        return viewer
      }),
      (viewer) =>
        Effect.sync(() => {
          if (viewer !== undefined) this.all.delete(viewer)
        })
    )

  /** Ends all streams, also of those that come later. */
  readonly close = Effect.sync(() => {
    this.closed = true
    for (const viewer of this.all) viewer.end()
  })
}
