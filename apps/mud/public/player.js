// The player's page: a log of what happens, what is around, and a line to type into.
import {
  event as narrate,
  refusal,
  reply as narrateReply,
  room as narrateRoom,
  scene as nextScene
} from "./narration.js"
import { follow } from "./stream.js"

const $ = (id) => document.getElementById(id)
const keep = 400
const shown = ["room", "speech", "whisper", "act", "move", "world", "notice", "reply", "error", "typed"]

// --- what this tab remembers: a reload or a restart of the server goes on where the log ended

const stored = (storage, key) => {
  try {
    return JSON.parse(storage.getItem(key) ?? "null") ?? undefined
  } catch {
    return undefined
  }
}
const store = (storage, key, value) => {
  try {
    if (value === undefined) storage.removeItem(key)
    else storage.setItem(key, JSON.stringify(value))
  } catch {
    // Storage may be full or forbidden: the page then only forgets on reload.
  }
}

let session = stored(sessionStorage, "session")
let lines = stored(sessionStorage, "log") ?? []
let scene = stored(sessionStorage, "scene")
let lastEventId = stored(sessionStorage, "last-event-id")
let stream

const remember = () => {
  store(sessionStorage, "session", session)
  store(sessionStorage, "log", lines)
  store(sessionStorage, "scene", scene)
  store(sessionStorage, "last-event-id", lastEventId)
}

// --- the log

const log = $("log")
const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60
const toEnd = () => {
  log.scrollTop = log.scrollHeight
  $("below").hidden = true
}

const element = (line, fresh) => {
  const block = document.createElement("div")
  block.className = `line ${shown.includes(line.tone) ? line.tone : "reply"}${fresh ? " fresh" : ""}`
  if (line.id !== undefined) block.dataset.id = line.id
  if (line.title !== undefined) block.append(Object.assign(document.createElement("h2"), { textContent: line.title }))
  block.append(Object.assign(document.createElement("p"), { textContent: line.text }))
  if (line.notes?.length > 0) {
    const list = document.createElement("ul")
    list.append(...line.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })))
    block.append(list)
  }
  return block
}

const add = (line) => {
  const follows = atEnd()
  lines.push(line)
  log.append(element(line, true))
  while (lines.length > keep) {
    lines.shift()
    log.firstElementChild?.remove()
  }
  if (follows) toEnd()
  else $("below").hidden = false
}

log.addEventListener("scroll", () => atEnd() && ($("below").hidden = true))
$("below").addEventListener("click", toEnd)
new ResizeObserver(() => $("below").hidden && toEnd()).observe(log)

// --- what is around

const weatherWords = { clear: "clear sky", breeze: "a breeze", rain: "rain", fog: "fog", gale: "a gale" }

const choice = (text, small, command) => {
  const item = document.createElement("li")
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: text })
  if (small !== undefined) button.append(Object.assign(document.createElement("small"), { textContent: small }))
  button.addEventListener("click", () => run(command))
  item.append(button)
  return item
}
const nothing = (text) => Object.assign(document.createElement("li"), { className: "none", textContent: text })

let painted = ""
const paint = () => {
  if (scene === undefined) return
  const sky = scene.indoors ? "indoors" : (weatherWords[scene.weather] ?? scene.weather)
  $("sky").textContent = `${scene.clock}, ${scene.phase}, ${sky}`
  // Only what changed is made anew: a button that is focused stays focused while the clock ticks.
  const now = JSON.stringify([scene.id, scene.name, scene.exits, scene.people, scene.things])
  if (now === painted) return
  painted = now
  $("room").textContent = scene.name
  document.title = `${scene.name} · Skerrow`
  $("exits").replaceChildren(
    ...scene.exits.map(({ direction, name }) => choice(direction, name, direction)),
    ...(scene.exits.length === 0 ? [nothing("no way out")] : [])
  )
  const around = [
    ...scene.people.map(({ kind, name }) => choice(name, kind === "player" ? "player" : undefined, `look ${name}`)),
    ...scene.things.map(({ name }) => choice(name, "take it", `take ${name}`))
  ]
  $("around").replaceChildren(...(around.length === 0 ? [nothing("nobody and nothing")] : around))
}

// --- the connection

const linkWords = {
  connecting: () => "connecting",
  live: () => "live",
  waiting: ({ seconds }) => seconds > 0 ? `back in ${seconds} s` : "reconnecting",
  offline: () => "offline",
  ended: () => "asleep"
}
const showLink = (state) => {
  $("link").dataset.state = state.name
  const text = linkWords[state.name](state)
  if ($("link-text").textContent !== text) $("link-text").textContent = text
}

const onEvent = ({ data, id, name }) => {
  const happened = JSON.parse(data)
  if (name === "farewell") {
    add({ tone: "notice", text: "The world is going to sleep for a moment. You will be back by yourself." })
    remember()
    return
  }
  if (name === "gap") {
    add({ tone: "notice", text: "You were away for longer than the world remembers. Some of it is lost." })
    return
  }
  const line = narrate(happened, session.player.id)
  scene = nextScene(scene, happened, session.player.id)
  if (line !== undefined) add({ ...line, id })
  lastEventId = id
  remember()
  paint()
  if (happened._tag === "Slept" && happened.actor.id === session.player.id && happened.reason !== "lost") fallAsleep()
}

const connect = () => {
  stream?.stop()
  stream = follow({
    url: "/events",
    headers: () => ({ authorization: `Bearer ${session.token}` }),
    lastEventId,
    onEvent,
    onState: (state) => {
      showLink(state)
      if (state.name === "ended") sleepHere(state.problem)
    }
  })
}

let asleep = false
const fallAsleep = () => {
  stream?.stop()
  showLink({ name: "ended" })
  asleep = true
  $("line").placeholder = "press Enter to wake up"
}
const sleepHere = (problem) => {
  if (problem?._tag === "Asleep") return fallAsleep()
  // The token is not known any more: another world, or this player was forgotten.
  add({ tone: "notice", text: problem?.message ?? "The world does not know you any more." })
  leave()
}
const leave = () => {
  stream?.stop()
  session = undefined
  scene = undefined
  lastEventId = undefined
  lines = []
  remember()
  store(localStorage, "session", undefined)
  open()
}

// --- asking

const ask = async (path, body) => {
  let response
  try {
    response = await fetch(path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(session === undefined ? {} : { authorization: `Bearer ${session.token}` })
      },
      body: JSON.stringify(body)
    })
  } catch {
    return { error: { _tag: "Unreachable", message: "The world cannot be reached right now." } }
  }
  const answer = await response.json().catch(() => ({ _tag: "Unreadable", message: "The answer made no sense." }))
  return response.ok ? { answer } : { error: answer }
}

const run = async (text) => {
  if (asleep) return wake()
  if (text === "") return
  add({ tone: "typed", text })
  toEnd()
  const { answer, error } = await ask("/api/command", { line: text })
  if (error?._tag === "Asleep") {
    add(refusal(error))
    fallAsleep()
  } else if (error !== undefined) add(refusal(error))
  else {
    const line = narrateReply(answer.reply)
    if (line !== undefined) add(line)
    if (answer.reply._tag === "Room") {
      scene = answer.reply.view
      paint()
    }
  }
  remember()
  if (answer?.reply._tag === "Sleeping") fallAsleep()
}

const wake = async () => {
  const { error } = await ask("/api/join", { token: session.token })
  if (error !== undefined) {
    add(refusal(error))
    if (error._tag === "Unauthorized") leave()
    return
  }
  asleep = false
  $("line").placeholder = "look, north, say hello …"
  connect()
}

// --- the line

const history = stored(localStorage, "history") ?? []
let at = history.length
let draft = ""

$("prompt").addEventListener("submit", (submitted) => {
  submitted.preventDefault()
  const text = $("line").value.trim()
  $("line").value = ""
  if (text !== "" && history.at(-1) !== text) {
    history.push(text)
    history.splice(0, Math.max(0, history.length - 100))
    store(localStorage, "history", history)
  }
  at = history.length
  run(text)
})

const verbs = [
  "look",
  "say",
  "whisper",
  "emote",
  "take",
  "drop",
  "use",
  "inventory",
  "who",
  "time",
  "help",
  "quit",
  "go"
]
const complete = () => {
  const typed = $("line").value
  const word = typed.split(" ").at(-1).toLowerCase()
  if (word === "") return false
  const words = typed.includes(" ")
    ? [...(scene?.people ?? []), ...(scene?.things ?? [])].map(({ name }) => name)
    : [...verbs, ...(scene?.exits ?? []).map(({ direction }) => direction)]
  const found = words.find((candidate) => candidate.toLowerCase().startsWith(word))
  if (found === undefined) return false
  $("line").value = `${typed.slice(0, typed.length - word.length)}${found} `
  return true
}

$("line").addEventListener("keydown", (pressed) => {
  if (pressed.key === "ArrowUp" || pressed.key === "ArrowDown") {
    const next = at + (pressed.key === "ArrowUp" ? -1 : 1)
    if (next < 0 || next > history.length) return
    pressed.preventDefault()
    if (at === history.length) draft = $("line").value
    at = next
    $("line").value = at === history.length ? draft : history[at]
  } else if (pressed.key === "Tab" && !pressed.shiftKey && complete()) pressed.preventDefault()
  else if (pressed.key === "Escape") $("line").value = ""
  else if (pressed.key === "PageUp") log.scrollBy({ top: -log.clientHeight * 0.8 })
  else if (pressed.key === "PageDown") log.scrollBy({ top: log.clientHeight * 0.8 })
})

// Typing anywhere types into the line.
document.addEventListener("keydown", (pressed) => {
  if (session === undefined || pressed.ctrlKey || pressed.metaKey || pressed.altKey) return
  const typing = ["INPUT", "BUTTON"].includes(document.activeElement?.tagName ?? "")
  if (pressed.key.length === 1 && (!typing || (document.activeElement.tagName === "BUTTON" && pressed.key !== " "))) {
    $("line").focus()
  }
})

// --- the door

const names = [
  "Heron",
  "Tern",
  "Wren",
  "Sorrel",
  "Juniper",
  "Rook",
  "Pilot",
  "Marram",
  "Teasel",
  "Plover",
  "Anchor",
  "Hazel",
  "Bracken",
  "Cormorant",
  "Thrift",
  "Pebble",
  "Larch",
  "Sandpiper",
  "Kittiwake",
  "Samphire"
]

const open = () => {
  const playing = session !== undefined
  $("door").hidden = playing
  $("game").hidden = !playing
  if (playing) return play()
  document.title = "Skerrow"
  const before = stored(localStorage, "session")
  $("again").hidden = before === undefined
  if (before !== undefined) $("resume").textContent = `Go on as ${before.player.name}`
  $("name").value = names[Math.floor(Math.random() * names.length)]
  $("name").focus()
  $("name").select()
}

const play = () => {
  log.replaceChildren(...lines.map((line) => element(line, false)))
  painted = ""
  paint()
  toEnd()
  if (matchMedia("(pointer: fine)").matches) $("line").focus()
  connect()
}

const enter = async (body) => {
  const { answer, error } = await ask("/api/join", body)
  if (error !== undefined) {
    $("join-error").textContent = refusal(error).text
    $("name").focus()
    if (error._tag === "Unauthorized") {
      store(localStorage, "session", undefined)
      $("again").hidden = true
    }
    return
  }
  session = { token: answer.token, player: answer.player }
  scene = answer.view
  lastEventId = String(answer.after)
  lines = [{ tone: "notice", text: answer.welcome }, narrateRoom(answer.view)]
  store(localStorage, "session", session)
  asleep = false
  remember()
  open()
}

$("join").addEventListener("submit", (submitted) => {
  submitted.preventDefault()
  $("join-error").textContent = ""
  enter({ name: $("name").value.trim() })
})
$("resume").addEventListener("click", () => {
  const before = stored(localStorage, "session")
  if (before !== undefined) enter({ token: before.token })
})

open()
