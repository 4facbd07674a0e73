/** Names of fibers from the owner paths of `@holdfast/core`. Importing this module teaches them to every report. */
import { currentOwner } from "@holdfast/core/FiberRegistry"
import * as Hooks from "./hooks.js"

Hooks.addNamer((fiber) => {
  const owner = fiber.getFiberRef(currentOwner)
  return owner.length === 0 ? undefined : owner.join("/")
})

/** Owner path or span, and number. */
export const describeFiber = (fiber: Hooks.RawFiber): string => {
  const name = Hooks.nameOf(fiber)
  return name === undefined ? `#${fiber.id().id}` : `${name} (#${fiber.id().id})`
}
