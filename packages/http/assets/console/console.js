// The page: it draws what the feed announces, and knows nothing of what that means.
import { perform } from "./acts.js"
import { follow } from "./feed.js"
import { cell, clock, make, setText, span } from "./format.js"
import { Graph } from "./graph.js"
import { Picture } from "./picture.js"
import { Rows } from "./rows.js"

const $ = (id) => document.getElementById(id)
const picture = new Picture()

// --- the token: it came in the fragment, which no server and no log sees, and does not stay there

const tokenKey = `console-token ${location.pathname}`
const store = (token) => {
  try {
    sessionStorage.setItem(tokenKey, token)
  } catch {
    // It is then asked for again after a reload.
  }
}
const stored = () => {
  try {
    return sessionStorage.getItem(tokenKey) ?? undefined
  } catch {
    return undefined
  }
}
const linked = new URLSearchParams(location.hash.slice(1)).get("token")
if (linked !== null) {
  store(linked)
  history.replaceState(undefined, "", location.pathname)
}
let token = linked ?? stored()
const headers = () => token === undefined ? {} : { authorization: `Bearer ${token}` }

// --- the age of the picture

let state = "connecting"
let heardAt
let ending = false
const stale = 3000
const tellAge = () => {
  const age = heardAt === undefined ? undefined : performance.now() - heardAt
  const old = age === undefined || age > stale
  document.body.classList.toggle("stale", old)
  const shown = state === "live" && !old
    ? "live"
    : state === "live"
    ? "old"
    : state === "connecting" && age === undefined
    ? "connecting"
    : "lost"
  if ($("age").dataset.state !== shown) $("age").dataset.state = shown
  const seconds = age === undefined ? "" : age < 10_000 ? `${(age / 1000).toFixed(1)} s` : span(age)
  setText(
    $("age-text"),
    shown === "live"
      ? `live, ${seconds} old`
      : shown === "old"
      ? `no news for ${seconds}`
      : shown === "connecting"
      ? "connecting"
      : age === undefined
      ? "no connection"
      : `${ending ? "ended" : "connection lost"}, picture is ${seconds} old`
  )
}
setInterval(tellAge, 250)

// --- what is shown

let view = "overview"
let range = 0
const graphs = new Map()
const cards = new Map()
let rows
let text
let navigation = new Map()

const go = (to, key) => {
  view = picture.hello?.sections.some(({ id }) => id === to) && kindOf(to) !== "series" && kindOf(to) !== "facts"
    ? to
    : "overview"
  history.replaceState(undefined, "", view === "overview" ? location.pathname : `#/${view}`)
  rows = text = undefined
  $("overview").hidden = view !== "overview"
  $("section").hidden = view === "overview"
  watch()
  build()
  draw()
  navigation.get(view)?.scrollIntoView({ block: "nearest", inline: "center" })
  if (key !== undefined) rows?.reveal(key)
  if (view === "overview" && to !== "overview") {
    document.querySelector(`[data-series="${CSS.escape(to)}"], [data-card="${CSS.escape(to)}"]`)?.scrollIntoView({
      block: "center"
    })
  }
}

// What is open is looked at more often than the rest. It is said again before the process forgets it, and not by a page that
// nobody sees.
const watch = () => {
  if (view === "overview" || document.hidden) return
  fetch(`watch/${encodeURIComponent(view)}`, { method: "POST", headers: headers() }).catch(() => {})
}
setInterval(watch, 30_000)
addEventListener("visibilitychange", watch)

const infoOf = (id) => picture.hello.sections.find((one) => one.id === id)
const kindOf = (id) => infoOf(id)?.kind

const build = () => {
  if (view === "overview" || picture.hello === undefined) return
  const info = infoOf(view)
  if (info === undefined) return
  if (info.kind === "text") {
    text = make("pre", { tabIndex: 0 })
    $("section").replaceChildren(make("div", { className: "bar" }, make("h2", { textContent: info.title })), text)
    return
  }
  const actions = picture.hello.actions.filter(({ on }) => on === view)
  rows = new Rows(info, actions, (action, row) => press(action, row, String(row.cells[info.columns[0].key] ?? "")))
  const free = picture.hello.actions.filter(({ name, on }) => on === undefined && name.startsWith(`${view} `))
  $("section").replaceChildren(
    rows.node,
    ...free.map((action) => make("button", { type: "button", textContent: action.title, onclick: () => press(action) }))
  )
}

const notice = (content, tone) => {
  const node = $("notice")
  node.hidden = false
  node.className = tone
  const close = make("button", {
    type: "button",
    className: "small",
    textContent: "close",
    onclick: () => {
      node.hidden = true
    }
  })
  node.replaceChildren(make("p", { textContent: content }), close)
}

const press = async (action, row, subject) => {
  const said = await perform(action, headers, row, subject)
  if (said !== undefined) notice(said.text, said.good ? "good" : "bad")
}

// --- drawing

const drawHeader = () => {
  const { frame, hello } = picture
  setText($("name"), hello.name)
  document.title = `${picture.alerts.length > 0 ? `(${picture.alerts.length}) ` : ""}${hello.name} · console`
  setText($("phase"), frame.phase)
  $("phase").dataset.phase = frame.phase
  const left = frame.shutdownLeftMillis
  $("countdown").hidden = left === undefined
  if (left !== undefined) {
    setText(
      $("countdown"),
      `${(left / 1000).toFixed(1)} s left${
        frame.waitingFor?.length > 0 ? `; waits for ${frame.waitingFor.slice(0, 3).join(", ")}` : ""
      }`
    )
  }
  setText(
    $("facts"),
    [
      hello.version,
      hello.host === undefined ? undefined : `${hello.host}${hello.pid === undefined ? "" : `, pid ${hello.pid}`}`,
      `up ${span(picture.now() - hello.startedAt)}, since ${clock(hello.startedAt)}`,
      frame.viewers > 1 ? `${frame.viewers} look` : undefined,
      hello.role === "viewer" ? "read only" : undefined
    ].filter((one) => one !== undefined).join(" · ")
  )
}

let actsText = ""
const drawActs = () => {
  const there = picture.hello.role !== "operator"
    ? []
    : picture.hello.actions.filter(({ name, on }) => on === undefined && picture.actions.has(name))
  const key = there.map(({ name }) => name).join("\n")
  if (key === actsText) return
  actsText = key
  $("acts").replaceChildren(
    ...there.map((action) =>
      make("button", {
        type: "button",
        className: action.danger ? "danger" : "",
        dataset: { act: action.name },
        textContent: action.title,
        onclick: () => press(action)
      })
    )
  )
}

let alertsText = ""
const drawAlerts = () => {
  const key = JSON.stringify(picture.alerts)
  if (key === alertsText) return
  alertsText = key
  $("alerts").replaceChildren(...picture.alerts.map(({ link, severity, since, subject, text, title }) => {
    const node = make("article", { className: severity }, make("strong", { textContent: title }))
    if (subject !== undefined) node.append(" ", make("code", { textContent: subject }))
    node.append(" ", make("span", { textContent: text }))
    if (since !== undefined) node.append(" ", make("time", { textContent: `since ${clock(since)}` }))
    if (link !== undefined) {
      node.append(
        " ",
        make("button", {
          type: "button",
          className: "small",
          textContent: "show",
          onclick: () => go(link.section, link.key)
        })
      )
    }
    return node
  }))
}

const drawNav = () => {
  for (const [id, node] of navigation) {
    const current = id === view ? "page" : "false"
    if (node.getAttribute("aria-current") !== current) node.setAttribute("aria-current", current)
    const section = picture.sections.get(id)
    if (section === undefined || section.seen === section.changed) continue
    section.seen = section.changed
    const tones = new Set([...section.rows.values()].map(({ tone }) => tone))
    node.dataset.tone = tones.has("bad") ? "bad" : tones.has("warn") ? "warn" : ""
    node.dataset.empty = section.text === undefined && section.total === 0 ? "yes" : "no"
    setText(node.querySelector(".n"), section.text !== undefined ? "" : section.total.toLocaleString("en"))
  }
}

const drawOverview = () => {
  for (const [id, graph] of graphs) {
    const history = picture.histories.get(id)
    const known = history !== undefined && history.levels[0].points.some((point) => point !== null)
    graph.node.hidden = !known
    if (known) graph.draw({ ...history.range(range), at: history.at })
  }
  for (const [id, { body, node }] of cards) {
    const section = picture.sections.get(id)
    node.hidden = section === undefined
    if (section === undefined) continue
    const entries = section.unavailable === undefined
      ? Object.entries(section.facts ?? {})
      : [["not to be had", section.unavailable]]
    entries.forEach(([term, value], index) => {
      let line = body.children[index]
      if (line === undefined) {
        line = make("div", {}, make("dt"), make("dd"))
        body.append(line)
      }
      setText(line.children[0], term)
      setText(line.children[1], String(cell(value, "count", picture.now())) || "–")
    })
    while (body.children.length > entries.length) body.lastElementChild.remove()
  }
}

const draw = () => {
  if (picture.hello === undefined || picture.frame === undefined) return
  drawHeader()
  drawActs()
  drawAlerts()
  drawNav()
  if (view === "overview") return drawOverview()
  const section = picture.sections.get(view)
  if (section === undefined) return
  rows?.draw(section, picture.now(), picture.hello.role, picture.actions)
  if (text !== undefined) setText(text, section.text ?? section.unavailable ?? "")
}

const groups = (sections) => {
  const listed = sections.filter(({ kind }) => kind !== "series" && kind !== "facts")
  return [["", [{ id: "overview", title: "Overview" }]], [
    "application",
    listed.filter(({ application }) => application)
  ], ["runtime", listed.filter(({ application }) => !application)]].filter(([, all]) => all.length > 0)
}

/** Another process, or other sections. */
const layout = () => {
  const { hello } = picture
  navigation = new Map()
  $("nav").replaceChildren(
    ...groups(hello.sections).map(([name, all]) =>
      make(
        "div",
        {},
        ...(name === "" ? [] : [make("h2", { textContent: name })]),
        ...all.map(({ id, title }) => {
          const node = make(
            "button",
            { type: "button", dataset: { go: id } },
            make("span", { textContent: title }),
            make("span", { className: "n" })
          )
          node.addEventListener("click", () => go(id))
          navigation.set(id, node)
          return node
        })
      )
    )
  )
  graphs.clear()
  cards.clear()
  for (const info of hello.sections) {
    if (info.kind === "series") graphs.set(info.id, new Graph({ ...info, step: hello.intervalMillis }))
    if (info.kind === "facts") {
      const body = make("dl")
      cards.set(info.id, {
        body,
        node: make(
          "section",
          { className: "card", dataset: { card: info.id } },
          make("h2", { textContent: info.title }),
          body
        )
      })
    }
  }
  $("graphs").replaceChildren(...[...graphs.values()].map(({ node }) => node))
  $("cards").replaceChildren(...[...cards.values()].map(({ node }) => node))
  actsText = alertsText = "?"
  const wanted = location.hash.startsWith("#/") ? location.hash.slice(2) : view
  go(wanted)
}

/** How the run before ended, on the very page from which it was ended. */
const tellOfRestart = () => {
  const facts = picture.sections.get("last-shutdown")?.facts
  const { hello } = picture
  const verdict = facts?.verdict
  notice(
    `Another process runs since ${clock(hello.startedAt)}${hello.pid === undefined ? "" : ` (pid ${hello.pid})`}.${
      verdict === undefined ?
        "" :
        ` The one before: ${verdict}${facts.reason === undefined ? "" : `, ${facts.reason}`}${
          facts.took === undefined ? "" : `, in ${facts.took}`
        }${typeof facts["exit code"] !== "number" ? "" : `, exit code ${facts["exit code"]}`}.`
    }`,
    verdict === undefined || verdict === "clean" ? "good" : "bad"
  )
}

let restarted = false
const onEvent = (event, data) => {
  heardAt = performance.now()
  if (event === "hello") {
    restarted = picture.greet(data)
    ending = false
    $("locked").hidden = true
    $("panel").hidden = false
    picture.sections.clear()
    layout()
  } else if (event === "frame") {
    picture.apply(data)
    if (data.ending) {
      ending = true
      notice(
        `The process has said farewell${
          data.phase === "accepting" ? "" : ` while ${data.phase}`
        }. This page waits for the next one.`,
        "good"
      )
    }
    draw()
    if (restarted && data.whole) {
      restarted = false
      tellOfRestart()
    }
  }
  tellAge()
}

const lock = () => {
  $("panel").hidden = true
  $("locked").hidden = false
  setText($("unlock-error"), token === undefined ? "" : "This is not the operator's token.")
  $("token").focus()
}

const begin = () =>
  follow({
    headers,
    onEvent,
    onState: (next) => {
      state = next
      tellAge()
    },
    onLocked: lock
  })

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault()
  token = $("token").value.trim()
  store(token)
  begin()
})

// --- the range of the graphs, and keys

const ranges = ["2 min", "15 min", "1 h"]
const setRange = (next) => {
  range = next
  for (const [index, button] of [...$("range").children].entries()) {
    button.setAttribute("aria-checked", String(index === range))
  }
  if (view === "overview") draw()
}
$("range").replaceChildren(...ranges.map((name, index) => {
  const button = make("button", { type: "button", textContent: name, onclick: () => setRange(index) })
  button.setAttribute("role", "radio")
  return button
}))
setRange(0)

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("sure").open || $("panel").hidden) return
  if (event.target.matches("input, select")) {
    if (event.key === "Escape") event.target.blur()
    return
  }
  const ids = [...navigation.keys()]
  const at = ids.indexOf(view)
  if (event.key === "/") {
    if (rows === undefined) go("fibers")
    rows?.filter.focus()
    event.preventDefault()
  } else if (event.key === "[" || event.key === "]") {
    go(ids[(at + (event.key === "]" ? 1 : ids.length - 1)) % ids.length])
  } else if (event.key === "o") go("overview")
  else if (["1", "2", "3"].includes(event.key)) setRange(Number(event.key) - 1)
})
addEventListener("resize", draw)

$("panel").hidden = token === undefined
begin()
