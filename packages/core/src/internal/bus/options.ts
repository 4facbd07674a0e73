import type * as Duration from "effect/Duration"
import type * as EventHandler from "../../EventHandler.js"
import * as EventLog from "../../EventLog.js"
import * as EventSubscription from "../../EventSubscription.js"
import { unsafeCheck, unsafeDuration, unsafeNumber, unsafeWhole } from "../../InvalidOption.js"

// Each of these throws `InvalidOption`, and names the option as its user knows it.

/** A policy may be written as its name alone. */
export const policyOf = (policy: EventSubscription.Policy): Exclude<EventSubscription.Policy, string> =>
  typeof policy === "string" ? { _tag: policy } : policy

const policies: ReadonlyArray<string> = ["suspend", "sliding", "dropping", "disconnect"]

/** How long publishers may wait for a subscriber that takes nothing, in milliseconds. */
export const unsafeStallLimit = (policy: EventSubscription.Policy): number => {
  const { _tag, ...rest } = policyOf(policy)
  unsafeCheck("EventSubscription.policy", _tag, (tag) => policies.includes(tag), policies.join(", "))
  const { limit }: { readonly limit?: Duration.DurationInput | undefined } = rest
  return limit === undefined
    ? Number.POSITIVE_INFINITY
    : unsafeDuration("EventSubscription.policy.limit", limit, { infinite: true })
}

export const unsafeCapacity = (capacity: number | undefined): number =>
  unsafeWhole("EventSubscription.capacity", capacity ?? EventSubscription.defaults.capacity, { min: 1 })

export const unsafePageSize = (limit: number | undefined): number =>
  unsafeWhole("EventLog.limit", limit ?? EventLog.defaults.limit, { min: 1, infinite: true })

export const unsafeHistoryLimits = (options: EventLog.Options<never>) => ({
  count: unsafeWhole("EventLog.maxCount", options.maxCount ?? EventLog.defaults.maxCount, { infinite: true }),
  bytes: unsafeNumber("EventLog.maxBytes", options.maxBytes ?? Number.POSITIVE_INFINITY),
  age: options.maxAge === undefined
    ? Number.POSITIVE_INFINITY
    : unsafeDuration("EventLog.maxAge", options.maxAge, { infinite: true }),
  stored: unsafeWhole("EventLog.maxStored", options.maxStored ?? Number.POSITIVE_INFINITY, { min: 1, infinite: true }),
  storedBytes: unsafeNumber("EventLog.maxStoredBytes", options.maxStoredBytes ?? Number.POSITIVE_INFINITY),
  storedAge: options.maxStoredAge === undefined
    ? Number.POSITIVE_INFINITY
    : unsafeDuration("EventLog.maxStoredAge", options.maxStoredAge, { infinite: true })
})

export const unsafeConcurrency = (concurrency: number | undefined): number =>
  unsafeWhole("EventHandler.concurrency", concurrency ?? 1, { min: 1 })

/** In milliseconds; undefined when there is none. */
export const unsafeHandlerTimeout = (
  timeout: EventHandler.Options<never, never, never>["timeout"]
): number | undefined =>
  timeout === undefined ? undefined : unsafeDuration("EventHandler.timeout", timeout, { infinite: true })

export const checkHandler = (options: Pick<EventHandler.Options<never, never, never>, "concurrency" | "timeout">) => {
  unsafeConcurrency(options.concurrency)
  unsafeHandlerTimeout(options.timeout)
}
