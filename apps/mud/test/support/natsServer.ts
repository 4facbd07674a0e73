/** A NATS server of its own for a test of processes: the real program, in a directory that goes with it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { homedir, tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { sleep } from "./server.js"

const isRecent = (path: string): boolean => {
  try {
    const version = /v?(\d+)\.(\d+)\.\d+/.exec(execFileSync(path, ["--version"], { encoding: "utf8" }))
    return version !== null && (Number(version[1]) > 2 || Number(version[2]) >= 12)
  } catch {
    return false
  }
}

const executable = [
  process.env["HOLDFAST_NATS_SERVER"],
  ...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "nats-server")),
  join(homedir(), ".cache", "holdfast", "nats", "usr", "sbin", "nats-server")
].find((path) => path !== undefined && path !== "" && existsSync(path) && isRecent(path))

/** Without a server these tests are left out, and say so; with `HOLDFAST_REQUIRE_INTEGRATION=1` they fail. */
export const missing = executable === undefined && process.env["HOLDFAST_REQUIRE_INTEGRATION"] !== "1"

export const named = (name: string) =>
  missing ? `${name} (skipped: no nats-server of 2.12 or newer; scripts/get-nats.sh brings one)` : name

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer()
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1")
    const end = (found: boolean) => {
      socket.destroy()
      resolve(found)
    }
    socket.once("data", () => end(true))
    socket.once("error", () => end(false))
    socket.once("close", () => end(false))
  })

export interface NatsServer {
  readonly url: string
  /** Waits until it listens. */
  readonly start: () => Promise<void>
  /** Waits until it has ended. */
  readonly kill: () => Promise<void>
  /** Copies its files, and gives them back later: what was stored between is lost. While it is not running. */
  readonly keep: () => void
  readonly giveBack: () => void
  readonly remove: () => Promise<void>
}

/** It syncs at every write, as the documents say. `config` is more lines of the configuration. */
export const natsServer = async (
  config = "",
  { name = "n1", port: given }: { readonly name?: string; readonly port?: number } = {}
): Promise<NatsServer> => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-cluster-"))
  const port = given ?? await freePort()
  const file = join(directory, "nats-server.conf")
  writeFileSync(
    file,
    `server_name: ${name}
listen: "127.0.0.1:${port}"
jetstream { store_dir: "${join(directory, "store")}", max_file_store: 2G, sync_interval: always }
${config}
`
  )
  let child: ChildProcess | undefined
  const kill = () =>
    new Promise<void>((resolve) => {
      const running = child
      child = undefined
      if (running === undefined || running.exitCode !== null || running.signalCode !== null) return resolve()
      running.once("exit", () => resolve())
      running.kill("SIGKILL")
    })
  const start = async () => {
    if (executable === undefined) {
      throw new Error("there is no nats-server of 2.12 or newer: scripts/get-nats.sh brings one")
    }
    child = spawn(executable, ["-c", file], { stdio: "ignore" })
    const until = performance.now() + 30_000
    while (!(await listens(port))) {
      if (performance.now() > until) throw new Error(`nats-server does not listen on ${port} after 30 s`)
      await sleep(5)
    }
  }
  await start()
  return {
    url: `nats://127.0.0.1:${port}`,
    start,
    kill,
    keep: () => cpSync(join(directory, "store"), join(directory, "kept"), { recursive: true }),
    giveBack: () => {
      rmSync(join(directory, "store"), { recursive: true, force: true })
      cpSync(join(directory, "kept"), join(directory, "store"), { recursive: true })
    },
    remove: async () => {
      await kill()
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
    }
  }
}

/** Between a node and its server: what goes over it can stop there, at a moment that the test knows. */
export interface Link {
  readonly url: string
  /** From now on nothing arrives on either side. Ends when a node sends something with this text in it. */
  readonly swallow: (text: string) => Promise<void>
  /** As if the server were gone: what is connected is cut, and nobody listens. */
  readonly cut: () => void
}

export const natsLink = async (server: string): Promise<Link> => {
  const port = Number(new URL(server).port)
  const sockets = new Set<Socket>()
  let wanted: string | undefined
  let found = () => {}
  const listener = createServer((near) => {
    const far = connect(port, "127.0.0.1")
    for (const [from, to] of [[near, far], [far, near]] as const) {
      sockets.add(from)
      from.on("error", () => {})
      from.on("close", () => {
        sockets.delete(from)
        to.destroy()
      })
      from.on("data", (chunk: Buffer) => {
        if (wanted === undefined) to.write(chunk)
        else if (from === near && chunk.includes(wanted)) found()
      })
    }
  })
  await new Promise<void>((resolve) => void listener.listen(0, "127.0.0.1", resolve))
  return {
    url: `nats://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    swallow: (text) =>
      new Promise((resolve) => {
        found = resolve
        wanted = text
      }),
    cut: () => {
      listener.close()
      for (const socket of sockets) socket.destroy()
    }
  }
}

export interface NatsCluster {
  /** The addresses of all, as `--nats` takes them. */
  readonly url: string
  readonly servers: ReadonlyArray<NatsServer>
  /** The place of the server that leads a stream. */
  readonly leaderOf: (stream: string) => Promise<number | undefined>
  readonly remove: () => Promise<void>
}

/** Three servers that keep everything three times. Waits until they are one. */
export const natsCluster = async (): Promise<NatsCluster> => {
  const names = ["n1", "n2", "n3"]
  const ports = await Promise.all(names.map(async () => ({
    client: await freePort(),
    route: await freePort(),
    monitor: await freePort()
  })))
  const routes = ports.map(({ route }) => `"nats://127.0.0.1:${route}"`).join(", ")
  const servers = await Promise.all(names.map((name, index) =>
    natsServer(
      `http: "127.0.0.1:${ports[index].monitor}"
cluster { name: c, listen: "127.0.0.1:${ports[index].route}", routes: [${routes}] }`,
      { name, port: ports[index].client }
    )
  ))
  const ask = async (index: number, path: string) => {
    try {
      return await (await fetch(`http://127.0.0.1:${ports[index].monitor}${path}`)).json() as {
        readonly meta_cluster?: { readonly leader?: string; readonly cluster_size?: number }
        readonly account_details?: ReadonlyArray<{
          readonly stream_detail?: ReadonlyArray<
            { readonly name: string; readonly cluster?: { readonly leader?: string } }
          >
        }>
      }
    } catch {
      return undefined
    }
  }
  const until = performance.now() + 30_000
  while (true) {
    const found = await Promise.all(names.map((_, index) => ask(index, "/jsz")))
    if (found.every((one) => (one?.meta_cluster?.leader ?? "") !== "" && one?.meta_cluster?.cluster_size === 3)) break
    if (performance.now() > until) throw new Error("three servers of NATS are no cluster after 30 s")
    await sleep(50)
  }
  return {
    url: servers.map(({ url }) => url).join(","),
    servers,
    leaderOf: async (stream) => {
      for (let index = 0; index < names.length; index++) {
        const found = await ask(index, "/jsz?accounts=true&streams=true")
        const detail = found?.account_details?.flatMap(({ stream_detail = [] }) => stream_detail)
          .find(({ name }) => name === stream)
        const leader = names.indexOf(detail?.cluster?.leader ?? "")
        if (leader >= 0) return leader
      }
      return undefined
    },
    remove: async () => {
      await Promise.all(servers.map((one) => one.remove()))
    }
  }
}
