// Makes the pictures of the README and of docs/console.md again: `npm run pictures`, on a machine that has Chromium and nothing
// else to do. It takes two minutes, so that the graphs have something to show; `npm run pictures -- 10` takes ten seconds.
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as pause } from "node:timers/promises"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const images = join(root, "docs", "images")
const seconds = Number(process.argv[2] ?? 125)
const { chromium } = createRequire(join(root, "packages", "node", "package.json"))("playwright-core")
const executablePath = [process.env["HOLDFAST_CHROMIUM"], "/usr/bin/chromium", "/usr/bin/chromium-browser"]
  .find((path) => path && existsSync(path))
if (executablePath === undefined) throw new Error("there is no Chromium: set HOLDFAST_CHROMIUM to its path")

const desktop = { viewport: { width: 1280, height: 800 }, colorScheme: "dark" }
const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }
const scratch = mkdtempSync(join(tmpdir(), "holdfast-pictures-"))
const ends = []

/** Starts a program, and gives the link of its operator, which it prints. */
const start = async (file, args, environment) => {
  const child = spawn(process.execPath, [join(root, file), ...args], {
    cwd: scratch,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"]
  })
  ends.push(() => new Promise((resolve) => child.once("close", resolve) && child.kill("SIGTERM")))
  const link = await new Promise((resolve, reject) => {
    const said = []
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        said.push(line)
        const found = /http:\/\/[^\s"]+#token=[\w-]+/.exec(line)?.[0]
        if (found !== undefined) resolve(found)
      })
    }
    child.once("close", () => reject(new Error(`${file} ended before it printed a link:\n${said.join("\n")}`)))
  })
  return { link, origin: new URL(link).origin }
}

const post = async (url, body, token) => {
  const response = await fetch(url, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) }
  })
  return response.status === 204 ? undefined : response.json()
}

const life = { goesOn: true }

/** Does something every now and then, until the pictures are taken. */
const live = async (millis, act) => {
  for (let turn = 0; life.goesOn; turn++) {
    await act(turn).catch(() => {})
    await pause(millis * (0.5 + Math.random()))
  }
}

const orders = ["tea", "bread", "herring", "oil"]

const player = async (origin, name) => {
  const { after, token } = await post(`${origin}/api/join`, { name })
  const stream = new AbortController()
  ends.push(async () => stream.abort())
  const { body } = await fetch(`${origin}/events?lastEventId=${after}`, {
    headers: { authorization: `Bearer ${token}` },
    signal: stream.signal
  })
  void body.pipeTo(new WritableStream()).catch(() => {})
  const type = (line) => post(`${origin}/api/command`, { line }, token)
  return { type, wander: () => void live(2500, (turn) => type(["n", "look", "say hello", "s"][turn % 4])) }
}

const shoot = async (browser, url, options, file) => {
  const page = await (await browser.newContext(options)).newPage()
  await page.goto(url)
  await page.waitForSelector("#age[data-state=live]")
  // Fonts, the first frame, and a second look at the figures.
  await pause(3000)
  await page.screenshot({ path: join(images, file) })
  await page.context().close()
  process.stdout.write(`${join("docs", "images", file)}\n`)
}

const enter = async (page, url, name) => {
  await page.goto(url)
  await page.waitForSelector("#name:focus")
  await page.keyboard.type(name)
  await page.keyboard.press("Enter")
  await page.waitForSelector("#link[data-state=live]")
}

const say = async (page, line) => {
  await page.focus("#line")
  await page.keyboard.type(line)
  await page.keyboard.press("Enter")
  await pause(700)
}

/** The same scene for both: the oil can is taken, and somebody answers at the gate. */
const scene = async (browser, origin, options, file, name, other) => {
  const page = await (await browser.newContext(options)).newPage()
  await enter(page, origin, name)
  const friend = await player(origin, other)
  for (const line of ["north", "east", "look drawers", "take oil can", "west", "north"]) await say(page, line)
  for (const line of ["n", "n"]) await friend.type(line)
  await say(page, "say Is anybody coming up to the lighthouse?")
  await friend.type("say I am. Have you got the oil?")
  await say(page, "emote holds up the oil can.")
  await page.screenshot({ path: join(images, file) })
  await page.context().close()
  process.stdout.write(`${join("docs", "images", file)}\n`)
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] })
try {
  const shop = await start("apps/examples/dist/console.js", [], { PORT: "0" })
  const mud = await start("apps/mud/dist/main.js", ["--port", "0", "--data", join(scratch, "mud")], {})
  void live(900, (turn) => post(`${shop.origin}/orders`, { item: orders[turn % orders.length] }))
  for (const name of ["Bram", "Bosun", "Toll", "Wren", "Ivo", "Maud", "Pike", "Nessa"]) {
    ;(await player(mud.origin, name)).wander()
  }
  await pause(seconds * 1000)
  await shoot(browser, shop.link, desktop, "console-desktop.png")
  await shoot(browser, shop.link, phone, "console-phone.png")
  await shoot(browser, mud.link, desktop, "operator-desktop.png")
  // Nobody talks into the scene.
  life.goesOn = false
  await scene(browser, mud.origin, desktop, "player-desktop.png", "Heron", "Sorrel")
  await scene(
    browser,
    mud.origin,
    { ...phone, viewport: { width: 390, height: 780 } },
    "player-phone.png",
    "Dunlin",
    "Linnet"
  )
} finally {
  life.goesOn = false
  await browser.close()
  for (const end of ends.toReversed()) await end()
  rmSync(scratch, { recursive: true, force: true })
}
