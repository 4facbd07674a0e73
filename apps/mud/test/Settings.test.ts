import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Either, Redacted, TestClock } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Limits from "../src/Limits.js"
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

  it("takes the operator's token from a file, and says what is wrong with it", () => {
    const folder = mkdtempSync(join(tmpdir(), "mud-settings-"))
    const [good, short] = ["good", "short"].map((name) => join(folder, name))
    writeFileSync(good, "a-token-from-a-file\n")
    writeFileSync(short, "short\n")
    const { operatorToken } = parse(["--operator-token-file", good]) as Settings.Settings
    assert.strictEqual(Redacted.value(operatorToken!), "a-token-from-a-file")
    assert.deepStrictEqual(parse(["--operator-token-file", short]), [
      `--operator-token-file: ${short} holds fewer than 16 characters`
    ])
    assert.match(String(parse([], { MUD_OPERATOR_TOKEN_FILE: `${folder}/none` })), /cannot be read: ENOENT/)
    rmSync(folder, { recursive: true })
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
