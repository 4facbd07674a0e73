/**
 * Headless Chromium, where there is one.
 */
import { existsSync } from "node:fs"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"

const executable = [
  process.env["HOLDFAST_CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome"
]
  .find((path) => path !== undefined && path !== "" && existsSync(path))

/** Without a browser these tests are left out, and say so; with `HOLDFAST_REQUIRE_INTEGRATION=1` they fail. */
export const missing = executable === undefined && process.env["HOLDFAST_REQUIRE_INTEGRATION"] !== "1"

export const named = (name: string) => missing ? `${name} (skipped: no Chromium on this machine)` : name

export const launch = (): Promise<Browser> => {
  if (executable === undefined) throw new Error("there is no Chromium: set HOLDFAST_CHROMIUM to its path")
  return chromium.launch({
    executablePath: executable,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync"
    ]
  })
}

/** A page of its own context, whose errors end up in `problems`. */
export const open = async (
  browser: Browser,
  url: string,
  problems: Array<string>,
  options: BrowserContextOptions = {}
): Promise<Page> => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  const page = await context.newPage()
  page.on("pageerror", (error) => problems.push(error.message))
  await page.goto(url)
  return page
}

/** Steps ashore as somebody, with the keyboard alone. */
export const enter = async (page: Page, name: string): Promise<void> => {
  await page.waitForSelector("#name:focus")
  await page.keyboard.type(name)
  await page.keyboard.press("Enter")
  await page.waitForSelector("#link[data-state=live]")
}

export const type = async (page: Page, line: string): Promise<void> => {
  await page.focus("#line")
  await page.keyboard.type(line)
  await page.keyboard.press("Enter")
}

export const waitForLine = (page: Page, text: string): Promise<unknown> =>
  page.locator("#log .line:not(.typed)", { hasText: text }).first().waitFor({ state: "attached", timeout: 60_000 })

/** What is in the log, without what the player typed. */
export const linesOf = (page: Page): Promise<ReadonlyArray<string>> =>
  page.locator("#log .line:not(.typed) > p").allTextContents()
