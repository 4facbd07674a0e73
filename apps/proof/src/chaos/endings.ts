/** How the process ends: finalizers that do not behave, signals under load, kills. */
import { eventually, sleep } from "../lib/wait.js"
import { ask, endsCleanly, expect, raw, returned, type Row, state, subject } from "./row.js"

const depths = [0, 1, 3, 10]

const said = (output: string, pattern: RegExp): string => {
  const found = output.split("\n").find((line) => pattern.test(line))
  expect(found !== undefined, `nothing was said of it:\n${output}`)
  return found!.trim().slice(0, 160)
}

const finalizers = (["hang", "throw", "block"] as const).flatMap((kind) =>
  depths.map((depth): Row => ({
    name: `finalizer that ${kind}s, ${depth} scopes deep`,
    holds: kind === "hang"
      ? "the process ends in its time (3 s and 0.5 s), is not clean, and names the finalizer"
      : kind === "throw"
      ? "the process ends, and names the finalizer and its error"
      : "the process ends in its time (3 s and 0.5 s) although its thread was blocked for 1 s",
    run: async (setting) => {
      const server = await subject(setting, { finalizer: { kind, depth } })
      const { code, millis } = await server.stop("SIGTERM")
      const after = Math.round(millis)
      expect(millis < 4_500, `it took ${after} ms`)
      if (kind === "block") return `exit code ${code} after ${after} ms`
      expect(code !== 0, "exit code 0: nobody would know")
      return `exit code ${code} after ${after} ms: ${said(server.output(), /planted/)}`
    }
  }))
)

const underLoad: Row = {
  name: "SIGTERM under load",
  holds: "requests in flight are answered whole, streams end with a farewell, exit code 0 within the time",
  run: async (setting) => {
    const server = await subject(setting, { timeout: "20 seconds" })
    const streams = await Promise.all(Array.from(
      { length: 100 },
      () => raw(server.port, "GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
    ))
    await eventually("100 streams", async () => (await state(server)).streams === 100)
    const flight = Array.from({ length: 50 }, () => ask(server.url, "GET", "/slow?millis=6000"))
    await eventually("50 requests are in flight", async () => (await state(server)).http.inFlight >= 150)
    await sleep(setting.chance.below(100))
    const ending = endsCleanly(server, 20_000)
    const answers = await Promise.allSettled(flight)
    const whole = answers.filter((one) => one.status === "fulfilled" && one.value.text.includes("\"slow\":true")).length
    const ended = await ending
    expect(whole === answers.length, `${answers.length - whole} of 50 requests in flight were not answered whole`)
    const farewells = streams.filter(({ text }) => /^retry:/m.test(text())).length
    expect(farewells === streams.length, `${farewells} of ${streams.length} streams were told when to come back`)
    return `${whole} answered whole, ${farewells} farewells; ${ended}`
  }
}

const twice: Row = {
  name: "second SIGTERM while a finalizer hangs",
  holds: "what is left ends within hurryTimeout (1 s), and the report still comes",
  run: async (setting) => {
    const server = await subject(setting, { finalizer: { kind: "hang", depth: 1 } })
    server.process.kill("SIGTERM")
    await sleep(200)
    const { code, millis } = await server.stop("SIGTERM")
    expect(millis < 3_000, `it took ${Math.round(millis)} ms`)
    return `exit code ${code} ${Math.round(millis)} ms after the second: ${said(server.output(), /^shutdown:/)}`
  }
}

const blocked: Row = {
  name: "event loop blocked for 2 s",
  holds: "afterwards everything goes on: requests, ticks, streams; nothing is restarted or left",
  run: async (setting) => {
    const server = await subject(setting)
    const before = await state(server)
    const stream = await raw(server.port, "GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
    await sleep(200)
    await ask(server.url, "POST", "/block?millis=2000")
    const had = stream.text().length
    await sleep(500)
    expect(stream.text().length > had, "no events after the block")
    stream.socket.destroy()
    const after = await state(server)
    expect(after.crashed === before.crashed, "something crashed")
    return `${await returned(server, before)}; ${await endsCleanly(server)}`
  }
}

const hung: Row = {
  name: "event loop blocked for good",
  holds: "the watchdog ends the process after its stall (2 s), and says so",
  run: async (setting) => {
    const server = await subject(setting, { stall: "2 seconds" })
    const from = performance.now()
    void ask(server.url, "POST", "/block?millis=600000").catch(() => {})
    const { code, signal } = await server.ended
    const millis = Math.round(performance.now() - from)
    expect(millis < 15_000, `it took ${millis} ms`)
    return `ended with ${code ?? signal} after ${millis} ms: ${said(server.output(), /no heartbeat/)}`
  }
}

export const endingRows: ReadonlyArray<Row> = [...finalizers, underLoad, twice, blocked, hung]
