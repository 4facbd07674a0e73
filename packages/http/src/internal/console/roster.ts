/** Helpers for sections about what is in the roster. */
import * as Roster from "@holdfast/core/Roster"
import * as Effect from "effect/Effect"

export const each = <A, B>(kind: Roster.Kind<A>, f: (a: A) => Effect.Effect<B>): Effect.Effect<ReadonlyArray<B>> =>
  Effect.flatMap(Roster.all(kind), (all) => Effect.forEach(all, f))

/** Names that are taken twice are told apart. */
export const unique = <A extends { readonly key: string }>(rows: ReadonlyArray<A>): ReadonlyArray<A> => {
  const seen = new Map<string, number>()
  return rows.map((row) => {
    const times = seen.get(row.key) ?? 0
    seen.set(row.key, times + 1)
    return times === 0 ? row : { ...row, key: `${row.key} (${times + 1})` }
  })
}

export const total = <A>(kind: Roster.Kind<A>, f: (a: A) => Effect.Effect<number>): Effect.Effect<number> =>
  Effect.map(each(kind, f), (all) => all.length === 0 ? Number.NaN : all.reduce((sum, value) => sum + value, 0))

export const most = <A>(kind: Roster.Kind<A>, f: (a: A) => Effect.Effect<number>): Effect.Effect<number> =>
  Effect.map(each(kind, f), (all) => all.length === 0 ? Number.NaN : Math.max(...all))
