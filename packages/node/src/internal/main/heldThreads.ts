/**
 * What keeps the process from ending: work on the thread pool of libuv. `process.exit` waits for these threads, and one that
 * is blocked in the operating system (a FIFO without a writer, a network disk or a name server that does not answer)
 * never ends. By then every worker, a watchdog too, has been stopped, so this is looked at before.
 *
 * Node.js tells only what kind of request is open. On Linux, `/proc` tells what the threads are doing, and with which file.
 */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs"

/** Requests that occupy a thread of the pool, as `process.getActiveResourcesInfo` names them. */
const pooled = /^(FSReq|GetAddrInfoReq|GetNameInfoReq)|Job$|^(PBKDF2|Scrypt|RandomBytes|KeyPairGen|Sign)Request$/

interface Call {
  readonly name: string
  /** What the first argument that matters is, and which one it is. */
  readonly takes: "descriptor" | "path" | undefined
  readonly argument: number
}

const call = (name: string, takes?: Call["takes"], argument = 0): Call => ({ name, takes, argument })

/** System calls in which a thread can be stuck, by number. */
const calls: Partial<Record<NodeJS.Architecture, Readonly<Record<number, Call>>>> = {
  x64: {
    0: call("read", "descriptor"),
    1: call("write", "descriptor"),
    2: call("open", "path"),
    3: call("close", "descriptor"),
    4: call("stat", "path"),
    6: call("lstat", "path"),
    7: call("poll"),
    17: call("read", "descriptor"),
    18: call("write", "descriptor"),
    19: call("read", "descriptor"),
    20: call("write", "descriptor"),
    42: call("connect", "descriptor"),
    73: call("lock", "descriptor"),
    74: call("fsync", "descriptor"),
    75: call("fdatasync", "descriptor"),
    217: call("read", "descriptor"),
    257: call("open", "path", 1),
    262: call("stat", "path", 1),
    295: call("read", "descriptor"),
    296: call("write", "descriptor"),
    332: call("stat", "path", 1)
  },
  arm64: {
    25: call("lock", "descriptor"),
    32: call("lock", "descriptor"),
    56: call("open", "path", 1),
    57: call("close", "descriptor"),
    61: call("read", "descriptor"),
    63: call("read", "descriptor"),
    64: call("write", "descriptor"),
    65: call("read", "descriptor"),
    66: call("write", "descriptor"),
    67: call("read", "descriptor"),
    68: call("write", "descriptor"),
    73: call("poll"),
    79: call("stat", "path", 1),
    82: call("fsync", "descriptor"),
    83: call("fdatasync", "descriptor"),
    203: call("connect", "descriptor"),
    291: call("stat", "path", 1)
  }
}

/** System calls in which a thread is when it has nothing to do: futex, epoll and the sleeps. */
const idle: Partial<Record<NodeJS.Architecture, ReadonlySet<number>>> = {
  x64: new Set([24, 35, 202, 230, 232, 281, 441, 449, 455]),
  arm64: new Set([22, 98, 101, 115, 124, 441, 449, 455])
}

/**
 * What holds the process at this moment, each once: `open "/data/events.fifo"`, or the kind of request. Empty when nothing
 * does.
 */
export const heldBy = (): ReadonlyArray<string> => {
  const requests = process.getActiveResourcesInfo().filter((kind) => pooled.test(kind))
  if (requests.length === 0) return []
  const stuck = blockedCalls()
  if (stuck === undefined) return Array.from(new Set(requests))
  // A computation is in no system call.
  return Array.from(
    new Set([...stuck, ...requests.filter((kind) => !kind.includes("Req") || kind.endsWith("Request"))])
  )
}

/** What the other threads of this process are doing in the operating system, where that may be asked. */
const blockedCalls = (): ReadonlyArray<string> | undefined => {
  const names = calls[process.arch]
  const waiting = idle[process.arch]
  if (process.platform !== "linux" || names === undefined || waiting === undefined) return undefined
  try {
    const self = readlinkSync("/proc/thread-self").split("/").at(-1)
    return readdirSync("/proc/self/task").flatMap((task) => {
      // The main thread is the one that exits.
      if (task === self || Number(task) === process.pid) return []
      const [number, ...args] = systemCall(task)
      // A thread that is running is in no system call.
      if (!/^\d+$/.test(number) || waiting.has(Number(number))) return []
      const found = names[Number(number)]
      if (found === undefined) return [`system call ${number}`]
      const about = subject(found, args[found.argument])
      return [about === undefined ? found.name : `${found.name} ${JSON.stringify(about)}`]
    })
  } catch {
    // A kernel or a sandbox that does not tell.
    return undefined
  }
}

/** Number and arguments of the call that a thread is in, or one word when it is in none. */
const systemCall = (task: string): ReadonlyArray<string> => {
  try {
    return readFileSync(`/proc/self/task/${task}/syscall`, "latin1").trim().split(" ")
  } catch (error) {
    // It has ended since.
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return ["ended"]
    throw error
  }
}

const subject = ({ takes }: Call, argument: string): string | undefined => {
  try {
    if (takes === "descriptor") return readlinkSync(`/proc/self/fd/${Number(argument)}`)
    return takes === "path" ? textAt(Number(argument)) : undefined
  } catch {
    return undefined
  }
}

/** The text that a pointer of this process points at. */
const textAt = (address: number): string | undefined => {
  const memory = openSync("/proc/self/mem", "r")
  try {
    const bytes = Buffer.alloc(512)
    const read = readSync(memory, bytes, 0, bytes.length, address)
    const end = bytes.subarray(0, read).indexOf(0)
    return end > 0 ? bytes.toString("utf8", 0, end) : undefined
  } finally {
    closeSync(memory)
  }
}
