/**
 * Logs: readable on a terminal, one JSON object a line otherwise.
 *
 * @since 0.1.0
 */
import * as ConsoleLog from "@holdfast/http/ConsoleLog"
import { Layer, Logger, LogLevel } from "effect"
import type { Settings } from "./Settings.js"

const levels = {
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warning: LogLevel.Warning,
  error: LogLevel.Error
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = ({ log, logLevel }: Pick<Settings, "log" | "logLevel">): Layer.Layer<ConsoleLog.ConsoleLog> => {
  const pretty = log === "pretty" || (log === "auto" && process.stdout.isTTY)
  const logger = log === "none" ? Logger.none : pretty ? Logger.prettyLoggerDefault : Logger.jsonLogger
  return Layer.mergeAll(
    Logger.replace(Logger.defaultLogger, log === "none" || pretty ? logger : Logger.withConsoleLog(Logger.jsonLogger)),
    Logger.minimumLogLevel(levels[logLevel]),
    Layer.orDie(ConsoleLog.layer())
  )
}
