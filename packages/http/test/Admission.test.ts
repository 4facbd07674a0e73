import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Admission from "@holdfast/http/Admission"
import * as HttpErrors from "@holdfast/http/HttpErrors"
import { Effect } from "effect"

const admit = (query: string, options: Admission.Options<never, never, HttpErrors.HttpError, never>) =>
  Admission.admit(HttpServerRequest.fromWeb(new Request(`http://server/events${query}`)), options)

/** The simple check, as everybody writes it. */
const asked: Array<string> = []
const authorize = (topic: string) => {
  asked.push(topic)
  return topic.startsWith("room.") && topic !== "room.secret"
    ? Effect.void
    : HttpErrors.make("Forbidden", "not for you")
}

describe("Admission", () => {
  it.effect("refuses patterns from outside before anybody is asked", () =>
    Effect.gen(function*() {
      asked.length = 0
      const patterns = ["?topic=room.s*", "?topic=*", "?topic=room.hall&topic=room.*", "?topic=room.s%2A", "?topic=**"]
      for (const query of patterns) {
        const error = yield* Effect.flip(admit(query, { topics: { authorize } }))
        assert.deepStrictEqual([error.problem.status, error.problem.body.field], [400, "topic"], query)
      }
      assert.deepStrictEqual(asked, [])
    }))

  it.effect("asks for a prefix apart where the route has an answer, and never the check of topics", () =>
    Effect.gen(function*() {
      asked.length = 0
      const prefixes: Array<string> = []
      const { following } = yield* admit("?topic=room.hall&topic=room.*&topic=*", {
        topics: {
          authorize,
          authorizePrefix: (prefix) => Effect.sync(() => void prefixes.push(prefix))
        }
      })
      assert.deepStrictEqual(asked, ["room.hall"])
      assert.deepStrictEqual(prefixes, ["room.", ""])
      assert.deepStrictEqual(following, [{ topic: "room.hall" }, { prefix: "room." }, { prefix: "" }])
    }))

  it.effect("takes an asterisk elsewhere for a character like any other", () =>
    Effect.gen(function*() {
      const { following } = yield* admit("?topic=room.*.hall&topic=room.**x", { topics: { authorize } })
      assert.deepStrictEqual(following, [{ topic: "room.*.hall" }, { topic: "room.**x" }])
    }))
})
