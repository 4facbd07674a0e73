/** Which methods a router has for a path: what a 405 and an `OPTIONS` tell. */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as Predicate from "effect/Predicate"

export const isRouter = (u: unknown): u is HttpRouter.HttpRouter<unknown, unknown> =>
  Predicate.hasProperty(u, HttpRouter.TypeId)

export interface Pattern {
  readonly matches: (path: string) => boolean
  readonly methods: Set<string>
}

export const allowed = (router: HttpRouter.HttpRouter<unknown, unknown>): ReadonlyArray<Pattern> => {
  const byPath = new Map<string, Set<string>>()
  for (const route of router.routes) {
    const methods = byPath.get(route.path) ?? new Set()
    methods.add(route.method)
    if (route.method === "GET") {
      methods.add("HEAD")
    }
    byPath.set(route.path, methods)
  }
  return Array.from(byPath, ([path, methods]) => ({ matches: matcher(path), methods }))
}

/** The router's path syntax: `:name`, `:name(regex)`, a last `:name?`, a last `*`; case and a last slash do not count. */
const matcher = (path: string): (path: string) => boolean => {
  let source = ""
  for (const part of path.split(/(::|\/:[^/()?]+\?$|:[A-Za-z0-9_]+(?:\([^/]*?\))?|\*)/)) {
    if (part === "*") {
      source += ".*"
    } else if (part === "::") {
      source += ":"
    } else if (part.startsWith("/:") && part.endsWith("?")) {
      source += "(?:/[^/]+)?"
    } else if (part.startsWith(":")) {
      const open = part.indexOf("(")
      source += open === -1 ? "[^/]+" : `(?:${part.slice(open + 1, -1)})`
    } else {
      source += part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
    }
  }
  const pattern = new RegExp(`^${source.replace(/\/$/, "")}/?$`, "i")
  return (candidate) => pattern.test(candidate)
}
