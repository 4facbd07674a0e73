/**
 * From where a request comes, for limits that hold for each address.
 *
 * Behind proxies that are trusted, the address is the one that the outermost of them saw. Of an IPv6 address only the
 * network counts: whoever has one has 2^64 of them.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { Option } from "effect"
import { isIPv6 } from "node:net"

/**
 * The key under which an address is counted.
 *
 * @since 0.1.0
 * @category accessors
 */
export const network = (address: string): string => {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "")
  if (!isIPv6(plain)) return plain
  const [head, tail] = plain.split("::")
  const groups = head === "" ? [] : head.split(":")
  const rest = tail === undefined || tail === "" ? [] : tail.split(":")
  const whole = tail === undefined
    ? groups
    : [...groups, ...Array.from({ length: Math.max(0, 8 - groups.length - rest.length) }, () => "0"), ...rest]
  return `${whole.slice(0, 4).map((group) => group.toLowerCase().replace(/^0+(?=.)/, "")).join(":")}::/64`
}

/**
 * The key of a request. `proxies` is how many trusted proxies stand in front; without any, nobody's word is taken for it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (
  request: Pick<HttpServerRequest.HttpServerRequest, "headers" | "remoteAddress">,
  proxies: number
): string => {
  const peer = Option.getOrElse(request.remoteAddress, () => "unknown")
  if (proxies === 0) return network(peer)
  const passed = (request.headers["x-forwarded-for"] ?? "").split(",").map((part) => part.trim()).filter(Boolean)
  return network(passed[Math.max(0, passed.length - proxies)] ?? peer)
}
