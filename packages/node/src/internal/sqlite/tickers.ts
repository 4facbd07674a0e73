/**
 * The states of the tickers of a file.
 */
import * as TickerStore from "@holdfast/core/TickerStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Connection } from "./connection.js"
import { encodeText } from "./driver.js"
import type { Failure } from "./failure.js"
import type { Submit } from "./submit.js"

export const makeTickers = async (
  connection: Connection,
  path: string,
  submit: Submit
): Promise<TickerStore.Service> => {
  const select = await connection.prepare("SELECT number, world, at FROM tickers WHERE name = ?")
  const replace = await connection.prepare(
    "INSERT OR REPLACE INTO tickers (name, number, world, at) VALUES (?, ?, ?, ?)"
  )
  const failed = (ticker: string, operation: "load" | "save") => (failure: Failure) =>
    new TickerStore.StoreError({
      ticker,
      operation,
      reason: `${path}: expected ${failure.expected}, found ${failure.found}`,
      cause: failure.cause
    })
  return {
    load: (name) =>
      submit(false, () => {
        const row = select.get([encodeText(name)])
        return row === undefined
          ? Option.none()
          : Option.some({ number: Number(row.number), elapsedMillis: Number(row.world), at: Number(row.at) })
      }).pipe(Effect.mapError(failed(name, "load"))),
    save: (name, state) =>
      submit(true, () => void replace.run([encodeText(name), state.number, state.elapsedMillis, state.at])).pipe(
        Effect.mapError(failed(name, "save"))
      )
  }
}
