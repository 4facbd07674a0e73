/**
 * How the process before this one ended, as it wrote it down.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import * as ShutdownReport from "@holdfast/core/ShutdownReport"
import { Context, Effect, Layer } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Settings } from "./Settings.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class LastShutdown extends Context.Tag("@holdfast/mud/LastShutdown")<LastShutdown, {
  /** The report, as text; absent when there is none. */
  readonly text: string | undefined
}>() {}

/**
 * Reads the report of the process before, and leaves that of this one behind.
 *
 * The report is final only when every scope is closed, so it is written by the process's exit, synchronously, where no
 * effect can run any more.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = ({ data }: Pick<Settings, "data">) =>
  Layer.effect(
    LastShutdown,
    Effect.gen(function*() {
      if (data === "memory") return { text: undefined }
      const lifecycle = yield* Lifecycle.Lifecycle
      const fs = yield* FileSystem.FileSystem
      const file = join(data, "last-shutdown.json")
      process.once("exit", () => {
        const report = lifecycle.unsafeReport()
        if (report === undefined) return
        mkdirSync(data, { recursive: true })
        writeFileSync(file, ShutdownReport.toJson(report))
      })
      const text = yield* fs.readFileString(file).pipe(
        Effect.map((json) => ShutdownReport.renderDetails(ShutdownReport.fromJson(json))),
        // There is none, or it is of another release: neither is worth a word.
        Effect.catchAllCause(() => Effect.succeed(undefined))
      )
      return { text }
    })
  )
