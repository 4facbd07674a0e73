// The operator's page: one event a second over the same kind of stream that the players have.
import { follow } from "./stream.js"

const $ = (id) => document.getElementById(id)
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties)
  node.append(...children)
  return node
}

// --- the key

let token
const keep = (given) => {
  token = given
  try {
    sessionStorage.setItem("operator-token", token)
  } catch {
    // It is then asked for again after a reload.
  }
}
try {
  token = sessionStorage.getItem("operator-token") ?? undefined
} catch {
  token = undefined
}
// The link that the server prints holds the token where no server sees it. It does not stay in the address.
const linked = new URLSearchParams(location.hash.slice(1)).get("token")
if (linked !== null) {
  keep(linked)
  history.replaceState(undefined, "", location.pathname)
}
const headers = () => token === undefined ? {} : { authorization: `Bearer ${token}` }

const post = async (path, body = {}) => {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-operator-act": "1", ...headers() },
      body: JSON.stringify(body)
    })
    return response.ok
  } catch {
    return false
  }
}

// --- numbers

const span = (millis) => {
  const seconds = Math.max(0, Math.round(millis / 1_000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`
}
const millis = (value) =>
  value >= 1_000 ? span(value) : `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} ms`
const mega = (bytes) => `${Math.round(bytes / 1_048_576)}`
const few = (value) => value >= 100 ? `${Math.round(value)}` : `${Math.round(value * 10) / 10}`

// --- graphs

const length = 120
const graphs = [
  { key: "events", name: "events", unit: "/s", show: few },
  { key: "deliveries", name: "deliveries", unit: "/s", show: few },
  { key: "depth", name: "deepest queue", unit: "events", show: few },
  { key: "late", name: "tick late", unit: "ms", show: few },
  { key: "lag", name: "event loop, p99", unit: "ms", show: few },
  { key: "heap", name: "memory", unit: "MB", show: mega }
]

const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  return node
}

for (const graph of graphs) {
  graph.line = svg("path", { class: "line" })
  graph.area = svg("path", { class: "area" })
  graph.value = make("p", { textContent: "–" })
  const picture = svg("svg", { viewBox: `0 0 ${length - 1} 40`, preserveAspectRatio: "none", "aria-hidden": "true" })
  picture.append(graph.area, graph.line)
  $("graphs").append(make("div", { className: "graph" }, make("h2", { textContent: graph.name }), graph.value, picture))
}

const draw = ({ pulse }) => {
  if (pulse.length === 0) return
  for (const graph of graphs) {
    const values = pulse.map((beat) => beat[graph.key])
    const top = Math.max(...values, 1e-9) * 1.15
    const from = length - values.length
    const points = values.map((value, index) => `${from + index} ${(39 - (value / top) * 37).toFixed(1)}`)
    graph.line.setAttribute("d", `M${points.join("L")}`)
    graph.area.setAttribute("d", `M${from} 40L${points.join("L")}L${length - 1} 40Z`)
    graph.value.replaceChildren(graph.show(values.at(-1)), " ", make("small", { textContent: graph.unit }))
  }
}

// --- tables: rows are kept by key, so that what is focused or selected stays

const tables = new Map()
const table = (id, rows, none) => {
  const body = $(id).tBodies[0]
  const known = tables.get(id) ?? new Map()
  const next = new Map()
  for (const { bad, cells, group, key } of rows) {
    const row = known.get(key) ?? make("tr")
    row.className = bad ? "bad" : group ? "group" : ""
    cells.forEach((cell, index) => {
      const { className = "", node, text = "" } = typeof cell === "object" ? cell : { text: cell }
      const there = row.cells[index] ?? row.insertCell()
      if (there.className !== className) there.className = className
      if (node !== undefined) {
        if (there.childElementCount === 0) there.append(node())
      } else if (there.textContent !== String(text)) there.textContent = text
    })
    next.set(key, row)
  }
  tables.set(id, next)
  if (next.size === 0) {
    body.replaceChildren(make("tr", {}, make("td", { className: "none", colSpan: 9, textContent: none })))
    return
  }
  const wanted = [...next.values()]
  const same = wanted.length === body.rows.length && wanted.every((row, index) => body.rows[index] === row)
  if (!same) body.replaceChildren(...wanted)
}

const right = (text) => ({ text, className: "n" })
const soft = (text) => ({ text, className: "soft" })
const name = (text) => ({ text, className: "name" })

const shownSiblings = 40
const fiberRows = (nodes, depth, path) => {
  const rows = nodes.slice(0, shownSiblings).flatMap((node, index) => {
    const key = node.id ?? `${path}/${node.label}/${index}`
    return [
      {
        key,
        bad: node.leaked === true,
        group: node.id === undefined,
        cells: [
          name(`${"  ".repeat(depth)}${node.label.replace("@holdfast/mud/", "")}`),
          soft(node.kind ?? ""),
          soft(node.leaked ? node.ownership : node.status ?? ""),
          right(node.restarts > 0 ? node.restarts : ""),
          right(node.age === undefined ? "" : span(node.age))
        ]
      },
      ...fiberRows(node.children, depth + 1, key)
    ]
  })
  return nodes.length <= shownSiblings
    ? rows
    : [...rows, {
      key: `${path}/more`,
      group: true,
      cells: [name(`${"  ".repeat(depth)}and ${nodes.length - shownSiblings} more`)]
    }]
}

const alert = (title, code, rest) =>
  make(
    "p",
    { className: "alert" },
    make("strong", { textContent: title }),
    " ",
    make("code", { textContent: code }),
    ` ${rest}`
  )

let alerted = ""
const alerts = ({ at, cleanups, crashes, leaks, unwritable }) => {
  const left = new Set(cleanups.left.map(({ label }) => label))
  const given = cleanups.recent.filter((one) =>
    (one.outcome === "Abandoned" || one.outcome === "Failed") && !left.has(one.label) && at - one.at < 10 * 60_000
  )
  const key = JSON.stringify([
    unwritable,
    ...[leaks, cleanups.left, crashes, given].map((all) => all.map((one) => one.id ?? one.key))
  ])
  if (key === alerted) return
  alerted = key
  const of = (owner) => owner === "" ? "of the process" : `of ${owner}`
  $("alerts").replaceChildren(
    ...(unwritable === undefined
      ? []
      : [alert("Nothing can be written down", unwritable, "Until it can, nothing happens in the world.")]),
    ...crashes.toReversed().slice(0, 5).map(({ action, label, owner, why }) =>
      alert("Crashed", label, `${of(owner)}: ${why} (${action})`)
    ),
    ...cleanups.left.map(({ budget, label, owner }) =>
      alert("Hanging finalizer", label, `${of(owner)}: its ${millis(budget)} are over, and it still runs.`)
    ),
    ...leaks.map(({ id, label, owner, why }) => alert("Leaked fiber", label, `${id} ${of(owner)}: ${why}.`)),
    ...given.slice(0, 5).map(({ budget, label, outcome, owner }) =>
      alert(
        outcome === "Failed" ? "Failed finalizer" : "Abandoned finalizer",
        label,
        `${of(owner)}${outcome === "Failed" ? "" : `: it did not end within ${millis(budget)}`}.`
      )
    )
  )
}

const kick = (player) => () => {
  const button = make("button", { type: "button", textContent: "kick" })
  button.addEventListener("click", () => {
    button.disabled = true
    post("/api/admin/kick", { player })
  })
  return button
}

const show = (now) => {
  $("facts").replaceChildren(
    ...Object.entries({
      phase: now.phase,
      up: span(now.at - now.startedAt),
      players: `${now.world.awake} awake, ${now.world.players} known`,
      world: `${now.world.clock}, ${now.world.weather}`,
      requests: now.http.requests
    }).map(([term, text]) => make("div", {}, make("dt", { textContent: term }), make("dd", { textContent: text })))
  )
  draw(now)
  alerts(now)
  $("fibers-count").textContent =
    `${now.counts.live} live, ${now.counts.started} started, ${now.counts.crashed} crashed`
  table("fibers", fiberRows(now.fibers, 0, ""), "none")
  $("sessions-count").textContent = `${now.sessions.total} open`
  table(
    "sessions",
    now.sessions.open.map(({ age, id, name: who, player, room, waiting }) => ({
      key: id,
      cells: [
        who,
        soft(room),
        right(waiting),
        right(span(age)),
        player === undefined ? "" : { className: "n", node: kick(player) }
      ]
    })),
    "nobody is connected"
  )
  table(
    "ended",
    now.sessions.ended.map(({ at, id, lasted, name: who, reason }) => ({
      key: id,
      bad: reason === "error" || reason === "slow",
      cells: [who, reason, right(span(lasted)), right(span(now.at - at))]
    })),
    "none yet"
  )
  $("bus-count").textContent = `event ${now.bus.lastId}`
  table(
    "bus",
    now.bus.subscribers.map(({ delivered, depth, id, lost, name: who }) => ({
      key: id,
      bad: lost > 0,
      cells: [name(who), right(depth), right(delivered), right(lost)]
    })),
    "nobody listens"
  )
  table(
    "tickers",
    now.tickers.flatMap(({ handlers, late, name: who, number }) => [
      { key: who, cells: [name(who), right(number), right(millis(late)), right(""), right("")] },
      ...handlers.map(({ failures, missed, name: handler, overBudget, runs }) => ({
        key: `${who}/${handler}`,
        bad: failures > 0,
        cells: [name(`  ${handler}`), right(runs), right(""), right(missed), right(failures + overBudget)]
      }))
    ]),
    "none"
  )
  $("cleanups-count").textContent =
    `${now.cleanups.counts.completed} completed, ${now.cleanups.counts.abandoned} abandoned`
  table(
    "cleanups",
    now.cleanups.recent.map(({ budget, elapsed, key, label, outcome, owner }) => ({
      key,
      bad: outcome === "Abandoned" || outcome === "Failed",
      cells: [name(label), soft(owner), outcome, right(millis(elapsed)), right(millis(budget))]
    })),
    "none yet"
  )
  $("audit").textContent = now.audit === undefined
    ? "none yet"
    : [
      `${span(now.at - now.audit.at)} ago: ${now.audit.findings.length === 0 ? "nothing found" : ""}`,
      ...now.audit.findings
    ].join("\n")
  $("report").textContent = now.report ?? "none on record"
}

// --- the connection

const words = { connecting: "connecting", live: "live", offline: "offline", ended: "closed" }
let stream
const connect = () => {
  $("locked").hidden = true
  $("panel").hidden = false
  stream?.stop()
  stream = follow({
    url: "/operator/events",
    headers,
    silence: 8_000,
    onEvent: ({ data, name: kind }) => {
      if (kind === "Snapshot") show(JSON.parse(data))
      else if (kind === "farewell") $("link-text").textContent = "stopped"
    },
    onState: (state) => {
      $("link").dataset.state = state.name
      $("link-text").textContent = words[state.name] ??
        (state.seconds > 0 ? `back in ${state.seconds} s` : "reconnecting")
      if (state.name === "ended") lock(state.problem)
    }
  })
}

const lock = (problem) => {
  $("panel").hidden = true
  $("locked").hidden = false
  $("unlock-error").textContent = token === undefined ? "" : problem?.message ?? "This token does not open it."
  $("token").focus()
}

$("unlock").addEventListener("submit", (submitted) => {
  submitted.preventDefault()
  keep($("token").value)
  connect()
})
$("drain").addEventListener("click", () => $("sure").showModal())
$("sure").addEventListener("close", async () => {
  if ($("sure").returnValue !== "yes") return
  $("drain").disabled = true
  if (!await post("/api/admin/shutdown")) $("drain").disabled = false
})

connect()
