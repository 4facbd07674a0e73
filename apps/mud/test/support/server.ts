/**
 * A server as a process of its own, and players over real sockets.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import * as Http from "node:http"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export const mainFile = fileURLToPath(new URL("../../dist/main.js", import.meta.url))

export const sleep = (millis: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, millis))

/** Waits until something holds; fails with `what` after a minute. */
export const eventually = async <A>(
  what: string,
  look: () => A | Promise<A>,
  within = 60_000
): Promise<NonNullable<A>> => {
  const until = performance.now() + within
  while (true) {
    const found = await look()
    if (found !== undefined && found !== null && found !== false) return found
    if (performance.now() > until) throw new Error(`not within ${within} ms: ${what}`)
    await sleep(25)
  }
}

/** Whatever JSON holds: tests look at it as they expect it to be. */
export type Json = ReturnType<typeof JSON.parse>

export interface Server {
  readonly url: string
  readonly port: number
  /** The link of the operator's page, and the token that was made for this run, where none was given. */
  readonly operator: { readonly link: string; readonly token: string | undefined }
  readonly process: ChildProcess
  readonly out: ReadonlyArray<string>
  readonly err: ReadonlyArray<string>
  readonly exited: Promise<number | null>
  /** Sends a signal and waits for the end. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<{ readonly code: number | null; readonly millis: number }>
}

/** Servers that a test which failed has left behind end with the tests. */
const running = new Map<ChildProcess, Promise<unknown>>()
const killAll = () => {
  for (const child of running.keys()) child.kill("SIGKILL")
}
process.once("exit", killAll)

/** Until they are gone. */
export const stopAll = async (): Promise<void> => {
  killAll()
  await Promise.all(running.values())
}

export const start = async (
  flags: ReadonlyArray<string> = [],
  environment: Readonly<Record<string, string>> = {}
): Promise<Server> => {
  if (!existsSync(mainFile)) throw new Error("apps/mud is not built: npx tsc -b apps/mud")
  const child = spawn(process.execPath, [mainFile, "--port", "0", ...flags], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment }
  })
  const out: Array<string> = []
  const err: Array<string> = []
  const lines = [createInterface({ input: child.stdout! }), createInterface({ input: child.stderr! })]
  lines[0].on("line", (line) => out.push(line))
  lines[1].on("line", (line) => err.push(line))
  // Closed, and not only exited: then all of its output has been read.
  const exited = new Promise<number | null>((resolve) => void child.once("close", (code) => resolve(code)))
  let ended = false
  running.set(child, exited)
  void exited.then(() => {
    ended = true
    running.delete(child)
  })
  const url = await eventually("the server prints its URL", () => {
    if (ended) throw new Error(`the server ended:\n${[...out, ...err].join("\n")}`)
    return out.map((line) => /http:\/\/[\w.:[\]]+/.exec(line)?.[0]).find((found) => found !== undefined)
  })
  const link = out.map((line) => /http:\/\/[\w.:[\]]+\/operator#token=[\w-]+/.exec(line)?.[0]).find((found) =>
    found !== undefined
  )
  return {
    url,
    port: Number(new URL(url).port),
    operator: { link: link ?? `${url}/operator`, token: link?.split("#token=")[1] },
    process: child,
    out,
    err,
    exited,
    stop: async (signal = "SIGTERM") => {
      const from = performance.now()
      if (!ended) child.kill(signal)
      return { code: await exited, millis: performance.now() - from }
    }
  }
}

export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly body: Json
}

export const request = (
  server: Pick<Server, "url">,
  method: string,
  path: string,
  options: {
    readonly token?: string
    readonly body?: unknown
    readonly raw?: string
    readonly headers?: Record<string, string>
  } = {}
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const payload = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body))
    const sent = Http.request(`${server.url}${path}`, {
      method,
      agent: false,
      headers: {
        ...(payload === undefined ? {} : { "content-type": "application/json" }),
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
        ...options.headers
      }
    }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        text += chunk
      })
      response.on("error", reject)
      response.on("end", () => {
        const json = response.headers["content-type"]?.includes("json") === true
        resolve({ status: response.statusCode!, headers: response.headers, body: json ? JSON.parse(text) : text })
      })
    })
    sent.on("error", reject)
    sent.end(payload)
  })

/** A button of the operator's page, pressed as the page does it. */
export const press = (
  server: Server,
  what: string,
  body: unknown = {},
  token = server.operator.token
): Promise<Answer> =>
  request(server, "POST", `/operator/act/${what}`, {
    body,
    headers: { origin: server.url, "x-operator-act": "1" },
    ...(token === undefined ? {} : { token })
  })

export interface Frame {
  readonly id: string | undefined
  readonly event: string
  readonly data: Json
  readonly retry: string | undefined
}

export interface EventStream {
  readonly frames: ReadonlyArray<Frame>
  readonly headers: Http.IncomingHttpHeaders
  readonly text: () => string
  readonly closed: Promise<void>
  readonly close: () => void
  /** Waits for a frame. */
  readonly next: (what: string, is: (frame: Frame) => boolean) => Promise<Frame>
}

export const listen = (
  server: Pick<Server, "url">,
  path: string,
  options: {
    readonly token?: string
    readonly lastEventId?: string | number
    readonly headers?: Record<string, string>
  } = {}
): Promise<EventStream> =>
  new Promise((resolve, reject) => {
    const sent = Http.get(`${server.url}${path}`, {
      agent: false,
      headers: {
        accept: "text/event-stream",
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
        ...(options.lastEventId === undefined ? {} : { "last-event-id": String(options.lastEventId) }),
        ...options.headers
      }
    }, (response) => {
      const frames: Array<Frame> = []
      let all = ""
      let rest = ""
      response.setEncoding("utf8")
      const closed = new Promise<void>((ended) => void response.once("close", () => ended()))
      response.on("error", () => {})
      response.on("data", (text: string) => {
        all += text
        const blocks = (rest + text).split("\n\n")
        rest = blocks.pop()!
        for (const block of blocks) {
          const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, "m").exec(block)?.[1]
          const data = field("data")
          const retry = field("retry")
          if (data === undefined && retry === undefined) continue
          frames.push({
            id: field("id"),
            event: field("event") ?? "message",
            data: data === undefined ? undefined : JSON.parse(data),
            retry
          })
        }
      })
      if (response.statusCode !== 200) {
        response.on("end", () => reject(new Error(`${path}: ${response.statusCode} ${all}`)))
        return
      }
      resolve({
        frames,
        headers: response.headers,
        text: () => all,
        closed,
        close: () => void sent.destroy(),
        next: (what, is) =>
          eventually(`${what}, among ${frames.map(({ event }) => event).join(" ")}`, () => frames.find(is))
      })
    })
    sent.on("error", reject)
  })

export interface Player {
  readonly name: string
  readonly id: string
  readonly token: string
  readonly after: number
  readonly stream: EventStream
  readonly type: (line: string) => Promise<Answer>
  readonly hear: (text: string) => Promise<Frame>
}

export const join = async (server: Server, name: string): Promise<Player> => {
  const { body, status } = await request(server, "POST", "/api/join", { body: { name } })
  if (status !== 200) throw new Error(`join: ${status} ${JSON.stringify(body)}`)
  const stream = await listen(server, "/events", { token: body.token, lastEventId: body.after })
  return {
    name,
    id: body.player.id,
    token: body.token,
    after: body.after,
    stream,
    type: (line) => request(server, "POST", "/api/command", { token: body.token, body: { line } }),
    hear: (text) => stream.next(`${name} hears ${text}`, ({ data }) => data?.text === text)
  }
}
