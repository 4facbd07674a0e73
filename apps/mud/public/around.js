// What is around: ways, people, things, what one carries, and the map. A name opens a row of what can be done with it.
import { make } from "./log.js"

const $ = (id) => document.getElementById(id)
const weatherWords = { clear: "clear sky", breeze: "a breeze", rain: "rain", fog: "fog", gale: "a gale" }

const svg = (tag, attributes = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  node.append(...children)
  return node
}

export const foundWords = ({ allRooms, allSecrets, rooms, secrets }) =>
  `${rooms} of ${allRooms} places${allSecrets === 0 ? "" : `, ${secrets} of ${allSecrets} secrets`}`

/** The map as a picture: where one has been, and where the ways lead that one has seen. */
export const drawMap = ({ here, progress, rooms, ways }) => {
  const at = new Map(rooms.map((room) => [room.id, room]))
  const xs = rooms.map(({ x }) => x)
  const ys = rooms.map(({ y }) => y)
  const margin = 0.7
  const [left, top] = [Math.min(...xs) - margin, Math.min(...ys) - margin]
  const width = Math.max(4.5, Math.max(...xs) + margin - left)
  const height = Math.max(2.6, Math.max(...ys) + margin - top)
  const picture = svg("svg", {
    viewBox: `${left} ${top} ${width} ${height}`,
    role: "img",
    "aria-label": `Map: ${foundWords(progress)}. You are in ${at.get(here)?.name ?? "a place that is not on it"}.`
  })
  for (const [from, to] of ways) {
    const [a, b] = [at.get(from), at.get(to)]
    if (a !== undefined && b !== undefined) {
      picture.append(svg("line", { class: "map-way", x1: a.x, y1: a.y, x2: b.x, y2: b.y }))
    }
  }
  for (const { id, name, secret, unseen, x, y } of rooms) {
    const kind = id === here ? " here" : unseen ? " unseen" : secret ? " secret" : ""
    picture.append(
      svg(
        "circle",
        { class: `map-room${kind}`, cx: x, cy: y, r: 0.16 },
        svg("title", {}, name === "" ? "not seen yet" : name)
      )
    )
    if (id === here) picture.append(svg("circle", { class: "map-here", cx: x, cy: y, r: 0.27 }))
  }
  return picture
}

/** What can be done with what is named, by its kind. */
const actionsOf = ({ fill, run }) => ({
  feature: (name) => [["look", () => run(`look ${name}`)], ["use", () => run(`use ${name}`)]],
  thing: (name) => [
    ["look", () => run(`look ${name}`)],
    ["take", () => run(`take ${name}`)],
    ["use", () => run(`use ${name}`)]
  ],
  carried: (name) => [
    ["look", () => run(`look ${name}`)],
    ["use", () => run(`use ${name}`)],
    ["use on …", () => fill(`use ${name} on `)],
    ["drop", () => run(`drop ${name}`)]
  ],
  player: (name) => [["look", () => run(`look ${name}`)], ["whisper …", () => fill(`whisper ${name} `)]],
  character: (name) => [
    ["look", () => run(`look ${name}`)],
    ["say hello", () => run("say hello")],
    ["say …", () => fill("say ")]
  ]
})

const nothing = (text) => make("li", { className: "none", textContent: text })

/**
 * @param {{
 *   run: (line: string) => void,
 *   fill: (text: string) => void,
 *   fetchMap: () => Promise<object | undefined>
 * }} options
 */
export const makeAround = ({ fetchMap, fill, run }) => {
  const menu = $("menu")
  let opener

  const closeMenu = (focus = false) => {
    if (menu.hidden) return
    menu.hidden = true
    if (focus && opener?.isConnected) opener.focus()
    else if (focus) $("line").focus()
    opener = undefined
  }

  const actions = actionsOf({ fill, run })

  /** What can be done with something, in a row above the line. */
  const openMenu = ({ kind, text }, from) => {
    if (!menu.hidden && opener === from) return closeMenu(true)
    opener = from
    const close = make("button", { type: "button", className: "quiet", textContent: "✕", ariaLabel: "close" })
    close.addEventListener("click", () => closeMenu(true))
    const buttons = actions[kind](text).map(([label, act]) => {
      const button = make("button", { type: "button", textContent: label })
      button.addEventListener("click", () => {
        closeMenu()
        act()
      })
      return button
    })
    menu.setAttribute("aria-label", text)
    menu.replaceChildren(make("strong", { textContent: text }), ...buttons, close)
    menu.hidden = false
    buttons[0].focus()
  }
  menu.addEventListener("keydown", (pressed) => {
    if (pressed.key === "Escape") {
      pressed.stopPropagation()
      closeMenu(true)
    }
  })

  const item = (text, small, onClick) => {
    const button = make("button", { type: "button", textContent: text })
    if (small !== undefined) button.append(" ", make("small", { textContent: small }))
    button.addEventListener("click", () => onClick(button))
    return make("li", {}, button)
  }
  const named = (text, kind) => item(text, undefined, (button) => openMenu({ kind, text }, button))

  // Only what changed is made anew: a button that is focused stays focused while the clock ticks.
  const painted = new Map()
  const fillList = (id, key, items) => {
    const now = JSON.stringify(key)
    if (painted.get(id) === now) return
    painted.set(id, now)
    $(id).replaceChildren(...items())
  }

  let map
  let asked
  const showMap = () => {
    $("chart").hidden = map === undefined || map.rooms.length < 2
    if (map === undefined) return
    $("map").replaceChildren(drawMap(map))
    $("found").textContent = foundWords(map.progress)
  }
  /** The map is asked for again when a way of it is new. */
  const updateMap = async (scene) => {
    const key = `${scene.id} ${scene.exits.map(({ direction }) => direction).join()}`
    if (asked === key) return
    asked = key
    const known = map?.rooms.some(({ id, unseen }) => id === scene.id && unseen === undefined)
    if (known) {
      map = { ...map, here: scene.id }
      showMap()
    }
    const fresh = await fetchMap()
    if (fresh !== undefined) {
      map = fresh
      showMap()
    }
  }

  return {
    openMenu,
    closeMenu,
    paint: (scene, carrying, { connected }) => {
      if (scene === undefined) return
      const sky = scene.indoors ? "indoors" : (weatherWords[scene.weather] ?? scene.weather)
      $("sky").textContent = `${scene.clock}, ${scene.phase}, ${sky}`
      document.title = `${scene.name} · Skerrow`
      fillList("exits", [scene.id, scene.exits], () => [
        ...scene.exits.map(({ direction, name }) => item(direction, name, () => run(direction))),
        ...(scene.exits.length === 0 ? [nothing("no way out")] : [])
      ])
      const { others = 0, people, things } = scene
      fillList("around", [scene.id, people, things, others], () => [
        ...things.map(({ name }) => named(name, "thing")),
        ...people.map(({ kind, name }) => named(name, kind)),
        ...(others === 0 ? [] : [item(`and ${others} more`, undefined, () => run("who"))]),
        ...(people.length + things.length + others === 0 ? [nothing("nobody and nothing")] : [])
      ])
      $("hands").hidden = carrying.length === 0
      fillList("carried", carrying, () => carrying.map(({ name }) => named(name, "carried")))
      if (connected) updateMap(scene)
    },
    forget: () => {
      painted.clear()
      map = undefined
      asked = undefined
      closeMenu()
    }
  }
}
