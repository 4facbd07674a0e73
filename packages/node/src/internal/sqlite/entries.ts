/**
 * The entries of a file, as a `KeyValueStore`.
 */
import * as PlatformError from "@effect/platform/Error"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Option from "effect/Option"
import type { Connection } from "./connection.js"
import { bytesOf, decodeText, encodeText } from "./driver.js"
import type { Failure, Reason } from "./failure.js"
import type { Submit } from "./submit.js"

const systemReasons: Partial<Record<Reason, PlatformError.SystemErrorReason>> = {
  Corrupt: "InvalidData",
  Foreign: "InvalidData",
  InUse: "Busy",
  ReadOnly: "PermissionDenied",
  Full: "WriteZero",
  Closed: "BadResource"
}

export const makeEntries = async (
  connection: Connection,
  path: string,
  submit: Submit
): Promise<KeyValueStore.KeyValueStore> => {
  const select = await connection.prepare("SELECT bytes, value FROM entries WHERE key = ?")
  const replace = await connection.prepare("INSERT OR REPLACE INTO entries (key, bytes, value) VALUES (?, ?, ?)")
  const remove = await connection.prepare("DELETE FROM entries WHERE key = ?")
  const clear = await connection.prepare("DELETE FROM entries")
  const count = await connection.prepare("SELECT count(*) AS count FROM entries")

  const failed = (method: string) => (failure: Failure) =>
    new PlatformError.SystemError({
      reason: systemReasons[failure.reason] ?? "Unknown",
      module: "KeyValueStore",
      method,
      pathOrDescriptor: path,
      description: `expected ${failure.expected}, found ${failure.found}`,
      cause: failure.cause
    })
  const find = (key: string): string | Uint8Array | undefined => {
    const row = select.get([encodeText(key)])
    if (row === undefined) return undefined
    return row.bytes === 1 ? new Uint8Array(bytesOf(row.value)) : decodeText(row.value)
  }
  const put = (key: string, value: string | Uint8Array): void => {
    if (typeof value === "string") replace.run([encodeText(key), 0, encodeText(value)])
    else replace.run([encodeText(key), 1, bytesOf(value)])
  }
  const text = (value: string | Uint8Array) => typeof value === "string" ? value : Encoding.encodeBase64(value)
  const bytes = (value: string | Uint8Array) => typeof value === "string" ? new TextEncoder().encode(value) : value
  const get = <A>(method: string, key: string, as: (value: string | Uint8Array) => A) =>
    submit(false, () => Option.map(Option.fromNullable(find(key)), as)).pipe(Effect.mapError(failed(method)))
  /** Reads and writes in one transaction: nothing gets in between. */
  const modify = <A extends string | Uint8Array>(
    method: string,
    key: string,
    as: (value: string | Uint8Array) => A,
    f: (value: A) => A
  ) =>
    submit(true, () =>
      Option.map(Option.fromNullable(find(key)), (value) => {
        const next = f(as(value))
        put(key, next)
        return next
      })).pipe(Effect.mapError(failed(method)))

  return KeyValueStore.make({
    get: (key) => get("get", key, text),
    getUint8Array: (key) => get("getUint8Array", key, bytes),
    set: (key, value) => submit(true, () => put(key, value)).pipe(Effect.mapError(failed("set"))),
    remove: (key) => submit(true, () => void remove.run([encodeText(key)])).pipe(Effect.mapError(failed("remove"))),
    clear: submit(true, () => void clear.run([])).pipe(Effect.mapError(failed("clear"))),
    size: submit(false, () => Number(count.get([])?.count)).pipe(Effect.mapError(failed("size"))),
    modify: (key, f) => modify("modify", key, text, f),
    modifyUint8Array: (key, f) => modify("modifyUint8Array", key, bytes, f)
  })
}
