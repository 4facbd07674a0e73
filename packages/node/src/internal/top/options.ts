/** What the command line says. */
import { readFileSync } from "node:fs"
import { parseArgs } from "node:util"

export const usage = `holdfast-top URL [--token TOKEN | --token-file FILE]

Shows the console of a process: URL is that of its page, such as http://127.0.0.1:3000/console, with or without the token
behind the #. The token may also be in HOLDFAST_TOKEN: an argument can be read by everybody on the machine.
Without a terminal it prints one picture as text. Wrong usage, a wrong token and an unreachable process end with 1.

Keys: j k or the arrows, PgUp PgDn, g G: rows. Tab, Shift-Tab, h l, 1 to 9: sections. s: sort by the next column, S: the
other way round. /: filter, Esc: none. Space: fold. Enter: details, or from an alert to its row. q: quit.`

export interface Options {
  /** Without a slash at its end. */
  readonly url: string
  readonly token: string | undefined
}

/** A text is what is wrong, in one sentence. */
export const read = (
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string | undefined>>
): Options | "help" | { readonly wrong: string } => {
  try {
    const { positionals, values } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { help: { type: "boolean" }, token: { type: "string" }, "token-file": { type: "string" } }
    })
    if (values.help === true) return "help"
    const [given, ...more] = positionals
    if (given === undefined || more.length > 0) return { wrong: "One URL is needed: that of a console's page." }
    const url = new URL(/^[a-z]+:\/\//i.test(given) ? given : `http://${given}`)
    if (url.protocol !== "http:" && url.protocol !== "https:") return { wrong: `${given} is no URL of http or https.` }
    const file = values["token-file"]
    const token = values.token ?? (file === undefined ? undefined : readFileSync(file, "utf8").trim()) ??
      new URLSearchParams(url.hash.slice(1)).get("token") ?? env["HOLDFAST_TOKEN"]
    if (token !== undefined && !/^[\u0021-\u007e]+$/.test(token)) return { wrong: "The token is no word of ASCII." }
    const path = url.pathname.replace(/\/+$/, "")
    return { url: `${url.origin}${path === "" ? "/console" : path}`, token }
  } catch (error) {
    return { wrong: `${error instanceof Error ? error.message.split("\n", 1)[0] : String(error)}.` }
  }
}
