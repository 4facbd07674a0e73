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
afterAll(() => {
  stopAll()
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

  it("three players, a restart, a page that sleeps and one that loses its network: every log is whole", async () => {
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

    // The server restarts. Somebody types into the hole.
    assert.strictEqual((await server.stop()).code, 0)
    await ada.waitForSelector("#link:not([data-state=live])")
    await type(ada, "say into the void")
    await ada.locator("#log .line.error").first().waitFor()
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
    await page.keyboard.press("ArrowUp")
    assert.strictEqual(await page.inputValue("#line"), "look")
    await page.keyboard.press("Escape")
    await page.click("#exits button >> text=north")
    await waitForLine(page, "Slate tables")
    assert.strictEqual(await page.textContent("#room"), "The Fish Market")
    const log = page.getByRole("log")
    assert.strictEqual(await log.getAttribute("aria-live"), "polite")
    assert.strictEqual(await page.getByRole("status").textContent(), "live")
    await type(page, "quit")
    await page.waitForSelector("#link[data-state=ended]")
    await page.keyboard.press("Enter")
    await page.waitForSelector("#link[data-state=live]")
    assert.deepStrictEqual(problems, [])
    await page.context().close()
    await server.stop()
  })

  it("fits a phone", async () => {
    const problems: Array<string> = []
    const server = await start()
    const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }
    const page = await open(browser, server.url, problems, phone)
    await enter(page, "Ada")
    await type(page, `say ${"a very long line that has to be broken ".repeat(5)}${"x".repeat(120)}`)
    await waitForLine(page, "has to be broken")
    const operator = await open(browser, server.operator.link, problems, phone)
    await operator.waitForSelector("#fibers tbody tr")
    for (const one of [page, operator]) {
      const [width, inner] = await one.evaluate<[number, number]>("[document.documentElement.scrollWidth, innerWidth]")
      assert.isAtMost(width, inner)
    }
    const height = await page.evaluate<number>("document.documentElement.scrollHeight")
    assert.isAtMost(height, 740)
    await page.tap("#exits button >> nth=0")
    await waitForLine(page, "Slate tables")
    for (const one of [page, operator]) await one.context().close()
    assert.deepStrictEqual(problems, [])
    await server.stop()
  })

  it("the operator sees a leak and a hanging finalizer by name, who is there, and can stop it all", async () => {
    const problems: Array<string> = []
    const server: Server = await start([], { HOLDFAST_FAULT: "hang-finalizer,leak" })
    const page = await open(browser, server.operator.link, problems)
    const ada = await join(server, "Ada")
    await page.locator("#sessions td", { hasText: "Ada" }).waitFor()
    await page.locator("#fibers td", { hasText: "world-writer" }).waitFor()
    ada.stream.close()
    await page.locator("#alerts", { hasText: "finalizer that never returns" }).waitFor({ timeout: 60_000 })
    await page.locator("#alerts", { hasText: "planted-leak" }).waitFor({ timeout: 60_000 })
    await page.locator("#ended td", { hasText: "client-left" }).waitFor()
    assert.match((await page.textContent("#graphs")) ?? "", /event loop/)
    await page.click("#drain")
    await page.click("#sure button[value=yes]")
    await server.exited
    assert.include(server.out.at(-1)!, "mud")
    await page.waitForSelector("#link:not([data-state=live])")
    assert.deepStrictEqual(problems, [])
    await page.context().close()
  })

  it("asks for the operator's token when there is one", async () => {
    const problems: Array<string> = []
    const server = await start(["--operator-token", "a-long-enough-token"])
    const page = await open(browser, `${server.url}/operator`, problems)
    await page.waitForSelector("#token:focus")
    await page.keyboard.type("wrong-token-here")
    await page.keyboard.press("Enter")
    await page.locator("#unlock-error", { hasText: "operator" }).waitFor()
    await page.fill("#token", "a-long-enough-token")
    await page.keyboard.press("Enter")
    await page.waitForSelector("#fibers tbody tr")
    assert.strictEqual((await request(server, "GET", "/operator/snapshot")).status, 401)
    await page.context().close()
    await sleep(10)
    await server.stop()
  })
})
