/** How a fiber is called in reports: owner path when it has one, span, number. */
import type * as Hooks from "./hooks.js"

export const describeFiber = (fiber: Hooks.RawFiber): string => {
  const span = fiber.currentSpan
  const name = span?._tag === "Span" ? ` (${span.name})` : ""
  return `#${fiber.id().id}${name}`
}
