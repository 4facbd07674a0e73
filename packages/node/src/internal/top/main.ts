#!/usr/bin/env node
/**
 * `holdfast-top`: the console of a process in a terminal, over its feed, for who has only a shell. It looks and does not act.
 *
 * It comes back for ever when the connection ends, and gives the terminal back at every end of its own. Without a terminal
 * it prints one picture as text. What names, log lines and errors hold that a terminal would obey is not passed on to it.
 */
import * as Effect from "effect/Effect"
import * as Connection from "./connection.js"
import * as Options from "./options.js"
import * as Picture from "./picture.js"
import { render, snapshot } from "./render.js"
import * as Screen from "./screen.js"
import * as State from "./state.js"

const now = (): number => performance.now()

/** The text is written as a whole before the process ends, also into a pipe. */
const print = (text: string, code: number) => {
  const to = code === 0 ? process.stdout : process.stderr
  // Nobody reads any more: `| head`.
  to.on("error", () => process.exit(code))
  to.write(`${text}\n`, () => process.exit(code))
}

const printOnce = (options: Options.Options): void => {
  // edge: the end of this program is that of the process
  Effect.runCallback(Connection.snapshot(options), {
    onExit: (exit) => {
      if (exit._tag === "Success") {
        const { frame, hello } = exit.value
        const picture = Picture.apply(Picture.greet(Picture.empty, hello), frame, now())
        print(snapshot({ ...State.initial, picture, link: { _tag: "Live" }, now: picture.at }).join("\n"), 0)
      } else {
        print(exit.cause._tag === "Fail" ? exit.cause.error.message : String(exit.cause), 1)
      }
    }
  })
}

const watch = (options: Options.Options): void => {
  let state = State.initial
  let open = ""
  // edge: who is not answered is told again
  const tell = () => {
    if (open !== "") Effect.runFork(Connection.watch(options, open))
  }
  const change = (next: Partial<State.State>) => {
    const size = screen.size()
    state = { ...state, page: Math.max(1, size.rows - 6), ...next, now: now() }
    screen.paint(render(state, size))
    if (state.link._tag !== "Live" || state.section === open) return
    open = state.section
    tell()
  }
  const screen = Screen.open({
    key: (key) => {
      const next = State.press({ ...state, now: now() }, key)
      if (next === undefined) screen.end(0)
      else change(next)
    },
    resize: () => change({})
  })
  change({})
  // The age of the picture goes on also when nothing comes.
  setInterval(() => change({}), 500)
  setInterval(tell, 30_000)
  // edge: the end of this program is that of the process
  Effect.runCallback(
    Connection.follow(options, {
      hello: (hello) => {
        open = ""
        change({ picture: Picture.greet(state.picture, hello) })
      },
      frame: (frame) => change({ picture: Picture.apply(state.picture, frame, now()), link: { _tag: "Live" } }),
      lost: (why, delay) => change({ link: { _tag: "Lost", why, again: now() + delay } })
    }),
    {
      onExit: (exit) => {
        if (exit._tag === "Failure" && exit.cause._tag === "Fail") screen.end(1, exit.cause.error.message)
        else screen.end(1, `The viewer has crashed: ${exit._tag === "Failure" ? String(exit.cause) : "it ended"}`)
      }
    }
  )
}

const options = Options.read(process.argv.slice(2), process.env)
if (options === "help") print(Options.usage, 0)
else if ("wrong" in options) print(`${options.wrong} See --help.`, 1)
else if (process.stdin.isTTY && process.stdout.isTTY && process.env["TERM"] !== "dumb") watch(options)
else printOnce(options)
