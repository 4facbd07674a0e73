// The one entry of the repository: `npm start`, `npm test`, `npm run bench | chaos | check | docs | example | load | pack |
// pictures | play | soak | top`.
// It needs Node and npm only: pnpm comes through npx, at the version that package.json names, and nothing is installed
// globally. What is already installed and built is not done again.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { workers } from "./workers.mjs"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const [task = "help", ...args] = process.argv.slice(2)
const started = Date.now()

const say = (line) => process.stderr.write(`[holdfast] ${line}\n`)
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`
const bin = (name) => join(root, "node_modules", ".bin", name)

const stop = (message, code = 1) => {
  say(message)
  process.exit(code)
}

const run = (command, argv, options = {}) => {
  const result = spawnSync(command, argv, { cwd: root, stdio: "inherit", ...options })
  if (result.error) stop(`${command} could not be started: ${result.error.message}`)
  return result.status ?? 1
}

/** Runs one step and stops everything when it fails. */
const step = (label, command, argv, options) => {
  const since = Date.now()
  const status = run(command, argv, options)
  if (status !== 0) stop(`${label}: failed (exit code ${status}, ${seconds(since)})`, status)
  say(`${label}: done (${seconds(since)})`)
}

const checkNode = () => {
  const [major, minor] = process.versions.node.split(".").map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    stop(`Node ${manifest.engines.node} is needed, this is ${process.versions.node}`)
  }
}

const manifests = () =>
  ["packages", "apps"].flatMap((group) =>
    readdirSync(join(root, group)).map((name) => join(root, group, name, "package.json"))
  ).filter(existsSync)

const install = () => {
  const hash = createHash("sha256").update(process.version)
  for (const file of ["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json"].map((name) => join(root, name))) {
    hash.update(readFileSync(file))
  }
  for (const file of manifests()) hash.update(readFileSync(file))
  const digest = hash.digest("hex")
  const stamp = join(root, "node_modules", ".holdfast-installed")
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return
  say(`installing with ${manifest.packageManager}`)
  step("install", "npx", ["--yes", manifest.packageManager, "install", "--frozen-lockfile"], {
    env: { ...process.env, CI: "true" },
    // stdout belongs to the application that `npm start` runs: the installer's progress goes to stderr.
    stdio: ["ignore", 2, 2]
  })
  writeFileSync(stamp, digest)
}

/** Builds one project and what it refers to; without a project, everything, tests included. */
const build = (...projects) => step("build", bin("tsc"), ["-b", ...projects], { stdio: ["ignore", 2, 2] })

const buildPackages = () =>
  build(...readdirSync(join(root, "packages")).map((name) => `packages/${name}/tsconfig.src.json`))

const buildMud = () => build("apps/mud/tsconfig.src.json")

const checks = () => {
  step("format", bin("dprint"), ["check"])
  step("lint", bin("oxlint"), ["--deny-warnings"])
  step("layering", bin("depcruise"), ["packages", "apps", "--config", ".dependency-cruiser.mjs"])
  step("dead code", bin("knip"), [])
  for (const name of readdirSync(join(root, "packages"))) {
    step(`package ${name}`, bin("publint"), ["run", `packages/${name}`, "--strict", "--pack", "false"], {
      stdio: ["ignore", "ignore", "inherit"]
    })
  }
}

const test = () => {
  const report = join(root, ".cache", "vitest.json")
  mkdirSync(dirname(report), { recursive: true })
  // who asks for certain tests gets all of them
  const isQuick = args.length === 0 && (process.env.HOLDFAST_SIZE ?? "quick") === "quick"
  const status = run(bin("vitest"), [
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...workers,
    ...isQuick ? ["--config", "scripts/vitest.quick.config.js"] : [],
    ...args
  ])
  if (existsSync(report)) {
    const { numFailedTests, numPassedTests, numPendingTests } = JSON.parse(readFileSync(report, "utf8"))
    process.stdout.write(`${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests} skipped\n`)
  }
  if (isQuick) say("without the tests that are marked (daily): HOLDFAST_SIZE=daily runs them, too")
  if (status !== 0) stop(`tests: failed (${seconds(started)} in all)`, status)
  say(`tests: done (${seconds(started)} in all)`)
}

/** Runs a built program in this very process, so that signals reach it once and directly. */
const program = async (file) => {
  process.setSourceMapsEnabled(true)
  process.argv = [process.argv[0], file, ...args]
  await import(pathToFileURL(file).href)
}

/** Builds the tools of `apps/proof` and what they start, and runs one of them. */
const proof = async (name) => {
  build("apps/proof/tsconfig.src.json", "apps/mud/tsconfig.src.json")
  await program(join(root, "apps", "proof", "dist", `${name}.js`))
}

const example = async () => {
  const names = readdirSync(join(root, "apps", "examples", "src")).map((file) => file.slice(0, -3)).sort()
  const name = args.shift()
  if (!names.includes(name)) stop(`npm run example -- <name>: expected one of ${names.join(", ")}`)
  build("apps/examples/tsconfig.src.json")
  await program(join(root, "apps", "examples", "dist", `${name}.js`))
}

/** Puts a tarball of each package into a folder, for `npm install`. */
const pack = () => {
  const folder = resolve(args[0] ?? join(root, "tarballs"))
  mkdirSync(folder, { recursive: true })
  for (const name of readdirSync(join(root, "packages"))) {
    const argv = ["--yes", manifest.packageManager, "pack", "--pack-destination", folder]
    step(`pack ${name}`, "npx", argv, { cwd: join(root, "packages", name), stdio: ["ignore", 2, 2] })
  }
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".tgz"))) {
    process.stdout.write(`${join(folder, name)}\n`)
  }
}

checkNode()
switch (task) {
  case "start": {
    install()
    buildMud()
    await program(join(root, "apps", "mud", "dist", "main.js"))
    break
  }
  case "play": {
    install()
    buildMud()
    await program(join(root, "apps", "mud", "dist", "play.js"))
    break
  }
  case "test": {
    install()
    build()
    checks()
    test()
    break
  }
  case "check": {
    install()
    build()
    checks()
    break
  }
  case "bench": {
    install()
    build("apps/bench/tsconfig.src.json", ...(args.includes("bots") ? ["apps/mud/tsconfig.src.json"] : []))
    await program(join(root, "apps", "bench", "dist", "run.js"))
    break
  }
  case "chaos":
  case "load":
  case "soak": {
    install()
    await proof(task)
    break
  }
  case "example": {
    install()
    await example()
    break
  }
  case "pack": {
    install()
    buildPackages()
    pack()
    break
  }
  case "top": {
    install()
    build("packages/node/tsconfig.src.json")
    await program(join(root, "packages", "node", "dist", "internal", "top", "main.js"))
    break
  }
  case "pictures": {
    install()
    build("apps/mud/tsconfig.src.json", "apps/examples/tsconfig.src.json")
    step("pictures", process.execPath, [join(root, "scripts", "pictures.mjs"), ...args])
    break
  }
  case "docs": {
    install()
    buildPackages()
    step("docs", process.execPath, [join(root, "scripts", "site", "build.mjs"), ...args])
    break
  }
  default:
    stop(
      `expected one of start, play, example, test, check, bench, load, soak, chaos, docs, pack, pictures, top; got ${task}`
    )
}
