/**
 * What the driver or the file system said, sorted.
 */

export type Reason =
  | "Foreign"
  | "Newer"
  | "Corrupt"
  | "InUse"
  | "ReadOnly"
  | "Full"
  | "TooBig"
  | "Io"
  | "Closed"
  | "NoDriver"
  | "Exists"

export class Failure extends Error {
  constructor(
    readonly reason: Reason,
    readonly expected: string,
    readonly found: string,
    cause: unknown = undefined
  ) {
    super(`expected ${expected}, found ${found}`, cause === undefined ? {} : { cause })
    this.name = `SqliteFailure (${reason})`
  }
}

export const moved = () => new Failure("Io", "the file that was opened", "it was removed or replaced")

const causeText = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

/** Result codes: https://www.sqlite.org/rescode.html, of which the low byte is the class. */
const reasons: ReadonlyMap<number, readonly [Reason, string]> = new Map([
  [5, ["InUse", "a file that no other process has open"]],
  [6, ["InUse", "a file that no other process has open"]],
  [8, ["ReadOnly", "a file and a directory that can be written"]],
  [11, ["Corrupt", "an undamaged file"]],
  [13, ["Full", "space for more data"]],
  [14, ["Io", "a file that can be opened"]],
  [18, ["TooBig", "a value within the limits of SQLite"]],
  [26, ["Foreign", "a SQLite file"]]
])

export const isSqliteError = (cause: unknown): cause is Error & { readonly code: string; readonly rawCode?: number } =>
  cause instanceof Error && "rawCode" in cause

export const isDriverFailure = (cause: unknown): boolean => cause instanceof Failure || isSqliteError(cause)

export const failureOf = (cause: unknown): Failure => {
  if (cause instanceof Failure) return cause
  if (isSqliteError(cause)) {
    // SQLITE_READONLY_DBMOVED
    if (cause.rawCode === 1032) return moved()
    const known = reasons.get((cause.rawCode ?? 0) & 0xff)
    const found = `${cause.message} (${cause.code})`
    return known === undefined
      ? new Failure("Io", "a working file", found, cause)
      : new Failure(known[0], known[1], found, cause)
  }
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : ""
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    return new Failure("ReadOnly", "a file and a directory that can be written", causeText(cause), cause)
  }
  if (code === "ENOSPC" || code === "EDQUOT") return new Failure("Full", "space for more data", causeText(cause), cause)
  return new Failure("Io", "a file that can be opened", causeText(cause), cause)
}
