// edge: the binary runs as a process of its own, and is driven from outside
import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join as path } from "node:path"
import { fileURLToPath } from "node:url"
import { eventually, join, listen, press, request, type Server, sleep, start, stopAll } from "./support/server.js"

// Processes take their time to start where others work, too.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const scratch = mkdtempSync(path(tmpdir(), "holdfast-mud-"))
afterAll(async () => {
  await stopAll()
  rmSync(scratch, { recursive: true, force: true })
})

const names = (frames: ReadonlyArray<{ readonly event: string }>) =>
  frames.map(({ event }) => event).filter((event) => !["Ticked", "message", "position"].includes(event))

describe("a running server", () => {
  let server: Server
  beforeAll(async () => {
    server = await start(["--join-rate", "1000", "--per-address", "1000"])
  })
  afterAll(async () => {
    await server.stop()
  })

  it("lets two players see each other join, move and speak, only in the room where it happens", async () => {
    const ada = await join(server, "Ada")
    const bo = await join(server, "Bo")
    await ada.stream.next("Bo joins", ({ data, event }) => event === "Joined" && data.actor.name === "Bo")
    await bo.type("say hello")
    await ada.hear("hello")
    await request(server, "POST", "/api/move", { token: bo.token, body: { direction: "north" } })
    await ada.stream.next("Bo leaves", ({ event }) => event === "Departed")
    await request(server, "POST", "/api/say", { token: bo.token, body: { text: "nobody hears this" } })
    await bo.hear("nobody hears this")
    await ada.type("say nor this")
    await ada.hear("nor this")
    await ada.type("n")
    await bo.stream.next("Ada arrives", ({ data, event }) => event === "Arrived" && data.actor.name === "Ada")
    await ada.type("whisper Bo psst")
    await bo.hear("psst")
    assert.notInclude(ada.stream.text(), "nobody hears this")
    assert.notInclude(bo.stream.text(), "nor this")
    const saw = await ada.stream.next("Ada sees the market", ({ data, event }) => event === "Saw" && data.moved)
    assert.strictEqual(saw.data.view.name, "The Fish Market")
    const look = await request(server, "POST", "/api/look", { token: ada.token, body: {} })
    assert.include(look.body.reply.view.people.map(({ name }: { name: string }) => name), "Bo")
    for (const player of [ada, bo]) player.stream.close()
  })

  it("sends frames with an id, a name and JSON, ids without repeat, the world's minutes one after the other", async () => {
    const cy = await join(server, "Cy")
    await eventually("four minutes", () => cy.stream.frames.filter(({ event }) => event === "Ticked").length >= 4)
    const ids = cy.stream.frames.flatMap(({ id }) => id === undefined ? [] : [Number(id)])
    assert.deepStrictEqual(ids, [...new Set(ids)].sort((a, b) => a - b))
    const ticks = cy.stream.frames.filter(({ event }) => event === "Ticked").map(({ data }) => data)
    ticks.slice(1).forEach((tick, index) => assert.strictEqual(tick.minute, ticks[index].minute + 1))
    assert.match(cy.stream.text(), /^retry: ?\d+$/m)
    cy.stream.close()
  })

  it("answers what it cannot do in JSON, with a tag, the field and what was expected", async () => {
    const eve = await join(server, "Eve")
    const command = (line: string) => request(server, "POST", "/api/command", { token: eve.token, body: { line } })
    const bad = [
      [await request(server, "GET", "/nowhere"), 404, "NotFound"],
      [await request(server, "GET", "/api/join"), 405, "MethodNotAllowed"],
      [await request(server, "POST", "/api/join", { raw: "{" }), 400, "InvalidJson"],
      [await request(server, "POST", "/api/join", { body: {} }), 400, "InvalidRequest"],
      [await request(server, "POST", "/api/join", { body: { name: 7 } }), 400, "InvalidRequest"],
      [await request(server, "POST", "/api/join", { body: { name: "Eve" } }), 409, "NameTaken"],
      [await request(server, "POST", "/api/join", { body: { name: "" } }), 400, "BadName"],
      [await request(server, "POST", "/api/join", { body: { name: "x".repeat(20_000) } }), 413, "BodyTooLarge"],
      [await request(server, "POST", "/api/say", { body: { text: "hi" } }), 401, "Unauthorized"],
      [
        await request(server, "POST", "/api/say", { token: `${eve.token}x`, body: { text: "hi" } }),
        401,
        "Unauthorized"
      ],
      [await request(server, "POST", "/api/say", { token: eve.token, body: { text: 1 } }), 400, "InvalidRequest"],
      [
        await request(server, "POST", "/api/move", { token: eve.token, body: { direction: "sideways" } }),
        400,
        "UnknownCommand"
      ],
      [await command("north by northwest"), 400, "UnknownCommand"],
      [await command("go south"), 409, "NoExit"],
      [await command("take moon"), 404, "NotHere"],
      [await command("shutdown"), 403, "NotAllowed"],
      [await request(server, "GET", "/events"), 401, "Unauthorized"]
    ] as const
    for (const [{ body, status }, expected, tag] of bad) {
      assert.deepStrictEqual([status, body._tag], [expected, tag], JSON.stringify(body))
      assert.isString(body.message)
    }
    const missing = await request(server, "POST", "/api/say", { token: eve.token, body: {} })
    assert.include(missing.body, { _tag: "InvalidRequest", field: "text" })
    assert.isString(missing.body.expected)
    eve.stream.close()
  })

  it("says when somebody types too fast", async () => {
    const flo = await join(server, "Flo")
    const answers = await Promise.all(Array.from({ length: 30 }, () => flo.type("look")))
    const refused = answers.filter(({ status }) => status === 429)
    assert.isAbove(refused.length, 5)
    assert.strictEqual(refused[0].body._tag, "TooFast")
    assert.isAtLeast(Number(refused[0].headers["retry-after"]), 1)
    flo.stream.close()
  })

  it("serves its pages with a strict policy, and 304 when they are unchanged", async () => {
    for (
      const page of [
        "/",
        "/operator/",
        "/operator/console.js",
        "/player.js",
        "/narration.js",
        "/style.css",
        "/favicon.svg"
      ]
    ) {
      const whole = await request(server, "GET", page)
      assert.strictEqual(whole.status, 200, page)
      assert.include(whole.headers["content-security-policy"], "default-src 'none'")
      const again = await request(server, "GET", page, { headers: { "if-none-match": whole.headers["etag"]! } })
      assert.strictEqual(again.status, 304, page)
    }
  })

  it("shows the operator what runs, and lets nobody else", async () => {
    const gus = await join(server, "Gus")
    const { body } = await request(server, "GET", "/operator/snapshot", { token: server.operator.token! })
    const { alerts, sections } = body.frame
    assert.include(JSON.stringify(sections.players.set), "Gus")
    assert.include(JSON.stringify(sections.fibers.set), "world-writer")
    assert.notInclude(JSON.stringify(alerts), "Leaked")
    const stream = await listen(server, "/operator/feed", { token: server.operator.token! })
    const hello = await stream.next("a greeting", ({ event }) => event === "hello")
    const frame = await stream.next("a picture", ({ data, event }) => event === "frame" && data.whole)
    assert.strictEqual(frame.data.epoch, hello.data.epoch)
    assert.strictEqual(hello.id, undefined, "no id outlives the process")
    stream.close()
    // Behind a bare proxy everybody comes from this machine: who has no token is nobody.
    for (const path of ["/operator/snapshot", "/operator/feed"]) {
      assert.strictEqual((await request(server, "GET", path, { headers: { host: "127.0.0.1:7070" } })).status, 401)
    }
    const refused = await press(server, "shutdown", {}, "not-the-right-token")
    assert.deepStrictEqual([refused.status, refused.body._tag], [401, "Unauthorized"])
    const forged = await request(server, "POST", "/operator/act/shutdown", { body: {}, token: server.operator.token! })
    assert.deepStrictEqual([forged.status, forged.body._tag], [403, "Forbidden"])
    assert.strictEqual((await press(server, "announce", { text: "Dinner." })).status, 200)
    await gus.hear("Dinner.")
    assert.strictEqual((await press(server, "kick", { player: "Gus" })).status, 200)
    await gus.stream.next("Gus is told", ({ data, event }) => event === "Slept" && data.reason === "kicked")
    await gus.stream.closed
    const again = await request(server, "GET", "/events", { token: gus.token })
    assert.deepStrictEqual([again.status, again.body._tag], [409, "Asleep"])
  })

  it("has health and metrics", async () => {
    assert.strictEqual((await request(server, "GET", "/health/live")).status, 200)
    assert.strictEqual((await request(server, "GET", "/health/ready")).status, 200)
    const metrics = await request(server, "GET", "/metrics")
    assert.match(metrics.body, /^# TYPE holdfast_\w+ /m)
    for (const name of ["mud_players_awake", "mud_streams_open", "mud_bus_published_total", "mud_tick_late_seconds"]) {
      assert.match(metrics.body, new RegExp(`^${name} \\d`, "m"))
    }
  })
})

describe("stopping", () => {
  it("with 50 open streams: each gets a farewell with a retry, and the process ends by itself with 0", async () => {
    const server = await start(["--join-rate", "1000", "--per-address", "1000"])
    const players = await Promise.all(
      Array.from(
        { length: 50 },
        (_, index) => join(server, `Pl${"abcdefghijklmnopqrstuvwxy"[index % 25]}${index < 25 ? "a" : "b"}`)
      )
    )
    const { code, millis } = await server.stop()
    assert.strictEqual(code, 0)
    assert.isBelow(millis, 2_000)
    for (const { stream } of players) {
      const farewell = stream.frames.find(({ event }) => event === "farewell")
      assert.isDefined(farewell)
      assert.match(farewell!.retry ?? "", /^\d+$/)
    }
    assert.match(server.out.at(-1)!, /mud/)
  })

  it("with a finalizer that never returns: within the budget, and the report names it (daily)", async () => {
    const server = await start(["--shutdown-timeout", "3"], { HOLDFAST_FAULT: "hang-finalizer" })
    await join(server, "Ada")
    const { millis } = await server.stop()
    assert.isBelow(millis, 3_500)
    assert.include(server.out.at(-1)!, "finalizer that never returns")
  })

  it("by the operator's button (daily)", async () => {
    const server = await start(["--operator-token", "a-long-enough-token"])
    assert.strictEqual((await press(server, "shutdown")).status, 401)
    const accepted = await press(server, "shutdown", {}, "a-long-enough-token")
    assert.strictEqual(accepted.status, 200)
    assert.strictEqual(await server.exited, 0)
  })
})

describe("the command line", () => {
  it("says what is wrong with the world's data, where (daily)", async () => {
    const world = path(scratch, "broken")
    cpSync(fileURLToPath(new URL("../world", import.meta.url)), world, { recursive: true })
    const file = path(world, "harbour.yaml")
    writeFileSync(file, readFileSync(file, "utf8").replace("north: fish-market", "north: fishmarket"))
    const failed = await start(["--world", world]).catch((error: Error) => error.message)
    assert.match(
      String(failed),
      /harbour\.yaml:\d+:\d+ rooms\.quay\.exits\.north: names a room that does not exist: "fishmarket"/
    )
  })

  it("says what is wrong with a flag", async () => {
    assert.match(
      String(await start(["--tick", "soon"]).catch((error: Error) => error.message)),
      /--tick: expected seconds/
    )
  })
})

describe("what outlives a process", () => {
  it("players, things and time survive a restart and a kill; a stream goes on with nothing missing and nothing twice (daily)", async () => {
    const data = path(scratch, "store")
    let server = await start(["--data", data])
    const ada = await join(server, "Ada")
    for (const line of ["n", "take herring", "say before"]) await ada.type(line)
    const last = await ada.hear("before")
    // Said after the stream has gone, before the server ends: history has it.
    ada.stream.close()
    await ada.type("say unheard")
    await ada.type("e")
    await ada.type("say from the chandlery")
    assert.strictEqual((await server.stop()).code, 0)
    for (const how of ["SIGTERM", "SIGKILL"] as const) {
      server = await start(["--data", data])
      const stream = await listen(server, "/events", { token: ada.token, lastEventId: last.id! })
      await stream.next("what was said", ({ data: event }) => event?.text === "from the chandlery")
      const seen = names(stream.frames).filter((name) => !["Slept", "Woke", "Saw", "Reached"].includes(name))
      assert.deepStrictEqual(seen.slice(0, 4), ["Said", "Departed", "Arrived", "Said"])
      const { body } = await request(server, "POST", "/api/command", { token: ada.token, body: { line: "inventory" } })
      assert.deepStrictEqual(body.reply.things.map(({ id }: { id: string }) => id), ["herring"])
      const look = await request(server, "POST", "/api/look", { token: ada.token, body: {} })
      assert.strictEqual(look.body.reply.view.id, "chandlery")
      stream.close()
      await server.stop(how)
    }
  })

  it("a change of the data comes into the running world, and players stay where they are (daily)", async () => {
    const world = path(scratch, "reloaded")
    cpSync(fileURLToPath(new URL("../world", import.meta.url)), world, { recursive: true })
    const server = await start(["--world", world])
    const ada = await join(server, "Ada")
    await ada.type("w")
    const file = path(world, "harbour.yaml")
    const text = readFileSync(file, "utf8")
    writeFileSync(file, text.replace("A long arm of tumbled stone", "A long arm of broken glass"))
    const changed = await ada.stream.next(
      "the new room",
      ({ data, event }) => event === "Changed" && /broken glass/.test(data.view.description)
    )
    assert.strictEqual(changed.data.view.id, "breakwater")
    writeFileSync(file, text.replace("name: The Quay", "nam: The Quay"))
    await eventually(
      "the mistake is logged",
      () => server.out.some((line) => /harbour\.yaml:\d+:\d+ rooms\.quay\.nam/.test(line))
    )
    assert.strictEqual((await ada.type("look")).status, 200)
    await server.stop()
  })

  it("players fall asleep: by silence, or by a lost connection, which wakes again by itself (daily)", async () => {
    const server = await start(["--idle-timeout", "2", "--linger", "0.5"])
    const ada = await join(server, "Ada")
    const bo = await join(server, "Bo")
    bo.stream.close()
    await ada.stream.next("Bo is gone", ({ data, event }) => event === "Slept" && data.reason === "lost")
    const again = await listen(server, "/events", { token: bo.token, lastEventId: bo.after })
    await again.next("Bo wakes", ({ event }) => event === "Woke")
    await ada.stream.next(
      "Ada nods off",
      ({ data, event }) => event === "Slept" && data.actor.name === "Ada" && data.reason === "idle"
    )
    await ada.stream.closed
    assert.strictEqual((await ada.type("look")).body._tag, "Asleep")
    const back = await request(server, "POST", "/api/join", { body: { token: ada.token } })
    assert.deepInclude(back.body.player, { name: "Ada" })
    await sleep(50)
    assert.strictEqual((await ada.type("look")).status, 200)
    await server.stop()
  })
})
