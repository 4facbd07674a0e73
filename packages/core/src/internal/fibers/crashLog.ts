import { Clock, Context, FiberRef, HashMap, LogLevel } from "effect"
import type { Fiber, Logger } from "effect"
import type { CrashReport } from "../../FiberCensus.js"

/**
 * Hands a crash to the loggers of the fiber that crashed. An observer runs outside every fiber, so the loggers are
 * called directly, as Effect itself does for unhandled errors; one that throws must not keep other observers of the
 * fiber from hearing of its end.
 */
export const logCrash = (report: CrashReport, fiber: Fiber.RuntimeFiber<unknown, unknown>) => {
  if (LogLevel.greaterThan(fiber.getFiberRef(FiberRef.currentMinimumLogLevel), LogLevel.Error)) return
  let annotations = HashMap.set(fiber.getFiberRef(FiberRef.currentLogAnnotations), "owner", report.owner.join("/"))
  annotations = HashMap.set(annotations, "kind", report.kind)
  annotations = HashMap.set(annotations, "ageMillis", report.ageMillis)
  annotations = HashMap.set(annotations, "restarts", report.restarts)
  if (report.action !== undefined) annotations = HashMap.set(annotations, "action", report.action)
  const entry: Logger.Logger.Options<unknown> = {
    fiberId: fiber.id(),
    logLevel: LogLevel.Error,
    message: [`Fiber ${report.owner.join("/")} crashed`],
    cause: report.cause,
    context: fiber.getFiberRefs(),
    spans: fiber.getFiberRef(FiberRef.currentLogSpan),
    annotations,
    date: new Date(Context.get(fiber.currentDefaultServices, Clock.Clock).unsafeCurrentTimeMillis())
  }
  for (const logger of fiber.getFiberRef(FiberRef.currentLoggers)) {
    try {
      logger.log(entry)
    } catch {
      // A broken logger has no other place to say so.
    }
  }
}
