// edge: the binary runs as a process of its own, and is driven from outside
import { afterAll, assert, beforeAll, describe, it, vi } from "@effect/vitest"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join as path } from "node:path"
import type { Browser, Page } from "playwright-core"
import { enter, launch, linesOf, missing, named, open, type, waitForLine } from "./support/browser.js"
import { eventually, join, request, type Server, sleep, start, stopAll } from "./support/server.js"

// Processes take their time to start where others work, too.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 })

const scratch = mkdtempSync(path(tmpdir(), "holdfast-pages-"))
afterAll(async () => {
  await stopAll()
  rmSync(scratch, { recursive: true, force: true })
})

describe("the colours", () => {
  const sheet = readFileSync(new URL("../public/style.css", import.meta.url), "utf8")
  const schemes = [...sheet.matchAll(/:root \{([^}]*)\}/g)].map(([, block]) =>
    new Map([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]))
  )
  const luminance = (colour: string) => {
    const [red, green, blue] = [1, 3, 5].map((at) => {
      const part = parseInt(colour.slice(at, at + 2), 16) / 255
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const contrast = (a: string, b: string) => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x)
    return (light + 0.05) / (dark + 0.05)
  }

  it("can be read, in the dark and in the light", () => {
    assert.strictEqual(schemes.length, 2)
    for (const scheme of schemes) {
      for (const ground of ["ground", "raised"]) {
        assert.isAtLeast(contrast(scheme.get("ink")!, scheme.get(ground)!), 7)
        for (const ink of ["soft", "accent", "speech", "whisper", "world", "error", "good"]) {
          assert.isAtLeast(contrast(scheme.get(ink)!, scheme.get(ground)!), 4.5, `${ink} on ${ground}`)
        }
      }
      // What can be pressed or typed into has an edge that can be seen.
      for (const ground of ["ground", "raised"]) {
        assert.isAtLeast(contrast(scheme.get("edge")!, scheme.get(ground)!), 3, `edge on ${ground}`)
      }
      assert.isAtLeast(contrast(scheme.get("accent-ink")!, scheme.get("accent")!), 4.5)
    }
  })
})

describe.skipIf(missing)(named("the pages in Chromium"), () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
  })

  /** The numbered lines of a log, as they stand there. */
  const numbers = async (page: Page) =>
    (await linesOf(page)).flatMap((line) => /line (\d+)/.exec(line)?.slice(1) ?? []).map(Number)

  it("three players, a restart, a page that sleeps and one that loses its network: every log is whole (daily)", async () => {
    const data = path(scratch, "scene")
    const problems: Array<string> = []
    let server = await start(["--data", data])
    const flags = ["--data", data, "--port", String(server.port)]
    const names = ["Ada", "Bo", "Cy"]
    const pages: Array<Page> = []
    for (const name of names) {
      const page = await open(browser, server.url, problems)
      await enter(page, name)
      pages.push(page)
    }
    const [ada, bo, cy] = pages
    let said = 0
    const say = async (page: Page) => {
      said += 1
      await type(page, `say line ${said}`)
      await waitForLine(page, `line ${said}`)
    }
    for (const page of [ada, bo, cy, ada]) await say(page)

    // One page sleeps while the others talk, go away, and come back.
    const sleeper = await bo.context().newCDPSession(bo)
    await sleeper.send("Page.setWebLifecycleState", { state: "frozen" })
    await say(ada)
    await say(cy)

    // The server restarts. Somebody types into the hole, and what was typed is still there.
    assert.strictEqual((await server.stop()).code, 0)
    await ada.waitForSelector("#link:not([data-state=live])")
    await type(ada, "say into the void")
    await ada.locator("#log .line.error").first().waitFor()
    assert.strictEqual(await ada.inputValue("#line"), "say into the void")
    await ada.fill("#line", "")
    server = await start(flags)
    for (const page of [ada, cy]) await page.waitForSelector("#link[data-state=live]", { timeout: 60_000 })
    await say(ada)
    await say(cy)
    await sleeper.send("Page.setWebLifecycleState", { state: "active" })
    await bo.waitForSelector("#link[data-state=live]", { timeout: 60_000 })
    await waitForLine(bo, `line ${said}`)
    await say(bo)

    // One page has no network while the others go on, and one of them goes next door and comes back.
    await cy.context().setOffline(true)
    await say(ada)
    await say(bo)
    await type(bo, "north")
    await waitForLine(bo, "Slate tables")
    await type(bo, "say not heard on the quay")
    await waitForLine(bo, "not heard on the quay")
    await type(bo, "south")
    await waitForLine(ada, "Bo arrives from the north")
    await say(ada)
    await cy.context().setOffline(false)
    await cy.waitForSelector("#link[data-state=live]", { timeout: 60_000 })
    await waitForLine(cy, `line ${said}`)

    // A reload goes on where the log ended.
    await ada.reload()
    await ada.waitForSelector("#link[data-state=live]")
    await say(cy)
    for (const page of pages) await waitForLine(page, `line ${said}`)

    const whole = Array.from({ length: said }, (_, index) => index + 1)
    for (const [index, page] of pages.entries()) {
      assert.deepStrictEqual(await numbers(page), whole, names[index])
      const lines = await linesOf(page)
      assert.strictEqual(
        lines.filter((line) => line.includes("Bo leaves north")).length,
        index === 1 ? 0 : 1,
        names[index]
      )
      const ids = await page.locator("#log .line[data-id]").evaluateAll((all) => all.map((line) => line.dataset["id"]))
      assert.strictEqual(new Set(ids).size, ids.length, "no event is there twice")
      if (index !== 1) assert.notInclude(lines.join("\n"), "not heard on the quay")
      await page.context().close()
    }
    assert.deepStrictEqual(problems, [])
    await server.stop()
  })

  it("is played with the keyboard from the first second, and tells a screen reader what happens", async () => {
    const problems: Array<string> = []
    const server = await start()
    const page = await open(browser, server.url, problems)
    // The name is there already: one key is enough.
    await page.waitForSelector("#name:focus")
    await page.keyboard.press("Enter")
    await page.waitForSelector("#line:focus")
    await page.keyboard.type("lo")
    await page.keyboard.press("Tab")
    assert.strictEqual(await page.inputValue("#line"), "look ")
    await page.keyboard.press("Enter")
    await eventually("the room is described twice", async () => (await page.locator("#log .line.room").count()) === 2)
    assert.strictEqual(await page.locator("#log h2").count(), 1, "its name is said once")
    await page.keyboard.press("ArrowUp")
    assert.strictEqual(await page.inputValue("#line"), "look")
    await page.keyboard.press("Escape")
    await page.click("#exits button >> text=north")
    await waitForLine(page, "Slate tables")
    assert.strictEqual(await page.locator("#log h2").last().textContent(), "The Fish Market")
    const log = page.getByRole("log")
    assert.strictEqual(await log.getAttribute("aria-live"), "polite")
    assert.strictEqual(await page.getByRole("status").textContent(), "awake")
    assert.strictEqual(await page.getByRole("main").count(), 1)
    await type(page, "quit")
    await page.waitForSelector("#link[data-state=asleep]")
    assert.strictEqual((await linesOf(page)).filter((line) => line.includes("fall asleep")).length, 1)
    await page.focus("#line")
    await page.keyboard.press("Enter")
    await page.waitForSelector("#link[data-state=live]")
    assert.deepStrictEqual(problems, [])
    await page.context().close()
    await server.stop()
  })

  it("says things once, above the line, and keeps what was typed until it is accepted (daily)", async () => {
    const problems: Array<string> = []
    const server = await start()
    const page = await open(browser, server.url, problems)
    await enter(page, "Ada")
    // The last line stands on the prompt.
    const gap = await page.evaluate<number>(
      "document.querySelector('#prompt').getBoundingClientRect().top - [...document.querySelectorAll('#log .line')].at(-1).getBoundingClientRect().bottom"
    )
    assert.isBelow(gap, 40)
    const log = () => page.textContent("#log")
    const times = async (text: string) => ((await log()) ?? "").split(text).length - 1
    assert.strictEqual(await times("The Quay"), 1)
    assert.strictEqual(await times("The Fish Market"), 0, "the ways are beside it")
    await type(page, "say good evening")
    await waitForLine(page, "good evening")
    assert.strictEqual(await times("good evening"), 1)
    // A name in the text.
    await page.click("#log button.name >> text=bronze post")
    await page.click("#menu button >> text=look")
    await waitForLine(page, "North: market and keep.")
    // Nobody knows this verb: it is offered as speech, and stays in the line.
    await type(page, "dance with me")
    await page.locator("#log .line.error", { hasText: "is not something you can do here" }).waitFor()
    assert.strictEqual(await page.inputValue("#line"), "dance with me")
    await page.click("#log .offers button >> text=say dance with me")
    await waitForLine(page, "You say: “dance with me”")
    const long = `say ${"x".repeat(450)}`
    await page.fill("#line", long)
    assert.match((await page.textContent("#size")) ?? "", /454 of 400/)
    await page.focus("#line")
    await page.keyboard.press("Enter")
    await page.locator("#log .line.error", { hasText: "at most 400 characters" }).waitFor()
    assert.strictEqual(await page.inputValue("#line"), long)
    // Help in two columns, whose examples can be clicked.
    await page.fill("#line", "")
    await type(page, "help")
    await page.click("#log dt button >> text=whisper")
    assert.strictEqual(await page.inputValue("#line"), "whisper Maren hello")
    assert.deepStrictEqual(problems, [])
    await page.context().close()
    await server.stop()
  })

  it("keeps a crowd out of the way of the keyboard (daily)", async () => {
    const problems: Array<string> = []
    const server = await start(["--join-rate", "1000", "--per-address", "1000"])
    const page = await open(browser, server.url, problems)
    await enter(page, "Ada")
    for (let index = 0; index < 60; index++) {
      const name = `Pl${[...String(index + 100)].map((digit) => "abcdefghij"[Number(digit)]).join("")}`
      assert.strictEqual((await request(server, "POST", "/api/join", { body: { name } })).status, 200)
    }
    await page.locator("#around button", { hasText: /^and 5\d more$/ }).waitFor()
    assert.isAtMost(await page.locator("#around button").count(), 12)
    // From the top of the page to the line: the log itself, and nothing else.
    const stops = await page.evaluate<ReadonlyArray<string>>(`(() => {
      const all = [...document.querySelectorAll("#game :is(a, button, input, summary, [tabindex])")]
        .filter((one) => one.tabIndex >= 0 && one.checkVisibility())
      return all.slice(0, all.findIndex(({ id }) => id === "line")).map((one) => one.id || one.textContent)
    })()`)
    assert.deepStrictEqual(stops, ["log"])
    await page.context().close()
    assert.deepStrictEqual(problems, [])
    await server.stop()
  })

  it("lets somebody go on as who they were, give up the name, and wakes all tabs at once (daily)", async () => {
    const problems: Array<string> = []
    const server = await start()
    const page = await open(browser, server.url, problems)
    await enter(page, "Heron")
    const other = await page.context().newPage()
    await other.goto(server.url)
    await other.waitForSelector("#resume:focus")
    assert.strictEqual(await other.textContent("#resume"), "Go on as Heron")
    assert.match((await other.textContent("#crowd")) ?? "", /One is here/)
    assert.match((await other.textContent("#rule")) ?? "", /2 to 16 letters/)
    await other.keyboard.press("Enter")
    await other.waitForSelector("#link[data-state=live]")
    await type(other, "quit")
    for (const one of [page, other]) await one.waitForSelector("#link[data-state=asleep]")
    await eventually("the server ends the streams of who sleeps", async () => {
      const { body } = await request(server, "GET", "/operator/snapshot", { token: server.operator.token! })
      return body.frame.sections.sessions.total === 0
    })
    // Asleep, something is typed: it wakes, and is done.
    await type(other, "say awake again")
    for (const one of [page, other]) {
      await one.waitForSelector("#link[data-state=live]")
      await waitForLine(one, "You say: “awake again”")
    }
    await other.close()
    // When it goes: every event that comes before keeps the session.
    await page.evaluate("addEventListener(\"pagehide\", () => sessionStorage.clear())")
    await page.reload()
    await page.click("#give-up")
    await page.click("#sure button[value=yes]")
    await page.locator("#why", { hasText: "Heron is given up" }).waitFor()
    await page.fill("#name", "x")
    await page.click("#ashore")
    await page.locator("#join-error", { hasText: "2 to 16 letters" }).waitFor()
    await page.fill("#name", "Heron")
    await page.click("#ashore")
    await page.waitForSelector("#link[data-state=live]")
    // Forgotten while the page is open: the door says why.
    const token = JSON.parse(await page.evaluate<string>("localStorage.getItem('session')")).token
    await request(server, "POST", "/api/leave", { token, body: {} })
    await page.reload()
    await page.locator("#why", { hasText: "does not know Heron any more" }).waitFor()
    assert.deepStrictEqual(problems, [])
    await page.context().close()
    await server.stop()
  })

  it("leads a newcomer to ten places and a secret by what the page offers (daily)", async () => {
    const problems: Array<string> = []
    const server = await start()
    const page = await open(browser, server.url, problems)
    await enter(page, "Wren")
    const go = async (way: string, place: string) => {
      await page.locator("#exits button", { hasText: way }).first().click()
      await eventually(`in ${place}`, async () => (await page.locator("#log h2").last().textContent()) === place)
    }
    const hinted = (text: string) => page.locator("#hint", { hasText: text }).waitFor()
    await hinted("go north to the market, then east")
    await go("north", "The Fish Market")
    await go("east", "The Chandlery")
    await page.click("#hint button >> text=take oil can")
    await page.keyboard.press("Enter")
    await hinted("Back to the market")
    await go("west", "The Fish Market")
    await go("north", "The Keep Gate")
    await go("east", "The Cliff Path")
    await go("north", "The Foot of the Lighthouse")
    await go("up", "The Lamp Room")
    await page.click("#hint button >> text=use oil can on great lamp")
    await page.keyboard.press("Enter")
    await waitForLine(page, "a beam unrolls")
    await hinted("library keeps a secret")
    await go("down", "The Foot of the Lighthouse")
    await go("south", "The Cliff Path")
    await go("west", "The Keep Gate")
    await go("north", "The Courtyard")
    await go("north", "The Great Hall")
    await go("west", "The Library")
    await page.click("#hint button >> text=use red book")
    await page.keyboard.press("Enter")
    await go("west", "The Study Behind the Books")
    await waitForLine(page, "You have found a secret of the island: 1 of 5.")
    await eventually(
      "it is counted",
      async () => (await page.textContent("#found")) === "11 of 36 places, 1 of 5 secrets"
    )
    await page.reload()
    await hinted("Maren")
    assert.deepStrictEqual(problems, [])
    await page.context().close()
    await server.stop()
  })

  it("fits a phone (daily)", async () => {
    const problems: Array<string> = []
    const server = await start()
    const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }
    const page = await open(browser, server.url, problems, phone)
    await enter(page, "Ada")
    await type(page, `say ${"a very long line that has to be broken ".repeat(5)}${"x".repeat(120)}`)
    await waitForLine(page, "has to be broken")
    const operator = await open(browser, server.operator.link, problems, phone)
    await operator.waitForSelector("#age[data-state=live]")
    await operator.click("[data-go=fibers]")
    await operator.waitForSelector("tbody tr")
    for (const one of [page, operator]) {
      const [width, inner] = await one.evaluate<[number, number]>("[document.documentElement.scrollWidth, innerWidth]")
      assert.isAtMost(width, inner)
    }
    const height = await page.evaluate<number>("document.documentElement.scrollHeight")
    assert.isAtMost(height, 740)
    assert.include((await page.textContent("#exits button >> nth=0")) ?? "", "The Fish Market")
    await page.tap("#exits button >> nth=0")
    await waitForLine(page, "Slate tables")
    // A tap on a thing asks what is to be done with it.
    await page.tap("#around button >> text=silver herring")
    await page.locator("#menu button", { hasText: "look" }).waitFor()
    assert.strictEqual(await page.locator("#log .line", { hasText: "You take" }).count(), 0)
    await page.tap("#menu button >> text=take")
    await waitForLine(page, "You take the silver herring.")
    await page.locator("#carried button", { hasText: "silver herring" }).waitFor()
    for (const one of [page, operator]) await one.context().close()
    assert.deepStrictEqual(problems, [])
    await server.stop()
  })

  it("the operator sees a leak and a hanging finalizer by name, who is there, and can stop it all (daily)", async () => {
    const problems: Array<string> = []
    const server: Server = await start([], { HOLDFAST_FAULT: "hang-finalizer,leak" })
    const page = await open(browser, server.operator.link, problems)
    const ada = await join(server, "Ada")
    await page.click("[data-go=players]")
    await page.locator("tbody td", { hasText: "Ada" }).waitFor()
    await page.click("[data-go=fibers]")
    // Many fibers are folded: what one looks for is found by its name.
    await page.keyboard.press("/")
    await page.keyboard.type("world-writer")
    await page.locator("tbody td", { hasText: "world-writer" }).waitFor()
    for (const _ of "world-writer") await page.keyboard.press("Backspace")
    ada.stream.close()
    await page.locator("#alerts", { hasText: "finalizer that never returns" }).waitFor({ timeout: 60_000 })
    await page.locator("#alerts", { hasText: "planted-leak" }).waitFor({ timeout: 60_000 })
    // From the alert to its row.
    await page.locator("#alerts article", { hasText: "planted-leak" }).getByRole("button", { name: "show" }).click()
    await page.locator("tr.found", { hasText: "planted-leak" }).waitFor()
    await page.click("[data-go=ended]")
    await page.locator("tbody td", { hasText: "client-left" }).waitFor()
    await page.click("[data-go=overview]")
    assert.match((await page.textContent("#graphs")) ?? "", /Event loop/)
    await page.click("[data-act=shutdown]")
    await page.click("#sure-yes")
    await server.exited
    assert.include(server.out.at(-1)!, "mud")
    await page.waitForSelector("#age[data-state=lost]")
    assert.deepStrictEqual(problems, [])
    await page.context().close()
  })

  it("asks for the operator's token when there is one (daily)", async () => {
    const problems: Array<string> = []
    const server = await start(["--operator-token", "a-long-enough-token"])
    const page = await open(browser, `${server.url}/operator`, problems)
    await page.waitForSelector("#token:focus")
    await page.keyboard.type("wrong-token-here")
    await page.keyboard.press("Enter")
    await page.locator("#unlock-error", { hasText: "not the operator's token" }).waitFor()
    await page.fill("#token", "a-long-enough-token")
    await page.keyboard.press("Enter")
    await page.waitForSelector("#age[data-state=live]")
    assert.strictEqual((await request(server, "GET", "/operator/snapshot")).status, 401)
    await page.context().close()
    await sleep(10)
    await server.stop()
  })
})
