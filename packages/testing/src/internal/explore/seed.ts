/** The seed of the run that a fiber is part of. */
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"

export const currentSeed: FiberRef.FiberRef<Option.Option<number>> = globalValue(
  "@holdfast/testing/Explore/currentSeed",
  () => FiberRef.unsafeMake<Option.Option<number>>(Option.none())
)
