/**
 * How the process before this one ended, for the console and whoever else wants to know: a port. The adapter that keeps it in
 * a file is `@holdfast/node/NodeLastShutdown`.
 *
 * @since 0.1.0
 */
import type { ShutdownReport } from "@holdfast/core/ShutdownReport"
import * as Context from "effect/Context"
import type * as Option from "effect/Option"

/**
 * - `Reported`: it ended through the phases of its lifecycle, and wrote its report
 * - `Unreported`: it was killed, or crashed so that nothing could be written. `lastSeenAt` is when it last gave a sign of
 *   life, some seconds before its end; `shutdownStarted`: it was on its way down
 *
 * Times are milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export type Ending =
  | {
    readonly _tag: "Reported"
    readonly pid: number
    readonly startedAt: number
    readonly endedAt: number
    readonly exitCode: number | undefined
    readonly report: ShutdownReport
  }
  | {
    readonly _tag: "Unreported"
    readonly pid: number
    readonly startedAt: number
    readonly lastSeenAt: number
    readonly shutdownStarted: boolean
  }

/**
 * The report of the last shutdown of this service.
 *
 * @since 0.1.0
 * @category tags
 */
export class LastShutdown extends Context.Tag("@holdfast/http/LastShutdown")<LastShutdown, {
  /** None: this is the first run, or what was written cannot be read. */
  readonly previous: Option.Option<Ending>
  /** Earlier runs that are known to have ended in the last 24 hours, the previous one included. */
  readonly endedToday: number
}>() {}
