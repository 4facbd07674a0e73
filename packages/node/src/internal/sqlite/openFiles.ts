/**
 * Which files this process has open as stores, asked before anything opens one.
 *
 * POSIX locks belong to the process and to the file behind the name: closing any descriptor of a file drops all the locks
 * that the process has on it. A second look at an open store, through a hard link or from a second evaluation of this
 * module, would let another process in, and both would give the same ids. So files are known by device and inode, and the
 * list is one for the process, not one for the module. A worker thread has a list of its own: there, a descriptor of the
 * file that the process has already is used to read it, and none is closed.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { Failure } from "./failure.js"

const key = Symbol.for("@holdfast/node/SqliteStore/held")

const held: Set<string> = ((globalThis as { [key]?: Set<string> })[key] ??= new Set())

const identity = (path: string): string | undefined => {
  const stat = Fs.statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`
}

/** One file, for one store of this process. */
export class Claim {
  private readonly names: Array<string> = []

  constructor(private readonly path: string) {
    const real = Fs.existsSync(path) ? Fs.realpathSync(path) : path
    // Of a file that does not exist yet, the entry in its directory.
    this.add(`${identity(Path.dirname(real))}/${Path.basename(real)}`)
    this.settle()
  }

  /** To be called again when the file has come into being. */
  settle(): void {
    const file = identity(this.path)
    if (file !== undefined && !this.names.includes(file)) this.add(file)
  }

  release(): void {
    for (const name of this.names) held.delete(name)
  }

  private add(name: string): void {
    if (held.has(name)) {
      this.release()
      throw new Failure("InUse", "a file that is open once", "a store of this process has it open")
    }
    held.add(name)
    this.names.push(name)
  }
}

/** Reads the beginning of a file, and closes no descriptor of it when this process has one. */
export const readStart = (path: string, length: number): { readonly bytes: Buffer; readonly stat: Fs.Stats } => {
  const bytes = Buffer.alloc(length)
  const read = (descriptor: number) => ({
    stat: Fs.fstatSync(descriptor),
    bytes: bytes.subarray(0, Fs.fstatSync(descriptor).isFile() ? Fs.readSync(descriptor, bytes, 0, length, 0) : 0)
  })
  const known = knownDescriptor(path)
  if (known !== undefined) return read(known)
  const descriptor = Fs.openSync(path, "r")
  try {
    return read(descriptor)
  } finally {
    Fs.closeSync(descriptor)
  }
}

const knownDescriptor = (path: string): number | undefined => {
  const { dev, ino } = Fs.statSync(path, { bigint: true })
  for (const directory of ["/proc/self/fd", "/dev/fd"]) {
    if (!Fs.existsSync(directory)) continue
    return Fs.readdirSync(directory).map(Number).find((descriptor) => {
      try {
        const stat = Fs.fstatSync(descriptor, { bigint: true })
        return stat.dev === dev && stat.ino === ino
      } catch {
        // Closed since: the one of the directory itself is.
        return false
      }
    })
  }
  return undefined
}
