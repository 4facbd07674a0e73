/** An arrow never points up: core <- http <- node, nats on core, and testing beside node; applications on top of all. */
const only = (name, allowed) => ({
  name: `${name}-layer`,
  comment: `packages/${name} may import ${allowed.length === 0 ? "no other package" : allowed.join(", ")}`,
  severity: "error",
  from: { path: `^packages/${name}/src` },
  to: { path: `^(packages|apps)/(?!(${[name, ...allowed].join("|")})/)` }
})

const vendors = (name, allowed) => ({
  name: `${name}-vendors`,
  comment: `packages/${name} may depend on ${allowed.join(", ")}`,
  severity: "error",
  from: { path: `^packages/${name}/src` },
  to: {
    dependencyTypes: ["npm", "npm-dev", "npm-peer", "npm-optional", "npm-no-pkg", "unknown"],
    pathNot: allowed.map((vendor) => `node_modules/${vendor}/`)
  }
})

export default {
  forbidden: [
    only("core", []),
    only("http", ["core"]),
    only("node", ["core", "http"]),
    only("nats", ["core"]),
    only("testing", ["core", "http"]),
    vendors("core", ["effect"]),
    vendors("nats", ["effect", "@effect/platform", "@nats-io/[a-z-]+"]),
    {
      name: "portable",
      comment: "core and http run wherever Effect runs: no node builtins",
      severity: "error",
      from: { path: "^packages/(core|http)/src" },
      to: { dependencyTypes: ["core"] }
    },
    {
      name: "no-circular",
      severity: "error",
      from: {},
      // Of types, too: what two modules share stands below both.
      to: { circular: true }
    },
    {
      name: "no-own-barrel",
      comment: "library code never imports the index of its own package",
      severity: "error",
      from: { path: "^packages/([^/]+)/src", pathNot: "/index\\.ts$" },
      to: { path: "^packages/$1/src/index\\.ts$" }
    },
    {
      name: "internal-stays-inside",
      comment: "what serves one concept is imported by its own package only",
      severity: "error",
      from: { path: "^(packages|apps)/([^/]+)/" },
      to: { path: "/src/internal/", pathNot: "^$1/$2/" }
    },
    {
      name: "applications-are-leaves",
      severity: "error",
      from: { path: "^packages/" },
      to: { path: "^apps/" }
    }
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "/(dist|\\.tsbuild|coverage)/" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["types", "import", "default"]
    }
  }
}
