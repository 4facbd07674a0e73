// Every figure of the README and the documents, and the command that makes it. `figures.json` is the table; this finds what is
// missing in it and writes docs/evidence.md: `node scripts/evidence/evidence.mjs`.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const read = (file) => readFileSync(join(root, file), "utf8")

export const page = "docs/evidence.md"
export const table = () => JSON.parse(read("scripts/evidence/figures.json"))

/** What may hold figures. The page itself repeats them. */
export const documents = () =>
  [
    "README.md",
    ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)
  ].filter((file) => file !== page)

/** Blank in place of what is no prose: places stay where they are. */
const blank = (text) => text.replace(/[^\n]/g, " ")
const prose = (text) =>
  text.replace(/^ *```[\s\S]*?^ *```/gm, blank).replace(/<!--[\s\S]*?-->/g, blank).replace(/\]\([^)]*\)/g, blank)

const number = "[+-]?\\d[\\d.,]*(?: to [+-]?\\d[\\d.,]*)?"
/** A number with a unit of something that was measured. */
const withUnit = new RegExp(
  `${number}\\s?(?:x|us|µs|ms|KiB|MiB|GiB|KB|MB|GB|%|seeds|bytes|times|thousand a second|a second)(?![\\w-])`,
  "g"
)
/** In a section with results, all that a row of a table has beside its first cell. */
const inRow = /(?<=\|.*\|.*)[+-]?\d[\d.,]*/g

/** The figures of a text: what, and where. */
export const figuresIn = (text) => {
  const found = []
  const clean = prose(text)
  for (const match of clean.matchAll(withUnit)) found.push({ figure: match[0], at: match.index })
  let results = false
  let at = 0
  const lines = clean.split("\n")
  for (const [index, line] of lines.entries()) {
    const isHeading = /^\|[ :|-]+$/.test(lines[index + 1] ?? "")
    if (/^#+ /.test(line)) results = /^#+ (Measured|Sizing)\b/.test(line)
    else if (results && line.startsWith("|") && !isHeading) {
      // what is set in the font of code is a name
      const cells = line.replace(/`[^`]*`/g, blank)
      for (const match of cells.matchAll(inRow)) found.push({ figure: match[0], at: at + match.index })
    }
    at += line.length + 1
  }
  return found
}

/** Where a phrase stands, wherever its lines break. */
const places = (text, phrase) => {
  const pattern = phrase.trim().split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("\\s+")
  return [...text.matchAll(new RegExp(pattern, "g"))].map(({ 0: found, index }) => [index, index + found.length])
}

/** What is wrong between the documents and the table: figures that are not in it, phrases that no document has. */
export const problems = (texts, { chosen, measured }) => {
  const wrong = []
  for (const [file, text] of Object.entries(texts)) {
    const phrases = [...measured.flatMap(({ figures }) => figures[file] ?? []), ...(chosen[file] ?? [])]
    const covered = phrases.flatMap((phrase) => {
      const found = places(text, phrase)
      if (found.length === 0) wrong.push(`${file} has no "${phrase}"`)
      return found
    })
    for (const { at, figure } of figuresIn(text)) {
      if (covered.some(([from, to]) => from <= at && at + figure.trim().length <= to)) continue
      const line = text.slice(0, at).split("\n").length
      wrong.push(`${file}:${line}: "${figure}" is not in scripts/evidence/figures.json: which command makes it?`)
    }
  }
  for (const file of [...measured.flatMap(({ figures }) => Object.keys(figures)), ...Object.keys(chosen)]) {
    if (!(file in texts)) wrong.push(`there is no ${file}`)
  }
  return wrong
}

/** Why a command cannot be run; undefined when it can. */
export const reasonAgainst = (command) => {
  const { scripts } = JSON.parse(read("package.json"))
  const words = command.split(" ").filter((word) => !/^[A-Z_]+=/.test(word))
  if (words[0] !== "npm") return `${command}: expected npm`
  if (words[1] === "i") return undefined
  const [task, ...args] = words[1] === "run" ? words.slice(2) : words.slice(1)
  if (scripts[task] === undefined) return `${command}: package.json has no script ${task}`
  if (task === "bench" && !existsSync(join(root, "apps/bench/src", `${args[0]}.ts`))) return `${command}: no such bench`
  if (task === "test") {
    const files = args.filter((arg) => arg.includes("/"))
    if (files.length === 0) return `${command}: expected the files of tests`
    const missing = files.find((file) => !existsSync(join(root, file)))
    if (missing !== undefined) return `${command}: there is no ${missing}`
  }
  return undefined
}

/** What the nightly sizes took and found when they were run to their end, by file. */
const nightly = () => JSON.parse(read("scripts/evidence/nightly.json"))

/** Sizes of explorations and models, as the tests have them. */
const sizes = () =>
  ["packages", "apps"].flatMap((group) =>
    readdirSync(join(root, group)).map((name) => `${group}/${name}/test`).filter((path) => existsSync(join(root, path)))
  ).flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true }).filter((file) => file.endsWith(".ts")).sort().flatMap((file) =>
      [...read(`${folder}/${file}`).matchAll(/(\w+)?(?::| =)?\s*\bsized\(([\d_]+), ([\d_]+)(?:, ([\d_]+))?\)/g)].filter(
        (
          [, name]
        ) => name !== "timeout" && name !== "slack" && name !== "runIf"
      ).map(([, , daily, nightly, quick = daily]) => ({
        file: `${folder}/${file}`,
        sizes: [quick, daily, nightly].map((size) => Number(size.replaceAll("_", "")))
      }))
    )
  )

const cell = (text) => text.replaceAll("|", "\\|").replace(/^\\\||\\\|$/g, "").trim()

/** Tests with a nightly size of which no whole run is recorded. */
export const neverRun = () => {
  const { files } = nightly()
  const isRun = (file) => Object.keys(files).some((path) => file === path || file.startsWith(`${path}/`))
  return [...new Set(sizes().map(({ file }) => file))].filter((file) => !isRun(file))
}

/** The page. */
export const written = () => {
  const { measured } = table()
  const run = nightly()
  const lines = [
    "# Evidence",
    "",
    "Every figure of the README and these documents, and the command that makes it. Written by",
    "`node scripts/evidence/evidence.mjs` from `scripts/evidence/figures.json`; a test fails when a figure of a document is not",
    "here, or a command no longer exists. Figures that were chosen and not measured (defaults, limits of a format) are in the",
    "same file and not on this page.",
    "",
    "Ratios hold within one run. They were made on two cores that other work shared, with Node 20.20 and Effect 3.22: another machine",
    "has other microseconds.",
    ""
  ]
  for (const { command, figures, how } of measured) {
    lines.push(
      `## \`${command}\``,
      "",
      `${how[0].toUpperCase()}${how.slice(1)}.`,
      "",
      "| document | figure |",
      "| --- | --- |"
    )
    for (const [file, phrases] of Object.entries(figures)) {
      const link = file.startsWith("docs/") ? file.slice("docs/".length) : `../${file}`
      for (const phrase of phrases) lines.push(`| [${file}](${link}) | ${cell(phrase)} |`)
    }
    lines.push("")
  }
  lines.push(
    "## Sizes of explorations",
    "",
    "Seeds, rounds of faults, or runs of a property: by `npm test`, by `HOLDFAST_SIZE=daily npm test` as in continuous integration, and by",
    "`HOLDFAST_SIZE=nightly npm test`.",
    "",
    "| test | quick | daily | nightly |",
    "| --- | ---: | ---: | ---: |",
    ...sizes().map(({ file, sizes }) => `| \`${file}\` | ${sizes.join(" | ")} |`),
    "",
    "## The nightly sizes, run to their end",
    "",
    `${run.how} It is recorded in \`scripts/evidence/nightly.json\`.`,
    "",
    "| test | minutes | found |",
    "| --- | ---: | --- |",
    ...Object.entries(run.files).map(([file, { found = "nothing", seconds }]) =>
      `| \`${file}\` | ${(seconds / 60).toFixed(1)} | ${found} |`
    ),
    `| all | ${(Object.values(run.files).reduce((sum, { seconds }) => sum + seconds, 0) / 60).toFixed(0)} | |`,
    ""
  )
  return lines.join("\n")
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(join(root, page), written())
}
