/** A row of the fault matrix, and what rows are made of. */
import * as Http from "node:http"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import type { Plan } from "../lib/plan.js"
import type { Prng } from "../lib/prng.js"
import * as Server from "../lib/server.js"
import { eventually } from "../lib/wait.js"

export interface Setting {
  readonly chance: Prng
  /** empty, and gone after the row */
  readonly folder: string
  /** what is handed over is killed after the row */
  readonly keep: <S extends Pick<Server.Server, "stop">>(server: S) => S
}

export interface Row {
  readonly name: string
  readonly holds: string
  /** which tool is missing */
  readonly missing?: () => string | undefined
  /** returns what was seen; throws when it does not hold */
  readonly run: (setting: Setting) => Promise<string>
}

const subjectFile = fileURLToPath(new URL("../subject.js", import.meta.url))

export const subject = async ({ keep }: Setting, plan: Plan = {}): Promise<Server.Server> =>
  keep(await Server.start({ file: subjectFile, flags: [JSON.stringify(plan)] }))

export const expect = (condition: boolean, what: string): void => {
  if (!condition) throw new Error(what)
}

export interface State {
  readonly fibers: number
  readonly crashed: number
  readonly streams: number
  readonly http: { readonly connections: number; readonly inFlight: number }
  readonly starts: Readonly<Record<string, number>>
  readonly orphans: number
}

export interface Answered {
  readonly status: number
  readonly text: string
}

export const ask = (url: string, method: string, path: string, body?: string): Promise<Answered> =>
  new Promise((resolve, reject) => {
    const sent = Http.request(`${url}${path}`, { method, agent: false }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        text += chunk
      })
      response.on("error", reject)
      response.on("end", () => resolve({ status: response.statusCode!, text }))
    })
    sent.setTimeout(20_000, () => sent.destroy(new Error(`${method} ${path}: nothing for 20 s`)))
    sent.on("error", reject)
    sent.end(body)
  })

export const state = async ({ url }: Server.Server): Promise<State> => {
  const { status, text } = await ask(url, "GET", "/state")
  expect(status === 200, `/state: ${status} ${text}`)
  return JSON.parse(text)
}

export interface Raw {
  readonly socket: Net.Socket
  /** all that came */
  readonly text: () => string
  /** milliseconds from the connect to the close by the server */
  readonly closed: Promise<number>
}

export const raw = (port: number, text: string): Promise<Raw> =>
  new Promise((resolve, reject) => {
    const from = performance.now()
    const socket = Net.connect(port, "127.0.0.1")
    let all = ""
    socket.setEncoding("latin1")
    const closed = new Promise<number>((ended) => void socket.once("close", () => ended(performance.now() - from)))
    socket.on("error", reject)
    socket.on("data", (chunk: string) => {
      all += chunk
    })
    socket.once("connect", () => {
      socket.write(text)
      resolve({ socket, text: () => all, closed })
    })
  })

/** Waits until the server has as little as before: its fibers, its streams, its connections but for that of the question. */
export const returned = async (server: Server.Server, before: State, within = 15_000): Promise<string> => {
  const from = performance.now()
  let last = before
  await eventually("the server is as it was before", async () => {
    last = await state(server)
    return last.fibers <= before.fibers && last.streams === 0 && last.orphans === 0 &&
      last.http.connections <= 1
  }, within).catch(() => {
    throw new Error(`not as before after ${within} ms: ${JSON.stringify(last)} instead of ${JSON.stringify(before)}`)
  })
  return `${last.fibers} fibers, ${last.streams} streams, ${last.orphans} orphans, as before, after ${
    Math.round(performance.now() - from)
  } ms`
}

/** Ends the server as an operator would, and tells how. */
export const endsCleanly = async (server: Server.Server, within = 4_500): Promise<string> => {
  const { code, millis } = await server.stop("SIGTERM")
  expect(code === 0, `SIGTERM: exit code ${code} instead of 0:\n${server.output()}`)
  expect(millis < within, `SIGTERM: took ${Math.round(millis)} ms`)
  return `SIGTERM: exit code 0 after ${Math.round(millis)} ms`
}
