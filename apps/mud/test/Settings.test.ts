import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Either, Option, Redacted, TestClock } from "effect"
import * as Limits from "../src/Limits.js"
import { allows } from "../src/OperatorAccess.js"
import * as Settings from "../src/Settings.js"

const parse = (argv: ReadonlyArray<string>, environment: Record<string, string> = {}) => {
  const asked = Settings.parse(argv, environment)
  if (Either.isLeft(asked)) return asked.left
  return asked.right._tag === "Run" ? asked.right.settings : asked.right.text
}

describe("Settings", () => {
  it("takes flags before the environment before the defaults", () => {
    assert.include(parse([]), { port: 7070, host: "127.0.0.1", data: "data" })
    assert.include(parse([], { MUD_PORT: "81", MUD_DATA: "/x" }), { port: 81, data: "/x" })
    assert.include(parse(["--port=82", "--host", "::1"], { MUD_PORT: "81" }), { port: 82, host: "::1" })
    const settings = parse(["--idle-timeout", "1.5"]) as Settings.Settings
    assert.strictEqual(Duration.toMillis(settings.idleTimeout), 1_500)
  })

  it("keeps nothing when the port is a free one, unless told where", () => {
    assert.include(parse(["--port", "0"]), { data: "memory" })
    assert.include(parse(["--port", "0", "--data", "d"]), { data: "d" })
  })

  it("reports everything that is wrong, with the name that was used", () => {
    assert.deepStrictEqual(
      parse(["--prot", "1", "--port", "99999", "--tick"], { MUD_LOG: "loud", MUD_MAX_PLAYERS: "many" }),
      [
        "--prot: there is no such flag; --help lists them",
        "1: there is no such flag; --help lists them",
        "--tick: expected a value, SECONDS",
        "--port: expected a whole number from 0 to 65535, not \"99999\"",
        "MUD_MAX_PLAYERS: expected a whole number from 1 to 10000, not \"many\"",
        "MUD_LOG: expected one of auto, pretty, json, none, not \"loud\""
      ]
    )
  })

  it("never shows a secret", () => {
    assert.notInclude(JSON.stringify(parse([], { MUD_OPERATOR_TOKEN: "short" })), "short")
    assert.notInclude(JSON.stringify(parse([], { MUD_OPERATOR_TOKEN: "long-enough-secret" })), "long-enough")
  })

  it("answers --help with every flag, and --version with the version", () => {
    const help = parse(["--help"]) as string
    for (const flag of ["--port", "--host", "--data", "--world", "--operator-token", "--version", "MUD_PORT"]) {
      assert.include(help, flag)
    }
    assert.match(parse(["--version"]) as string, /^\d+\.\d+\.\d+/)
  })
})

describe("Limits", () => {
  it.effect("allow a burst, then a steady rate, for each key by itself", () =>
    Effect.gen(function*() {
      const limiter = Limits.make({ burst: 3, perSecond: 2 })
      const take = limiter.take("ada")
      assert.deepStrictEqual(yield* Effect.all([take, take, take, take]), [0, 0, 0, 500])
      assert.strictEqual(yield* limiter.take("bo"), 0)
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(yield* Effect.all([take, take]), [0, 500])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Effect.all([take, take, take, take]), [0, 0, 0, 500])
    }))

  it.effect("forget who is quiet, and never remember more than they may", () =>
    Effect.gen(function*() {
      const limiter = Limits.make({ burst: 1, perSecond: 1, capacity: 10 })
      for (let index = 0; index < 50; index++) yield* limiter.take(`key ${index}`)
      assert.strictEqual(yield* limiter.size, 10)
      yield* TestClock.adjust("1 minute")
      yield* limiter.take("one more")
      assert.strictEqual(yield* limiter.size, 1)
    }))
})

describe("OperatorAccess", () => {
  const request = (headers: Record<string, string>, address = "127.0.0.1") => ({
    headers: { host: "localhost:7070", ...headers },
    remoteAddress: Option.some(address)
  })
  const token = Redacted.make("a-long-secret")

  it("without a token opens for a browser on this machine, and for no page of another site", () => {
    assert.isTrue(allows(request({}), undefined))
    assert.isTrue(
      allows(request({ origin: "http://localhost:7070", "sec-fetch-site": "same-origin" }, "::1"), undefined)
    )
    assert.isFalse(allows(request({}, "192.0.2.7"), undefined))
    assert.isFalse(allows(request({ host: "evil.example" }), undefined))
    assert.isFalse(allows(request({ origin: "http://evil.example" }), undefined))
    assert.isFalse(allows(request({ "sec-fetch-site": "cross-site" }), undefined))
    assert.isFalse(allows(request({ "x-forwarded-for": "192.0.2.7" }), undefined))
  })

  it("with a token opens for the token alone", () => {
    assert.isTrue(allows(request({ authorization: "Bearer a-long-secret" }, "192.0.2.7"), token))
    assert.isFalse(allows(request({ authorization: "Bearer a-long-secres" }), token))
    assert.isFalse(allows(request({}), token))
  })
})
