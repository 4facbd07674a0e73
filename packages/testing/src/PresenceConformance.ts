/**
 * What every adapter of `Presence` has to do, as a vitest suite.
 *
 * ```ts no-run
 * import * as Presence from "@holdfast/core/Presence"
 * import * as PresenceConformance from "@holdfast/testing/PresenceConformance"
 * import { Effect } from "effect"
 *
 * PresenceConformance.suite({
 *   name: "memory",
 *   cluster: Effect.sync(() => {
 *     const meeting = new Presence.Meeting()
 *     return (node, about) => Presence.makeMemory({ node, about, meeting })
 *   })
 * })
 * ```
 *
 * @since 0.1.0
 */
import { assert, describe, it } from "@effect/vitest"
import type * as Presence from "@holdfast/core/Presence"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { until } from "./internal/eventBusFixture.js"

type Join = (
  node: string,
  about: Readonly<Record<string, string>>
) => Effect.Effect<Presence.Service, unknown, Scope.Scope>

/**
 * The port to test.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  readonly name: string
  /** A fresh one: joins nodes that know one another. */
  readonly cluster: Effect.Effect<Join, unknown, Scope.Scope>
}

const roster = (...ids: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<Presence.Entry>> =>
  Effect.succeed(ids.map((id, index) => ({ id, idleMillis: index * 10 })))

/** Waits until the node sees these members, each with the nodes that it is on. */
const sees = (service: Presence.Service, expected: Record<string, ReadonlyArray<string>>) =>
  until(Effect.map(service.members, (members) => {
    const seen = Object.fromEntries([...members].map(([id, { nodes }]) => [id, nodes]))
    return JSON.stringify(Object.entries(seen).sort()) === JSON.stringify(Object.entries(expected).sort())
  }))

/**
 * Registers the suite, under `describe`.
 *
 * @since 0.1.0
 * @category testing
 */
export const suite = (options: Options): void => {
  const test = (name: string, body: (join: Join) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
    it.scopedLive(name, () => Effect.flatMap(options.cluster, body))

  describe(`Presence conformance: ${options.name}`, () => {
    test("knows itself at once", (join) =>
      Effect.gen(function*() {
        const a = yield* join("a", { version: "1" })
        assert.deepStrictEqual([...(yield* a.members)], [])
        yield* a.announce(roster("anna", "bert"))
        const members = yield* a.members
        assert.deepStrictEqual(members.get("anna"), { nodes: ["a"], idleMillis: 0 })
        assert.deepStrictEqual([...members.keys()].sort(), ["anna", "bert"])
        const [node] = yield* a.nodes
        assert.deepStrictEqual([node.node, node.about], ["a", { version: "1" }])
      }))

    test("hears of the others, and adds up who is on several", (join) =>
      Effect.gen(function*() {
        const [a, b] = [yield* join("a", {}), yield* join("b", { version: "2" })]
        yield* a.announce(roster("anna", "cleo"))
        yield* b.announce(roster("cleo", "bert"))
        yield* Effect.all([a.changed, b.changed])
        for (const service of [a, b]) {
          yield* sees(service, { anna: ["a"], bert: ["b"], cleo: ["a", "b"] })
        }
        assert.isAtMost((yield* a.members).get("cleo")!.idleMillis, 10)
        yield* until(Effect.map(a.nodes, (nodes) => nodes.map(({ node }) => node).join() === "a,b"))
        assert.deepStrictEqual((yield* a.nodes)[1].about, { version: "2" })
      }))

    test("a roster that changes is told anew, and whole", (join) =>
      Effect.gen(function*() {
        const [a, b] = [yield* join("a", {}), yield* join("b", {})]
        let present: ReadonlyArray<string> = ["anna"]
        yield* a.announce(Effect.suspend(() => roster(...present)))
        yield* a.changed
        yield* sees(b, { anna: ["a"] })
        present = ["bert"]
        yield* a.changed
        yield* sees(b, { bert: ["a"] })
      }))

    test("what ends is gone: a roster, a node", (join) =>
      Effect.gen(function*() {
        const a = yield* join("a", {})
        const scope = yield* Scope.make()
        const b = yield* Scope.extend(join("b", {}), scope)
        yield* Effect.scoped(Effect.gen(function*() {
          yield* b.announce(roster("anna"))
          yield* b.changed
          yield* sees(a, { anna: ["b"] })
        }))
        yield* Scope.extend(b.announce(roster("bert")), scope)
        yield* b.changed
        yield* sees(a, { bert: ["b"] })
        yield* Scope.close(scope, Exit.void)
        yield* sees(a, {})
        yield* until(Effect.map(a.nodes, (nodes) => nodes.length === 1))
      }))
  })
}
