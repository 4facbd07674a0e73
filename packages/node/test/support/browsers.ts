import type { Scope } from "effect"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Browser as ChromiumBrowser, chromium } from "playwright-core"
import * as Ws from "ws"

/** A page that is open in a browser. */
export interface Page {
  /** The value of an expression that is a string. */
  readonly evaluate: (expression: string) => Effect.Effect<string>
}

export interface Browser {
  readonly name: string
  readonly installed: boolean
  /** Where integration is required, it has to be installed. */
  readonly expected: boolean
  /** A browser of its own with one page, for as long as the scope. */
  readonly open: (url: string) => Effect.Effect<Page, never, Scope.Scope>
}

const found = (paths: ReadonlyArray<string | undefined>) =>
  paths.find((path): path is string => path !== undefined && existsSync(path))

const chromiumPath = found(["/usr/bin/chromium"])
const firefoxPath = found([process.env["HOLDFAST_FIREFOX"], "/usr/bin/firefox-esr", "/usr/bin/firefox"])

/** Pages that nobody looks at keep the pace of those that somebody does. */
const chromiumFlags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-component-update",
  "--disable-renderer-backgrounding",
  "--disable-sync"
]

/** Chromium, for pages of one's own making. */
export const launchChromium: Effect.Effect<ChromiumBrowser, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => chromium.launch({ ...(chromiumPath && { executablePath: chromiumPath }), args: chromiumFlags })),
  (browser) => Effect.promise(() => browser.close())
)

export const hasChromium = chromiumPath !== undefined

const openChromium = (url: string): Effect.Effect<Page, never, Scope.Scope> =>
  launchChromium.pipe(
    Effect.flatMap((browser) => Effect.promise(() => browser.newPage())),
    Effect.tap((page) => Effect.promise(() => page.goto(url))),
    Effect.map((page) => ({ evaluate: (expression) => Effect.promise(() => page.evaluate<string>(expression)) }))
  )

/** Commands of WebDriver BiDi: https://www.w3.org/TR/webdriver-bidi/ */
type Command = (method: string, params: object) => Promise<unknown>

const commands = (ws: Ws.WebSocket): Command => {
  const waiting = new Map<
    number,
    { readonly resolve: (result: unknown) => void; readonly reject: (e: Error) => void }
  >()
  let last = 0
  ws.on("message", (text) => {
    const message = JSON.parse(String(text))
    const caller = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.type === "success") caller?.resolve(message.result)
    else caller?.reject(new Error(`${message.error}: ${message.message}`))
  })
  ws.on("close", () => waiting.forEach(({ reject }) => reject(new Error("the browser has gone"))))
  return (method, params) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject })
      ws.send(JSON.stringify({ id: last, method, params }))
    })
}

const firefoxProcess = Effect.acquireRelease(
  Effect.async<{ readonly url: string; readonly stop: () => Promise<void> }>((resume) => {
    const home = mkdtempSync(join(tmpdir(), "holdfast-firefox-"))
    const child = spawn(
      firefoxPath ?? "firefox-esr",
      ["--headless", "--no-remote", "--profile", home, "--remote-debugging-port", "0"],
      { env: { ...process.env, HOME: home, MOZ_HEADLESS: "1" }, stdio: ["ignore", "ignore", "pipe"] }
    )
    const gone = new Promise<void>((resolve) => child.once("close", () => resolve()))
    const stop = async () => {
      child.kill("SIGTERM")
      const impatient = setTimeout(() => child.kill("SIGKILL"), 5_000)
      await gone
      clearTimeout(impatient)
      rmSync(home, { recursive: true, force: true, maxRetries: 10 })
    }
    let said = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text
      const url = /BiDi listening on (ws:\S+)/.exec(said)?.[1]
      if (url !== undefined) resume(Effect.succeed({ url, stop }))
    })
    void gone.then(() => resume(Effect.dieMessage(`Firefox has ended: ${said}`)))
  }),
  ({ stop }) => Effect.promise(stop)
)

const openFirefox = (url: string): Effect.Effect<Page, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { url: endpoint } = yield* firefoxProcess
    const ws = yield* Effect.acquireRelease(
      Effect.async<Ws.WebSocket>((resume) => {
        const ws = new Ws.WebSocket(`${endpoint}/session`)
        ws.on("open", () => resume(Effect.succeed(ws)))
        ws.on("error", (error) => resume(Effect.die(error)))
      }),
      (ws) => Effect.sync(() => ws.terminate())
    )
    return yield* Effect.promise(async () => {
      const send = commands(ws)
      await send("session.new", { capabilities: {} })
      const { contexts: [{ context }] } = await send("browsingContext.getTree", {}) as {
        readonly contexts: readonly [{ readonly context: string }]
      }
      await send("browsingContext.navigate", { context, url, wait: "complete" })
      const evaluate = async (expression: string) => {
        const result = await send("script.evaluate", { expression, target: { context }, awaitPromise: false }) as {
          readonly result?: { readonly value: string }
        }
        if (result.result === undefined) throw new Error(JSON.stringify(result))
        return result.result.value
      }
      return { evaluate: (expression: string) => Effect.promise(() => evaluate(expression)) }
    })
  })

export const browsers: ReadonlyArray<Browser> = [
  { name: "Chromium", installed: chromiumPath !== undefined, expected: true, open: openChromium },
  { name: "Firefox", installed: firefoxPath !== undefined, expected: false, open: openFirefox }
]
