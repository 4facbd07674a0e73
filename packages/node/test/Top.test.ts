import { HttpLayerRouter, HttpServer } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { FiberRegistry } from "@holdfast/core"
import { Console, ConsoleSection } from "@holdfast/http"
import type { ConsoleFeed } from "@holdfast/http"
import { NodeServer } from "@holdfast/node"
import { Context, Effect, Exit, Layer, Logger, Redacted, Scope } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { amount, cell, cut, width } from "../src/internal/top/format.js"
import * as Options from "../src/internal/top/options.js"
import * as Picture from "../src/internal/top/picture.js"
import { render, snapshot } from "../src/internal/top/render.js"
import * as State from "../src/internal/top/state.js"
import * as Table from "../src/internal/top/table.js"
import { eventually } from "./support/serve.js"

const column = (key: string, format: ConsoleFeed.Format = "text") => ({ key, title: key, format })

const hello: ConsoleFeed.Hello = {
  epoch: "one",
  name: "shop",
  version: "1.2.3",
  pid: 4711,
  startedAt: 1_000_000,
  role: "operator",
  intervalMillis: 1000,
  sections: [
    { id: "rss", title: "Memory", kind: "series", unit: "B" },
    { id: "fibers", title: "Fibers", kind: "tree", columns: [column("name"), column("state"), column("age", "since")] },
    {
      id: "carts",
      title: "Carts",
      kind: "table",
      columns: [column("owner"), column("worth", "count"), column("note")],
      sort: { key: "worth", descending: true }
    },
    { id: "process", title: "Process", kind: "facts" },
    { id: "broken", title: "Broken", kind: "table", columns: [column("a")] }
  ],
  actions: []
}

const long = "a note that is far too long for any terminal of a width that is usual"

const whole: ConsoleFeed.Frame = {
  epoch: "one",
  whole: true,
  at: 1_065_000,
  phase: "accepting",
  alerts: [{
    key: "a1",
    rule: "cleanups",
    severity: "critical",
    title: "Hanging finalizer",
    subject: "pool",
    text: "It still runs.",
    link: { section: "carts", key: "c2" }
  }],
  history: { rss: [{ step: 1000, at: 1_065_000, points: [[1024, 1024], null, [2048, 2048]] }] },
  sample: { at: 1_065_000, values: { rss: 2048 } },
  sections: {
    fibers: {
      set: [
        { key: "r", cells: { name: "web", state: "", age: 1_000_000 } },
        { key: "c", parent: "r", cells: { name: "request", state: "suspended", age: 1_060_000 }, tone: "warn" },
        { key: "d", parent: "c", cells: { name: "reader", state: "", age: 1_064_000 } }
      ],
      total: 3
    },
    carts: {
      set: [
        { key: "c1", cells: { owner: "Ada", worth: 7, note: long } },
        { key: "c2", cells: { owner: "Bob\u001b[2J\u0007", worth: 1200, note: "" }, detail: { since: "noon" } },
        { key: "c3", cells: { owner: "日本語", worth: 30, note: "" } }
      ],
      total: 3
    },
    process: { facts: { pid: 4711, isReady: true } },
    broken: { unavailable: "the shelf is empty" }
  }
}

const state: State.State = {
  ...State.initial,
  picture: Picture.apply(Picture.greet(Picture.empty, hello), whole, 500),
  link: { _tag: "Live" },
  now: 1500
}

// oxlint-disable-next-line no-control-regex
const bare = (line: string) => line.replaceAll(/\u001b\[[0-9;]*m/g, "")
const at = (columns: number, section: string, changes: Partial<State.State> = {}) =>
  render({ ...state, section, ...changes }, { columns, rows: 16, colour: true })
const text = (lines: ReadonlyArray<string>) => lines.map((line) => bare(line).trimEnd()).join("\n")

describe("the columns of a terminal", () => {
  // edge: the page's module is loaded as a browser loads it
  it("say of each value what the page says", async () => {
    const file = new URL("../../http/assets/console/format.js", import.meta.url).href
    const page = await import(file) as {
      readonly cell: (value: unknown, format: string, now: number) => unknown
      readonly unit: (value: number, name: string) => string
    }
    const now = 1_700_000_000_000
    const values = [
      0,
      0.004,
      0.5,
      0.999,
      1,
      1.04,
      9.96,
      59.94,
      99.96,
      100.4,
      999,
      1023,
      1024,
      1536,
      10_000,
      59_999,
      61_000,
      99_999,
      100_000
    ]
    const all = [
      ...values,
      ...values.map((value) => -value),
      1_048_576,
      5e7,
      3.7e9,
      1e12,
      ...values.map((value) => now - value * 1000)
    ]
    for (const value of all) {
      for (const format of ["count", "rate", "bytes", "millis", "left", "since", "at", "code", "text"] as const) {
        assert.strictEqual(cell(value, format, now), String(page.cell(value, format, now)), `${value} as ${format}`)
      }
      for (const unit of ["", "B", "ms", "%", "/s", "events"]) {
        assert.strictEqual(amount(value, unit), page.unit(value, unit), `${value} in ${unit}`)
      }
    }
    for (const value of [true, false, null, undefined, "", "tea"]) {
      assert.strictEqual(cell(value, "text", now), String(page.cell(value, "text", now)))
    }
  })
})

describe("what holdfast-top paints", () => {
  it("never leaves the terminal's width and height, and passes nothing on that a terminal obeys", () => {
    for (const columns of [1, 5, 20, 40, 71, 72, 80, 200]) {
      for (const rows of [1, 3, 10, 50]) {
        for (const { id } of Table.sections(state.picture)) {
          for (const now of [1500, 60_000]) {
            const opened = new Map([[id, { ...Table.unseen, opened: new Set(["a1", "c2"]) }]])
            const lines = render({ ...state, section: id, now, looks: opened }, { columns, rows, colour: true })
            assert.isAtMost(lines.length, rows)
            for (const line of lines) {
              assert.isAtMost(width(bare(line)), columns, `${id} at ${columns}: ${JSON.stringify(line)}`)
              // oxlint-disable-next-line no-control-regex
              assert.notMatch(bare(line), /[\u0000-\u001f\u007f-\u009f]/)
            }
          }
        }
      }
    }
  })

  it("is a list of sections beside a table at 80 columns", () => {
    const lines = text(at(80, "carts")).split("\n")
    assert.strictEqual(lines[0], "shop  accepting  1 s old  1 critical")
    assert.strictEqual(lines[1], "1.2.3  up 1 min 6 s  pid 4711  operator")
    assert.match(lines[3], /^1 Alerts 1 +owner +worth ↓ {2}note$/)
    assert.match(lines[4], /^2 History +Bob�\[2J� +1,200$/)
    assert.match(lines[5], /^3 Fibers 3 +日本語 +30$/)
    assert.match(lines[6], /^4 Carts 3 +Ada +7 {2}a note that.*…$/)
    assert.match(lines[15], /^1\/3 {2}q quit/)
  })

  it("is one column at 40, with the sections in a line, and numbers whole", () => {
    const lines = text(at(40, "carts")).split("\n")
    assert.strictEqual(lines[2], "4/6  Carts 3  Process  Broken")
    assert.match(lines[3], /^owner +worth ↓ {2}note$/)
    assert.match(lines[4], / 1,200$/)
    assert.match(lines[6], /^Ada +7 {2}a note.*…$/)
  })

  it("is a tree, which folds and keeps ancestors of what fits the filter", () => {
    const rows = (look: Partial<Table.Look>) =>
      text(at(60, "fibers", { looks: new Map([["fibers", { ...Table.unseen, ...look }]]) })).split("\n").slice(4)
        .filter((line) => /^ *[-+ ] (web|request|reader)/.test(line))
    assert.match(rows({})[0], /^- web +1 min 6 s/)
    assert.match(rows({})[1], /^ {2}- request +suspended +6 s$/)
    assert.match(rows({})[2], /^ {6}reader/)
    assert.deepStrictEqual(rows({ folded: new Set(["c"]) }).map((line) => line.trim().split(/ {2,}/)[0]), [
      "- web",
      "+ request"
    ])
    assert.strictEqual(rows({ filter: "reader", folded: new Set(["r"]) }).length, 3)
    assert.strictEqual(rows({ filter: "suspended" }).length, 2)
    assert.strictEqual(rows({ filter: "nobody" }).length, 0)
  })

  it("has alerts, series, facts, and why there is nothing", () => {
    assert.match(text(at(100, "alerts")), /critical +Hanging finalizer +pool +It still runs\./)
    assert.match(text(at(80, "history")), /Memory +2 KiB +1 KiB +2 KiB +▁█/)
    assert.match(text(at(80, "process")), /isReady +yes[^]*/)
    assert.match(text(at(80, "process")), /pid +4711/)
    assert.include(text(at(80, "broken")), "unavailable: the shelf is empty")
  })

  it("is grey when it is old, says when the connection is lost, and what a shutdown waits for", () => {
    const fresh = at(80, "fibers").slice(3, 7).join("")
    assert.include(fresh, "\u001b[33m")
    const old = at(80, "fibers", { now: 5000, link: { _tag: "Lost", why: "ECONNREFUSED", again: 7000 } })
    assert.match(bare(old[0]), /stale: 4 s old/)
    assert.include(bare(old[1]), "connection lost (ECONNREFUSED), again in 2 s")
    assert.notInclude(old.slice(3, 7).join(""), "\u001b[33m")
    assert.include(old.slice(3, 7).join(""), "\u001b[2m")
    const frame = { ...whole, phase: "draining", shutdownLeftMillis: 4000, waitingFor: ["request #12"] }
    const down = at(80, "fibers", { picture: Picture.apply(state.picture, frame, 1500) })
    assert.include(bare(down[1]), "shuts down, 4 s left  waits for request #12")
  })

  it("has no colour where none is wanted", () => {
    for (const section of ["alerts", "fibers", "carts"]) {
      const lines = render({ ...state, section }, { columns: 80, rows: 16, colour: false }).join("")
      // oxlint-disable-next-line no-control-regex
      assert.notMatch(lines, /\u001b\[(?:[0-9]+;)*3[0-9]/)
    }
    // oxlint-disable-next-line no-control-regex
    assert.notMatch(snapshot(state).join("\n"), /\u001b/)
  })

  it("cuts by columns, not by letters", () => {
    assert.deepStrictEqual(["日本語", "e\u0301a", "🙂x"].map(width), [6, 2, 3])
    assert.deepStrictEqual([cut("日本語", 5), cut("日本語", 6), cut("abc", 2), cut("abc", 0)], [
      "日本…",
      "日本語",
      "a…",
      ""
    ])
    assert.strictEqual(cell("a\u001b]0;x\u0007\u202eb", "text", 0), "a\ufffd]0;x\ufffd\ufffdb")
  })
})

describe("frames of the feed", () => {
  it("change what is there, and another process takes the place of the one before", () => {
    const delta = {
      ...whole,
      whole: false,
      alerts: undefined,
      history: undefined,
      sample: { at: 1_066_000, values: { rss: 4096 } },
      sections: {
        carts: { set: [{ key: "c4", cells: { owner: "Eve" } }], gone: ["c1"], total: 9 },
        broken: { unavailable: "" }
      }
    }
    const { alerts: _, history: __, ...frame } = delta
    const next = Picture.apply(state.picture, frame, 900)
    assert.deepStrictEqual(Array.from(next.sections.get("carts")!.rows.keys()), ["c2", "c3", "c4"])
    assert.strictEqual(next.sections.get("carts")!.total, 9)
    assert.strictEqual(next.sections.get("broken")!.unavailable, undefined)
    assert.strictEqual(next.sections.get("fibers"), state.picture.sections.get("fibers"))
    assert.strictEqual(next.alerts.length, 1)
    assert.deepStrictEqual(next.series.get("rss"), [1024, 2048, 4096])
    assert.strictEqual(Picture.apply(next, { ...frame, epoch: "two" }, 950), next)
    const other = Picture.greet(next, { ...hello, epoch: "two" })
    assert.deepStrictEqual([other.frame, other.sections.size, other.alerts.length], [undefined, 0, 0])
  })
})

describe("keys of holdfast-top", () => {
  const named = (name: string): State.Key => {
    const known: Readonly<Record<string, State.Key>> = {
      "S-tab": { name: "tab", shift: true, sequence: "\u001b[Z" },
      "C-c": { name: "c", ctrl: true, sequence: "\u0003" },
      space: { name: "space", sequence: " " }
    }
    return known[name] ?? (name.length === 1 ? { name: name.toLowerCase(), sequence: name } : { name })
  }
  const after = (section: string, keys: string) =>
    keys.split(" ").reduce<State.State | undefined>(
      (state, key) => state === undefined ? undefined : State.press(state, named(key)),
      { ...state, section }
    )
  const seen = (section: string, keys: string) => {
    const next = after(section, keys)
    if (next === undefined) return "the end"
    const table = State.shown(next, State.current(next, Table.sections(next.picture)))
    const { filter, opened } = State.lookAt(next, next.section)
    return [
      next.section,
      table.lines.map(({ row }, i) => `${i === table.chosen ? "*" : ""}${row.key}${opened.has(row.key) ? "!" : ""}`)
        .join(" "),
      table.sort === undefined ? "" : `${table.sort.key}${table.sort.descending ? "-" : "+"}`,
      next.typing ? `/${filter}` : filter
    ].join(" | ")
  }

  for (
    const [section, keys, expected] of [
      ["carts", "j", "carts | c2 *c3 c1 | worth- | "],
      ["carts", "down j j j k", "carts | c2 *c3 c1 | worth- | "],
      ["carts", "G", "carts | c2 c3 *c1 | worth- | "],
      ["carts", "pagedown g", "carts | *c2 c3 c1 | worth- | "],
      ["carts", "up", "carts | *c2 c3 c1 | worth- | "],
      ["carts", "S", "carts | *c1 c3 c2 | worth+ | "],
      ["carts", "j S", "carts | c1 *c3 c2 | worth+ | "],
      ["carts", "s", "carts | *c1 c2 c3 | note+ | "],
      ["carts", "s S", "carts | *c1 c2 c3 | note- | "],
      ["carts", "s s", "carts | *c1 c2 c3 | owner+ | "],
      ["carts", "/ A D", "carts | *c1 | worth- | /AD"],
      ["carts", "/ q return", "carts |  | worth- | q"],
      ["carts", "/ x y backspace", "carts |  | worth- | /x"],
      ["carts", "/ a escape", "carts | *c2 c3 c1 | worth- | "],
      ["carts", "/ a return escape", "carts | *c2 c3 c1 | worth- | "],
      ["carts", "return", "carts | *c2! c3 c1 | worth- | "],
      ["carts", "return return", "carts | *c2 c3 c1 | worth- | "],
      ["fibers", "space", "fibers | *r |  | "],
      ["fibers", "space space j space", "fibers | r *c |  | "],
      ["fibers", "s S", "fibers | *r c d | name- | "],
      ["alerts", "return", "carts | *c2 c3 c1 | worth- | "],
      ["alerts", "space", "alerts | *a1! |  | "],
      ["alerts", "tab", "history | *rss |  | "],
      ["alerts", "S-tab", "broken |  |  | "],
      ["broken", "l", "alerts | *a1 |  | "],
      ["alerts", "3", "fibers | *r c d |  | "],
      ["alerts", "9", "alerts | *a1 |  | "],
      ["broken", "j k G return space s", "broken |  | a+ | "],
      ["alerts", "q", "the end"],
      ["alerts", "C-c", "the end"],
      ["alerts", "/ q C-c", "the end"]
    ] as const
  ) {
    it(`${keys} in ${section}`, () => {
      assert.strictEqual(seen(section, keys), expected)
    })
  }

  it("keep the chosen row while others come and go, and its place when it goes", () => {
    const chosen = after("carts", "j")!
    const frame = (gone: ReadonlyArray<string>) => ({ ...whole, whole: false, sections: { carts: { gone } } })
    const key = (picture: Picture.Picture) => {
      const table = State.shown(
        { ...chosen, picture },
        State.current({ ...chosen, picture }, Table.sections(picture))
      )
      return table.lines[table.chosen]?.row.key
    }
    assert.strictEqual(key(Picture.apply(chosen.picture, frame(["c2"]), 600)), "c3")
    assert.strictEqual(key(Picture.apply(chosen.picture, frame(["c3"]), 600)), "c1")
    assert.strictEqual(key(Picture.apply(chosen.picture, frame(["c1", "c2", "c3"]), 600)), undefined)
  })
})

describe("arguments of holdfast-top", () => {
  it("are a URL and a token, from the first place that has one", () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-top-"))
    const file = join(folder, "token")
    writeFileSync(file, "from-a-file\n")
    const url = "http://a:1/console"
    for (
      const [args, expected] of [
        [["a:1"], { url, token: "from-the-environment" }],
        [["http://a:1/"], { url, token: "from-the-environment" }],
        [["https://a/ops/x/", "--token", "t"], { url: "https://a/ops/x", token: "t" }],
        [["http://a:1/console/#token=linked"], { url, token: "linked" }],
        [["http://a:1/console#token=linked", "--token-file", file], { url, token: "from-a-file" }],
        [["--help"], "help"]
      ] as const
    ) assert.deepStrictEqual(Options.read(args, { HOLDFAST_TOKEN: "from-the-environment" }), expected)
    for (
      const args of [[], ["a", "b"], ["ftp://a"], ["http://"], ["a", "--x"], ["a", "--token", "ä"], [
        "a",
        "--token-file",
        join(folder, "none")
      ]]
    ) assert.property(Options.read(args, {}), "wrong", args.join(" "))
    rmSync(folder, { recursive: true })
  })
})

const token = "a-token-for-the-operator"

const serving = (port: number, ...more: ReadonlyArray<ConsoleSection.Section>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      HttpLayerRouter.serve(
        Console.layer({
          name: "shop",
          access: { token: Redacted.make(token) },
          interval: "100 millis",
          sections: [
            ConsoleSection.table({
              id: "carts",
              columns: { owner: "text" },
              rows: Effect.succeed([{ key: "1", cells: { owner: "Ada\u001b[2J" } }])
            }),
            ...more
          ]
        }),
        { disableListenLog: true, disableLogger: true }
      ).pipe(
        Layer.provideMerge(NodeServer.layer({ port })),
        Layer.provideMerge(FiberRegistry.layer),
        Layer.provide(Logger.replace(Logger.defaultLogger, Logger.none))
      )
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    return `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}/console`
  })
const app = serving(0)

const program = fileURLToPath(new URL("../dist/internal/top/main.js", import.meta.url))

/** A process, what it has printed, and its end. */
const start = (command: string, args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(command, args, { env: { PATH: process.env["PATH"], TERM: "xterm", ...env } })
      const out = { stdout: "", stderr: "" }
      child.stdout.setEncoding("utf8").on("data", (text: string) => out.stdout += text)
      child.stderr.setEncoding("utf8").on("data", (text: string) => out.stderr += text)
      // It may have ended before it has read all.
      child.stdin.on("error", () => {})
      const ended = new Promise<number | null>((resolve) => child.on("close", resolve))
      return { child, out, ended: Effect.promise(() => ended), closed: ended }
    }),
    ({ child, closed }) =>
      Effect.promise(() => {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL")
        return closed
      })
  )

describe("holdfast-top as a process", () => {
  it.scopedLive(
    "without a terminal prints one picture and ends with 0; a wrong token is one sentence and 1 (daily)",
    () =>
      Effect.gen(function*() {
        const url = yield* app
        const closed = yield* Effect.scoped(app)
        const good = yield* start(process.execPath, [program, `${url}#token=${token}`])
        assert.strictEqual(yield* good.ended, 0, good.out.stderr)
        assert.match(good.out.stdout, /^shop {2}accepting {2}0 s old {2}.+\nup .+ {2}operator\n/)
        assert.match(good.out.stdout, /\n== carts \(1\)\nowner\nAda\ufffd\[2J\n/)
        assert.match(good.out.stdout, /\n== Fibers \([0-9]+\)\nname +kind/)
        for (
          const [args, sentence] of [
            [[url, "--token", "a-token-that-is-none"], `${url} does not accept this token.\n`],
            [[url], `${url} asks for a token: give it with --token, --token-file or HOLDFAST_TOKEN.\n`],
            [[`${url}/nothing`], `${url}/nothing is no console: it answered 404.\n`],
            [[closed], `${closed} cannot be reached: ECONNREFUSED.\n`],
            [[], "One URL is needed: that of a console's page. See --help.\n"]
          ] as const
        ) {
          const wrong = yield* start(process.execPath, [program, ...args])
          assert.deepStrictEqual([yield* wrong.ended, wrong.out.stdout, wrong.out.stderr], [1, "", sentence])
        }
      }),
    60_000
  )

  const required = process.env["HOLDFAST_REQUIRE_INTEGRATION"] === "1"
  const hasScript = spawnSync("script", ["--version"]).status === 0
  const mark = hasScript || required ? "" : " (skipped: script of util-linux is missing)"
  const taken = "\u001b[?1049h"
  const given = "\u001b[?25h\u001b[?1049l"
  /** A crash on demand. */
  const crash = "data:text/javascript,process.on('SIGUSR2',()=>{throw new Error('planted')})"
  const inTerminal = (url: string, secret = token) =>
    start("script", [
      "-qec",
      `stty cols 90 rows 30; exec "${process.execPath}" --import "${crash}" "${program}" "${url}" --token ${secret}`,
      "/dev/null"
    ])
  const saw = (top: Effect.Effect.Success<ReturnType<typeof inTerminal>>, text: string, from = 0) =>
    Effect.map(
      eventually(Effect.sync(() => top.out.stdout.slice(from)), (out) => out.includes(text), 30_000),
      (out) => assert.include(out, text)
    )

  describe.skipIf(!hasScript && !required)(`in a terminal${mark}`, () => {
    for (
      const [name, end, code] of [
        ["q", (write: (text: string) => void) => write("q"), 0],
        ["Ctrl-C", (write: (text: string) => void) => write("\u0003"), 0],
        ["SIGTERM", "SIGTERM", 143],
        ["SIGINT", "SIGINT", 130],
        ["SIGHUP", "SIGHUP", 129],
        ["a crash", "SIGUSR2", 1]
      ] as const
    ) {
      it.scopedLive(
        `shows the sections, and gives the terminal back on ${name}${
          name === "q" || name === "a crash" ? "" : " (daily)"
        }`,
        () =>
          Effect.gen(function*() {
            const url = yield* app
            const top = yield* inTerminal(url)
            yield* saw(top, "Fibers")
            assert.include(top.out.stdout, taken)
            assert.notInclude(top.out.stdout, given)
            if (typeof end === "function") {
              yield* Effect.sync(() => end((text) => top.child.stdin.write(text)))
            } else {
              // The shell has become the viewer: it is the only child of script.
              const pid = readFileSync(`/proc/${top.child.pid}/task/${top.child.pid}/children`, "utf8")
              yield* Effect.sync(() => process.kill(Number(pid), end))
            }
            assert.strictEqual(yield* top.ended, code, top.out.stdout)
            const [before, behind, ...more] = top.out.stdout.split(given)
            assert.deepStrictEqual(more, [])
            assert.include(before, "Fibers")
            // The trace of a crash stands on the screen that stays.
            if (code === 1) assert.include(behind, "planted")
            else assert.strictEqual(behind.trim(), "")
          }),
        60_000
      )
    }

    it.scopedLive(
      "comes back when the process does, and says meanwhile that it is gone (daily)",
      () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const url = yield* Scope.extend(app, scope)
          const top = yield* inTerminal(url)
          yield* saw(top, "Fibers")
          yield* Scope.close(scope, Exit.void)
          yield* saw(top, "ECONNREFUSED")
          yield* saw(top, "stale: ")
          const from = top.out.stdout.length
          yield* serving(Number(new URL(url).port))
          yield* saw(top, " 0 s old", from)
          top.child.stdin.write("q")
          assert.strictEqual(yield* top.ended, 0)
        }),
      60_000
    )

    it.scopedLive(
      "has the section that it shows looked at more often than those that nobody has open (daily)",
      () =>
        Effect.gen(function*() {
          let looks = 0
          const url = yield* serving(
            0,
            ConsoleSection.table({
              id: "dear",
              columns: { looks: "text" },
              rows: Effect.sync(() => {
                const since = performance.now()
                while (performance.now() - since < 2) { /* it costs something */ }
                return [{ key: "1", cells: { looks: `look ${++looks}` } }]
              })
            })
          )
          const top = yield* inTerminal(url)
          yield* saw(top, "dear 1")
          // The one before the first is the last.
          top.child.stdin.write("h")
          // Every 30 seconds it would be.
          yield* saw(top, "look 3")
          top.child.stdin.write("q")
          assert.strictEqual(yield* top.ended, 0)
        }),
      60_000
    )

    it.scopedLive("says behind it that a token is wrong (daily)", () =>
      Effect.gen(function*() {
        const url = yield* app
        const top = yield* inTerminal(url, "a-token-that-is-none")
        assert.strictEqual(yield* top.ended, 1)
        assert.strictEqual(top.out.stdout.split(given)[1].trim(), `${url} does not accept this token.`)
      }), 60_000)
  })
})
