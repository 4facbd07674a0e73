// edge: an application in a process of its own, and its console in Chromium, on a desktop and on a phone
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Browser, BrowserContextOptions, Page } from "playwright-core"
import { hasChromium, launchChromium } from "./support/browsers.js"
import { type Running, start, startRuler } from "./support/process.js"

const required = process.env["HOLDFAST_REQUIRE_INTEGRATION"] === "1"
const missing = !hasChromium && !required
const prlimit = "/usr/bin/prlimit"

const scratch = mkdtempSync(join(tmpdir(), "holdfast-console-"))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const sizes: Readonly<Record<string, BrowserContextOptions>> = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, colorScheme: "dark" }
}

const freePort = Effect.async<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** A file may be made too big for the system: then it says what it says of a full disk. */
const wrapper = ["bash", "-c", `trap '' XFSZ; exec "$@"`, "bash"]

const run = (port: number, folder: string) =>
  Effect.tap(
    start(String(port), { fixture: "console", report: "none", args: [folder], wrapper }),
    (running) => running.said("ready")
  )

const link = (port: number, token = "a-token-for-the-operator") => `http://127.0.0.1:${port}/console/#token=${token}`

const open = (browser: Browser, url: string, problems: Array<string>, options: BrowserContextOptions) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const page = await (await browser.newContext(options)).newPage()
      page.setDefaultTimeout(60_000)
      page.on("pageerror", (error) => problems.push(error.message))
      await page.goto(url)
      await page.waitForSelector("#age[data-state=live]")
      return page
    }),
    (page) => Effect.promise(() => page.context().close())
  )

const plant = (port: number, fault: string) =>
  Effect.promise(() => fetch(`http://127.0.0.1:${port}/plant/${fault}`, { method: "POST" }).catch(() => undefined))

/** A client that asks for the stream, and reads nothing of it. */
const stall = (port: number) =>
  Effect.acquireRelease(
    Effect.async<Net.Socket>((resume) => {
      const socket = Net.connect(port, "127.0.0.1", () => {
        socket.write("GET /events HTTP/1.1\r\nHost: shop\r\nAccept: text/event-stream\r\n\r\n")
        socket.pause()
        resume(Effect.succeed(socket))
      })
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

const alertOf = (page: Page, title: string, subject: string) =>
  page.locator("#alerts article", { hasText: title }).filter({ hasText: subject })

const fillDisk = ({ pid }: Running, port: number) =>
  Effect.zipRight(
    Effect.sync(() => execFileSync(prlimit, ["--pid", String(pid), "--fsize=1024:"])),
    plant(port, "say")
  )

interface Fault {
  readonly name: string
  readonly title: string
  readonly subject: string
  readonly section: string
  readonly plant: (running: Running, port: number) => Effect.Effect<unknown>
}

const fault = (name: string, title: string, subject: string, section: string): Fault => ({
  name,
  title,
  subject,
  section,
  plant: (_, port) => plant(port, name)
})

const faults: ReadonlyArray<Fault> = [
  fault("leak", "Leaked fiber", "forgotten-poller", "fibers"),
  fault("finalizer", "Hanging finalizer", "close the till", "cleanups"),
  fault("crash", "Crash loop", "prices", "crashes"),
  fault("flood", "Stalled reader", "sleepy", "sessions"),
  fault("lag", "Event loop late", "", ""),
  ...(existsSync(prlimit)
    ? [{ ...fault("disk", "Store cannot be written", "shop/Chat", "buses"), plant: fillDisk }]
    : [])
]

describe.skipIf(missing)(`the console's page in Chromium${missing ? " (skipped: there is none)" : ""}`, () => {
  const scope = Effect.runSync(Scope.make())
  let browser: Browser
  beforeAll(async () => {
    browser = await Effect.runPromise(Scope.extend(launchChromium, scope))
  }, 60_000)
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  it.scopedLive(
    `names each of ${faults.length} faults within 5 seconds, and leads to its row (daily)`,
    () =>
      Effect.gen(function*() {
        const problems: Array<string> = []
        const port = yield* freePort
        const running = yield* run(port, join(scratch, "faults"))
        const pages = yield* Effect.forEach(Object.values(sizes), (size) => open(browser, link(port), problems, size))
        yield* stall(port)
        for (const { name, plant, section, subject, title } of faults) {
          const starved = startRuler()
          const from = performance.now()
          yield* plant(running, port)
          yield* Effect.promise(() => Promise.all(pages.map((page) => alertOf(page, title, subject).first().waitFor())))
          const took = performance.now() - from
          // What a busy machine takes from everybody is measured.
          assert.isBelow(took, 5000 + 3 * starved(), `${name} took ${Math.round(took)} ms`)
          if (section === "") continue
          yield* Effect.promise(async () => {
            for (const page of pages) {
              await alertOf(page, title, subject).first().getByRole("button", { name: "show" }).click()
              await page.locator(`[data-section=${section}] tr.found`).waitFor()
              await page.keyboard.press("o")
            }
          })
        }
        // Whoever reads nothing is kept out, by hand, and let in again.
        yield* Effect.promise(async () => {
          const [page] = pages
          await page.click("[data-go=sessions]")
          await page.getByRole("button", { name: "Ban sleepy" }).click()
          await page.fill("#sure-fields input", "5")
          await page.click("#sure-yes")
          await page.locator("#notice", { hasText: "Ban sleepy: done" }).waitFor()
          await page.click("[data-go=bans]")
          await page.locator("tbody tr", { hasText: "sleepy" }).waitFor()
          assert.strictEqual((await fetch(`http://127.0.0.1:${port}/events`)).status, 403)
          await page.getByRole("button", { name: "Let in sleepy" }).click()
          await page.locator("tbody td", { hasText: "nobody is kept out" }).waitFor()
        })
        for (const page of pages) {
          const [width, inner] = yield* Effect.promise(() =>
            page.evaluate<[number, number]>("[document.documentElement.scrollWidth, innerWidth]")
          )
          assert.isAtMost(width, inner)
        }
        assert.deepStrictEqual(problems, [])
      }),
    300_000
  )

  it.scopedLive(
    "shows the new process after SIGTERM and after kill -9, and how the old one ended, and nothing else of it (daily)",
    () =>
      Effect.gen(function*() {
        const problems: Array<string> = []
        const port = yield* freePort
        const folder = join(scratch, "restart")
        let running = yield* run(port, folder)
        const pages = yield* Effect.forEach(Object.values(sizes), (size) => open(browser, link(port), problems, size))
        for (
          const [signal, told] of [
            ["SIGTERM", /Another process runs since .* The one before: clean, SIGTERM.*exit code 0/],
            [
              "SIGKILL",
              /The one before: killed or crashed at about \d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC without a report/
            ]
          ] as const
        ) {
          const before = running.pid
          yield* Effect.promise(async () => {
            for (const page of pages) {
              await page.click("[data-go=carts]")
              await page.locator("tbody td", { hasText: `Ada of ${before}` }).waitFor()
            }
          })
          yield* running.signal(signal)
          yield* running.ended
          yield* Effect.promise(async () => {
            for (const page of pages) {
              await page.waitForSelector("#age[data-state=lost]")
              await page.waitForSelector("body.stale")
            }
          })
          running = yield* run(port, folder)
          for (const page of pages) {
            yield* Effect.promise(() => page.locator("#notice", { hasText: told }).waitFor())
            yield* Effect.promise(() => page.locator("tbody td", { hasText: `Ada of ${running.pid}` }).waitFor())
            const text = yield* Effect.promise(() => page.locator("#panel").innerText())
            assert.notInclude(text, `Ada of ${before}`)
            assert.include(text, `pid ${running.pid}`)
            // The history, too, is of this process alone.
            yield* Effect.promise(() => page.keyboard.press("o"))
            const bounds = page.locator("[data-series=identity] .bounds")
            yield* Effect.promise(() => bounds.waitFor())
            const pid = String(running.pid % 1000)
            assert.strictEqual(yield* Effect.promise(() => bounds.innerText()), `${pid} to ${pid}`)
          }
        }
        // The one that was killed is an alert, too.
        for (const page of pages) {
          yield* Effect.promise(() => alertOf(page, "The run before was killed or crashed", "").waitFor())
        }
        assert.deepStrictEqual(problems, [])
      }),
    300_000
  )

  it.scopedLive("shows a drain to its end, and the result where the button was (daily)", () =>
    Effect.gen(function*() {
      const problems: Array<string> = []
      const port = yield* freePort
      const folder = join(scratch, "drain")
      const running = yield* run(port, folder)
      const [desktop, phone] = yield* Effect.forEach(
        Object.values(sizes),
        (size) => open(browser, link(port), problems, size)
      )
      const onlooker = yield* open(browser, link(port, "a-token-for-the-viewer"), problems, sizes["desktop"])
      assert.strictEqual(yield* Effect.promise(() => onlooker.locator("#acts button").count()), 0)
      yield* Effect.fork(plant(port, "slow"))
      yield* Effect.promise(async () => {
        await desktop.click("[data-act=shutdown]")
        await desktop.click("#sure-yes")
        for (const page of [desktop, phone, onlooker]) {
          await page.waitForSelector("#phase[data-phase=draining]")
          await page.locator("#countdown", { hasText: /\d\.\d s left/ }).waitFor()
          await page.locator("#notice", { hasText: "The process has said farewell while" }).waitFor()
          await page.waitForSelector("#age[data-state=lost]")
        }
      })
      assert.strictEqual((yield* running.ended).code, 0)
      yield* run(port, folder)
      yield* Effect.promise(async () => {
        for (const page of [desktop, phone, onlooker]) {
          await page.locator("#notice", { hasText: /The one before: clean, .*operator.*in \d+ ms of 6000 ms/ })
            .waitFor()
          await page.waitForSelector("#phase[data-phase=accepting]")
        }
      })
      assert.deepStrictEqual(problems, [])
    }), 240_000)

  it.scopedLive("is used by the keyboard alone, and finds fibers by column and by age", () =>
    Effect.gen(function*() {
      const problems: Array<string> = []
      const port = yield* freePort
      yield* run(port, join(scratch, "keys"))
      const page = yield* open(browser, link(port, "a-token-for-the-viewer"), problems, sizes["desktop"])
      yield* Effect.promise(async () => {
        const focused = () => page.evaluate<string>("document.activeElement.getAttribute('aria-label') ?? ''")
        const kinds = () => page.locator("tbody tr td:nth-child(2)").allInnerTexts()
        const told = (section: string) =>
          page.waitForResponse((one) => one.url().endsWith(`/watch/${section}`) && one.status() === 204)
        const fibers = told("fibers")
        await page.keyboard.press("/")
        assert.strictEqual(await focused(), "Filter Fibers")
        await fibers
        await page.keyboard.type("kind:service")
        await page.locator("tbody tr", { hasText: "shop/Chat/writer" }).waitFor()
        // With what stands above them.
        assert.deepStrictEqual([...new Set(await kinds())].filter((kind) => kind !== "" && kind !== "lifecycle"), [
          "service"
        ])
        for (const _ of "kind:service") await page.keyboard.press("Backspace")
        await page.selectOption("select[aria-label=age]", { label: "over an hour" })
        await page.locator("tbody td", { hasText: "nothing fits the filter" }).waitFor()
        await page.selectOption("select[aria-label=age]", { label: "under a minute" })
        await page.locator("tbody tr", { hasText: "shop/Chat/writer" }).waitFor()
        await page.locator("[data-go=fibers]").focus()
        const supervision = told("supervision")
        await page.keyboard.press("]")
        await page.waitForSelector("[data-go=supervision][aria-current=page]")
        await supervision
        await page.keyboard.press("o")
        await page.waitForSelector("[data-go=overview][aria-current=page]")
        await page.keyboard.press("3")
        assert.strictEqual(await page.locator("#range [aria-checked=true]").innerText(), "1 h")
        // Whoever only looks has nothing to press.
        assert.strictEqual(await page.getByRole("button", { name: /Interrupt|Drain/ }).count(), 0)
      })
      assert.deepStrictEqual(problems, [])
    }), 240_000)

  it.scopedLive(
    "says how old the picture is, and is grey when it is older than 3 seconds (daily)",
    () =>
      Effect.gen(function*() {
        const problems: Array<string> = []
        const port = yield* freePort
        const running = yield* run(port, join(scratch, "age"))
        const pages = yield* Effect.forEach(Object.values(sizes), (size) => open(browser, link(port), problems, size))
        for (const page of pages) {
          yield* Effect.promise(() => page.locator("#age-text", { hasText: /^live, \d\.\d s old$/ }).waitFor())
        }
        // A process that hangs keeps its connections: only the age tells.
        yield* running.signal("SIGSTOP")
        yield* Effect.addFinalizer(() => running.signal("SIGCONT"))
        for (const page of pages) {
          // In one look: it is as grey as it is old.
          const text = yield* Effect.promise(() =>
            page.evaluate<string>(`new Promise((resolve) => {
            const look = () =>
              document.body.matches(".stale") ? resolve(document.getElementById("age-text").textContent) : setTimeout(look, 20)
            look()
          })`)
          )
          assert.match(text, /^no news for [3-7]\.\d s$/)
          const filter = yield* Effect.promise(() => page.evaluate<string>("getComputedStyle(view).filter"))
          assert.include(filter, "grayscale")
        }
        yield* running.signal("SIGCONT")
        for (const page of pages) yield* Effect.promise(() => page.waitForSelector("body:not(.stale)"))
        assert.deepStrictEqual(problems, [])
      }),
    240_000
  )
})
