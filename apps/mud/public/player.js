// The player's page: a log of what happens, what is around, and a line to type into.
import { drawMap, makeAround } from "./around.js"
import { makeLog, withCommands } from "./log.js"
import {
  event as narrate,
  refusal,
  reply as narrateReply,
  room as narrateRoom,
  scene as nextScene
} from "./narration.js"
import { follow } from "./stream.js"

const $ = (id) => document.getElementById(id)

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
let scene = stored(sessionStorage, "scene")
let carrying = stored(sessionStorage, "carrying") ?? []
let hint = stored(sessionStorage, "hint")
let lastEventId = stored(sessionStorage, "last-event-id")
let asleep = false
let stream

const log = makeLog({
  log: $("log"),
  below: $("below"),
  drawMap,
  onLink: (link, from) => around.openMenu(link, from),
  onOffer: (line) => run(line),
  onExample: (line) => fill(line)
})

const remember = () => {
  store(sessionStorage, "session", session)
  store(sessionStorage, "log", log.lines())
  store(sessionStorage, "scene", scene)
  store(sessionStorage, "carrying", carrying)
  store(sessionStorage, "hint", hint)
  store(sessionStorage, "last-event-id", lastEventId)
}

const fill = (text) => {
  $("line").value = text
  $("line").focus()
  showSize()
}

const around = makeAround({
  run: (line) => run(line),
  fill,
  fetchMap: async () => {
    try {
      const response = await fetch("/api/map", { headers: { authorization: `Bearer ${session?.token}` } })
      return response.ok ? await response.json() : undefined
    } catch {
      return undefined
    }
  }
})

const paint = () => around.paint(scene, carrying, { connected: session !== undefined && !asleep })

const paintHint = () => {
  $("quest").hidden = hint === undefined
  $("hint").replaceChildren(...withCommands(hint ?? "", (line) => fill(line)))
}

// --- the connection, shown where one types

const placeholder = "look, north, say hello …"
const linkWords = {
  connecting: () => "connecting",
  live: () => "awake",
  waiting: ({ seconds }) => `the connection is lost; ${seconds > 0 ? `back in ${seconds} s` : "trying"}`,
  offline: () => "no network; what you type waits here",
  asleep: () => "asleep; Enter wakes you"
}
let link = { name: "connecting" }
const showLink = (state = link) => {
  link = state
  const name = asleep || state.name === "ended" ? "asleep" : state.name
  $("link").dataset.state = name
  const text = linkWords[name](state)
  if ($("link-text").textContent !== text) $("link-text").textContent = text
  $("line").placeholder = asleep ? "press Enter to wake up" : placeholder
}

// Other tabs of the same player: one that wakes wakes all.
const tellTabs = () => store(localStorage, "awake", { player: session.player.id, at: Date.now() })
addEventListener("storage", ({ key }) => {
  if (key === "awake" && asleep && stored(localStorage, "awake")?.player === session?.player.id) resume()
})

const fallAsleep = () => {
  asleep = true
  showLink()
}
const resume = () => {
  asleep = false
  connect()
}

/** What changes in one's hands, of what one did oneself. */
const inHands = (happened) => {
  const rest = carrying.filter(({ id }) => id !== happened.thing?.id && !(happened.consume ?? []).includes(id))
  if (happened._tag === "Took") return [...rest, happened.thing]
  if (happened._tag === "Dropped") return rest
  if (happened._tag !== "Used") return carrying
  return [...rest, ...happened.give.map((id) => ({ id, name: id.replaceAll("-", " ") }))]
}

const onEvent = ({ data, id, name }) => {
  const happened = JSON.parse(data)
  if (name === "farewell") {
    log.add({ tone: "notice", text: "The world is going to sleep for a moment. You will be back by yourself." })
    return remember()
  }
  if (name === "position") {
    // Where the stream begins: nothing has happened yet.
    lastEventId = id
    return
  }
  if (name === "gap") {
    log.add({ tone: "notice", text: "You were away for longer than the world remembers. Some of it is lost." })
    return
  }
  const me = session.player.id
  const own = happened.actor?.id === me
  const line = narrate(happened, me)
  scene = nextScene(scene, happened, me)
  if (own) carrying = inHands(happened)
  if (happened._tag === "Reached" && (happened.hint !== undefined || !happened.step.startsWith("secret "))) {
    hint = happened.hint
    paintHint()
  }
  if (line !== undefined) log.add({ ...line, id })
  lastEventId = id
  if (own && happened._tag === "Woke") asleep = false
  if (own && happened._tag === "Slept" && happened.reason !== "lost") fallAsleep()
  remember()
  paint()
}

const connect = () => {
  stream?.stop()
  stream = follow({
    url: "/events",
    headers: () => ({ authorization: `Bearer ${session.token}` }),
    lastEventId,
    onEvent,
    // The server ends the stream of who fell asleep, and knows why: nothing is to be asked again until it wakes.
    done: () => asleep,
    onState: (state) => {
      if (state.name === "ended" && !asleep) stopped(state.problem)
      showLink(state)
      if (state.name === "live") paint()
    }
  })
}

const stopped = (problem) => {
  if (problem?._tag === "Asleep") {
    log.add({ tone: "notice", text: "You are asleep." })
    return fallAsleep()
  }
  if (problem?._tag === "Unauthorized") return unknown()
  log.add(refusal(problem ?? {}))
}

/** The token is not known any more: another world, or this player was forgotten. */
const unknown = () => leave(`The island does not know ${session.player.name} any more. Choose a name to come ashore.`)

const leave = (why) => {
  stream?.stop()
  store(localStorage, "session", undefined)
  session = undefined
  scene = undefined
  hint = undefined
  carrying = []
  lastEventId = undefined
  log.show([])
  around.forget()
  remember()
  open(why)
}

// --- asking

const ask = async (path, body, token = session?.token) => {
  let response
  try {
    response = await fetch(path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` })
      },
      body: JSON.stringify(body)
    })
  } catch {
    return { error: { _tag: "Unreachable", message: "The world cannot be reached right now. What you typed is kept." } }
  }
  const answer = await response.json().catch(() => ({ _tag: "Unreadable", message: "The answer made no sense." }))
  return response.ok ? { answer } : { error: answer }
}

/** Sends a line. True when it was accepted; what was refused can be typed better. */
const run = async (text) => {
  around.closeMenu()
  if (asleep && !(await wake())) return false
  if (text === "") return true
  const { answer, error } = await ask("/api/command", { line: text })
  if (error !== undefined) {
    if (error._tag === "Unauthorized") {
      unknown()
      return false
    }
    log.add({ tone: "typed", text })
    log.add(refusal(error))
    log.toEnd()
    if (error._tag === "Asleep") fallAsleep()
    remember()
    return false
  }
  const { reply } = answer
  const line = narrateReply(reply)
  if (line !== undefined) {
    // What happened says itself what was done; only an answer needs its question.
    log.add({ tone: "typed", text })
    log.add(reply._tag === "Map" ? { ...line, map: reply } : line)
  }
  if (reply._tag === "Room") {
    scene = reply.view
    paint()
  }
  log.toEnd()
  remember()
  return true
}

const wake = async () => {
  const { answer, error } = await ask("/api/join", { token: session.token })
  if (error?._tag === "Unauthorized") {
    unknown()
    return false
  }
  if (error !== undefined) {
    log.add(refusal(error))
    return false
  }
  session = { ...session, token: answer.token }
  store(localStorage, "session", session)
  tellTabs()
  resume()
  return true
}

// --- the line

/** The most that can be said at once. */
const limit = 400
const showSize = () => {
  const { length } = $("line").value.trim()
  $("size").textContent = length > limit - 80 ? `${length} of ${limit}` : ""
  $("size").classList.toggle("over", length > limit)
}

const history = stored(localStorage, "history") ?? []
let at = history.length
let draft = ""

$("prompt").addEventListener("submit", async (submitted) => {
  submitted.preventDefault()
  const typed = $("line").value
  const text = typed.trim()
  if (text !== "" && history.at(-1) !== text) {
    history.push(text)
    history.splice(0, Math.max(0, history.length - 100))
    store(localStorage, "history", history)
  }
  at = history.length
  // It stays until it is accepted; whoever types on meanwhile types over it.
  $("line").select()
  const accepted = await run(text)
  if (accepted && $("line").value === typed) $("line").value = ""
  showSize()
})
$("line").addEventListener("input", showSize)

const verbs = [
  "look",
  "say",
  "whisper",
  "emote",
  "take",
  "drop",
  "use",
  "exits",
  "goal",
  "map",
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
    ? [...(scene?.people ?? []), ...(scene?.things ?? []), ...carrying].map(({ name }) => name)
    : [...verbs, ...(scene?.exits ?? []).map(({ direction }) => direction)]
  const found = words.find((candidate) => candidate.toLowerCase().startsWith(word))
  if (found === undefined) return false
  $("line").value = `${typed.slice(0, typed.length - word.length)}${found} `
  return true
}

$("line").addEventListener("keydown", (pressed) => {
  const page = $("log").clientHeight * 0.8
  if (pressed.key === "ArrowUp" || pressed.key === "ArrowDown") {
    const next = at + (pressed.key === "ArrowUp" ? -1 : 1)
    if (next < 0 || next > history.length) return
    pressed.preventDefault()
    if (at === history.length) draft = $("line").value
    at = next
    $("line").value = at === history.length ? draft : history[at]
    showSize()
  } else if (pressed.key === "Tab" && !pressed.shiftKey && complete()) pressed.preventDefault()
  else if (pressed.key === "Escape") {
    if ($("menu").hidden) $("line").value = ""
    around.closeMenu()
    showSize()
  } else if (pressed.key === "PageUp") $("log").scrollBy({ top: -page })
  else if (pressed.key === "PageDown") $("log").scrollBy({ top: page })
})

// Typing anywhere types into the line.
document.addEventListener("keydown", (pressed) => {
  if (session === undefined || pressed.ctrlKey || pressed.metaKey || pressed.altKey || $("sure").open) return
  const focused = document.activeElement?.tagName ?? ""
  const typing = ["INPUT", "BUTTON", "SUMMARY"].includes(focused)
  if (pressed.key.length === 1 && (!typing || (focused !== "INPUT" && pressed.key !== " "))) $("line").focus()
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

/** How many are here, and what a name has to be. Without an answer the door opens all the same. */
const readDoor = async () => {
  try {
    const { awake, nameRule, title } = await (await fetch("/api/door")).json()
    $("realm").textContent = title
    $("rule").textContent = `${nameRule}.`
    $("crowd").textContent = awake === 0
      ? "Nobody is awake on it."
      : awake === 1
      ? "One is here."
      : `${awake} are here.`
  } catch {
    $("crowd").textContent = ""
  }
}

const open = (why) => {
  const playing = session !== undefined
  $("door").hidden = playing
  $("game").hidden = !playing
  if (playing) return play()
  document.title = "Skerrow"
  const before = stored(localStorage, "session")
  $("why").hidden = why === undefined
  $("why").textContent = why ?? ""
  $("again").hidden = before === undefined
  $("name-label").textContent = before === undefined ? "Your name" : "Or come as somebody new"
  $("ashore").className = before === undefined ? "primary" : ""
  $("name").value = names[Math.floor(Math.random() * names.length)]
  if (before === undefined) {
    $("name").focus()
    $("name").select()
  } else {
    $("resume").textContent = `Go on as ${before.player.name}`
    $("give-up").textContent = `Give up the name ${before.player.name}`
    $("resume").focus()
  }
  readDoor()
}

const play = () => {
  paint()
  paintHint()
  log.toEnd()
  if (matchMedia("(pointer: fine)").matches) $("line").focus()
  connect()
}

const enter = async (body) => {
  const { answer, error } = await ask("/api/join", body)
  if (error !== undefined) {
    const { notes = [], text } = refusal(error)
    $("join-error").textContent = [text, ...notes].join(" ")
    if (error._tag === "Unauthorized" && body.token !== undefined) {
      const { player } = stored(localStorage, "session")
      store(localStorage, "session", undefined)
      $("join-error").textContent = ""
      return open(`The island does not know ${player.name} any more. Choose a name to come ashore.`)
    }
    $("name").focus()
    return
  }
  session = { token: answer.token, player: answer.player }
  scene = answer.view
  carrying = answer.carrying
  hint = answer.hint
  lastEventId = String(answer.after)
  log.show([{ tone: "notice", text: answer.welcome }, narrateRoom(answer.view)])
  store(localStorage, "session", session)
  asleep = false
  tellTabs()
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
$("give-up").addEventListener("click", () => {
  $("sure-title").textContent = `${$("give-up").textContent}?`
  $("sure").showModal()
})
$("sure").addEventListener("close", async () => {
  const before = stored(localStorage, "session")
  if ($("sure").returnValue !== "yes" || before === undefined) return
  const { error } = await ask("/api/leave", {}, before.token)
  if (error !== undefined && error._tag !== "Unauthorized") {
    $("join-error").textContent = refusal(error).text
    return
  }
  store(localStorage, "session", undefined)
  open(`${before.player.name} is given up. Choose a name to come ashore.`)
})

log.show(stored(sessionStorage, "log") ?? [])
open()
