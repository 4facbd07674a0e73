/**
 * A schedule: how a run differs from the plain order, in which no fiber is cut and whoever became ready first goes first.
 * Positions are told by the place of a fiber in the tree of forks and by its own operations, so that one move can be
 * taken away, or a fiber be edited, without changing what the others mean.
 */
import * as Schema from "effect/Schema"

export const Move = Schema.Struct({
  /** the fiber, or timer, that went before */
  at: Schema.String,
  /** how many operations of its own it had done */
  operation: Schema.Int,
  /** whether it was cut, or stopped by itself */
  cut: Schema.Boolean,
  /** of several choices at one position, the how manieth */
  turn: Schema.Int,
  /** the key of who goes on, `clock` or `microtasks` */
  to: Schema.String,
  /** the last line that the fiber was at, and how many operations ago: survives edits above */
  anchor: Schema.optionalWith(
    Schema.Struct({ text: Schema.String, visit: Schema.Int, plus: Schema.Int }),
    { exact: true }
  )
})
export type Move = typeof Move.Type

export const clock = "clock"
export const microtasks = "microtasks"

/** Moves by the fiber, or timer, that they come after. */
export type Script = ReadonlyMap<string, ReadonlyArray<Move>>

export const scriptOf = (moves: ReadonlyArray<Move>): Script => {
  const script = new Map<string, Array<Move>>()
  for (const move of moves) {
    const list = script.get(move.at)
    if (list === undefined) script.set(move.at, [move])
    else list.push(move)
  }
  return script
}

/** What a fiber carries of a script. */
export interface Scripted {
  script: Map<number, Array<Move>> | undefined
}

const plan = (fiber: Scripted, operation: number, move: Move) => {
  fiber.script ??= new Map()
  const planned = move.operation === operation ? move : { ...move, operation }
  const list = fiber.script.get(operation)
  if (list === undefined) fiber.script.set(operation, [planned])
  else list.push(planned)
}

/** Gives a new fiber its moves; when they are found by lines, only those that come before any line. */
export const give = (fiber: Scripted, moves: ReadonlyArray<Move> | undefined, anchored: boolean): void => {
  for (const move of moves ?? []) {
    if (!anchored || move.anchor === undefined) plan(fiber, move.operation, move)
  }
}

/** The fiber is at a line, after `operation` operations: plans the moves that are told by it. */
export const reach = (
  fiber: Scripted,
  moves: ReadonlyArray<Move> | undefined,
  line: { readonly text: string; readonly visit: number },
  operation: number
): void => {
  for (const move of moves ?? []) {
    const { anchor } = move
    if (anchor !== undefined && anchor.text === line.text && anchor.visit === line.visit) {
      plan(fiber, operation + anchor.plus, move)
    }
  }
}
