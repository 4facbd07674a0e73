/**
 * A load for a server of your own: see docs/load.md. Exits with 1 when something was lost, came twice or in the wrong order, when
 * a request failed, or when `--p99` was exceeded.
 */
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import * as Load from "./load/run.js"

const usage = `A load at a fixed rate.

Usage: npm run load -- --url URL [flags]

  --url URL            http:, https:, ws: or wss:
  --kind KIND          http, sse or websocket (by the URL: http, or websocket)
  --connections NUMBER (10)
  --rate NUMBER        messages or requests a second, in all (50)
  --for SECONDS        how long (10)
  --method METHOD      of plain requests (GET)
  --header NAME:VALUE  may be given several times
  --body TEXT          of requests, of what is published and of WebSocket messages; {marker} in it is replaced
  --publish URL        sse: where messages are posted to, each of which every stream is to get
  --broadcast          websocket: every connection gets every message, not only the one that sent it
  --contiguous         sse: ids leave none out, so that a gap is a loss
  --p99 MILLISECONDS   fails above it
  --json FILE          writes the result, with the histogram
  --help               this text
`

const refuse = (message: string): never => {
  process.stderr.write(`load: ${message}\n\n${usage}`)
  process.exit(2)
}

const parsed = () => {
  try {
    return parseArgs({
      options: {
        url: { type: "string" },
        kind: { type: "string" },
        connections: { type: "string", default: String(Load.defaults.connections) },
        rate: { type: "string", default: String(Load.defaults.rate) },
        for: { type: "string", default: String(Load.defaults.seconds) },
        method: { type: "string", default: Load.defaults.method },
        header: { type: "string", multiple: true, default: [] },
        body: { type: "string" },
        publish: { type: "string" },
        broadcast: { type: "boolean", default: false },
        contiguous: { type: "boolean", default: false },
        p99: { type: "string" },
        json: { type: "string" },
        help: { type: "boolean", default: false }
      }
    }).values
  } catch (error) {
    return refuse((error as Error).message)
  }
}

const values = parsed()
if (values.help) {
  process.stdout.write(usage)
  process.exit(0)
}

const positive = (name: "connections" | "rate" | "for", isWhole: boolean): number => {
  const value = Number(values[name])
  return value > 0 && Number.isFinite(value) && (!isWhole || Number.isInteger(value))
    ? value
    : refuse(`--${name} is ${values[name]}: expected a ${isWhole ? "whole " : ""}number above 0`)
}

const url = values.url ?? refuse("--url is missing")
if (!URL.canParse(url)) refuse(`--url is ${url}: expected a URL`)
const kind = values.kind ?? (/^wss?:/.test(url) ? "websocket" : "http")
if (kind !== "http" && kind !== "sse" && kind !== "websocket") {
  refuse(`--kind is ${kind}: expected http, sse or websocket`)
}

const headers = Object.fromEntries(values.header.map((header) => {
  const at = header.indexOf(":")
  return at > 0
    ? [header.slice(0, at).trim(), header.slice(at + 1).trim()]
    : refuse(`--header is ${header}: expected NAME:VALUE`)
}))

const options: Load.Options = {
  ...Load.defaults,
  kind: kind as Load.Options["kind"],
  url,
  connections: positive("connections", true),
  rate: positive("rate", false),
  seconds: positive("for", false),
  method: values.method,
  headers,
  body: values.body,
  publish: values.publish,
  broadcast: values.broadcast,
  contiguous: values.contiguous
}

const millis = (value: number) => `${value.toFixed(2)} ms`
const result = await Load.run(options, ({ errors, open, p99, received, seconds, sent }) =>
  process.stderr.write(
    `\r${seconds} s  ${open} connections  ${sent} sent  ${received} received  ${errors} errors  p99 ${millis(p99)}   `
  ))
process.stderr.write("\n")

const say = (line: string) => process.stdout.write(`${line}\n`)
say(`${options.connections} connections (${kind}), ${options.rate}/s for ${options.seconds} s`)
say(`  sent ${result.sent}, received ${result.received}`)
say(`  lost ${result.lost}, repeated ${result.repeated}, out of order ${result.disordered}`)
for (
  const [name, latency] of [["from when it was due", result.corrected], [
    "from when it was sent",
    result.uncorrected
  ]] as const
) {
  if (latency.count === 0) continue
  say(
    `  ${name.padEnd(21)}  p50 ${millis(latency.p50)}  p90 ${millis(latency.p90)}  p99 ${millis(latency.p99)}  p99.9 ${
      millis(latency.p999)
    }  worst ${millis(latency.max)}`
  )
}
for (const [what, count] of Object.entries(result.errors)) say(`  ERROR  ${count} x ${what}`)
const slow = values.p99 !== undefined && result.corrected.p99 > Number(values.p99)
if (slow) say(`  ERROR  p99 is above ${values.p99} ms`)
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ options, result }, null, 1)}\n`)
const failed = slow || result.lost > 0 || result.repeated > 0 || result.disordered > 0 ||
  Object.keys(result.errors).length > 0
process.exitCode = failed ? 1 : 0
