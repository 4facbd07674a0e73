// The log: lines of what happened, under the name of the room where it did. Names in it can be clicked.

const keep = 400
const shown = ["room", "speech", "whisper", "act", "move", "world", "notice", "reply", "error", "typed"]

export const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties)
  node.append(...children)
  return node
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** Text as nodes, in which the first mention of each linked name is a button. It is no tab stop: all of them are one below. */
const linked = (text, links, onLink) => {
  if (links.length === 0) return [text]
  const names = [...links].sort((a, b) => b.text.length - a.text.length)
  const pattern = new RegExp(
    `(?<![\\p{L}\\p{N}])(?:${names.map((link) => escaped(link.text)).join("|")})(?![\\p{L}\\p{N}])`,
    "gu"
  )
  const nodes = []
  const used = new Set()
  let at = 0
  for (const found of text.matchAll(pattern)) {
    if (used.has(found[0])) continue
    used.add(found[0])
    const link = names.find((candidate) => candidate.text === found[0])
    const button = make("button", { type: "button", className: "name", tabIndex: -1, textContent: found[0] })
    button.addEventListener("click", () => onLink(link, button))
    nodes.push(text.slice(at, found.index), button)
    at = found.index + found[0].length
  }
  return [...nodes, text.slice(at)]
}

/** Text as nodes, in which what stands between backticks is a button that types it. */
export const withCommands = (text, onCommand) =>
  text.split("`").map((part, index) => {
    if (index % 2 === 0) return part
    const button = make("button", { type: "button", textContent: part })
    button.addEventListener("click", () => onCommand(part))
    return button
  })

/**
 * @param {{
 *   log: HTMLElement,
 *   below: HTMLElement,
 *   onLink: (link: object, from: HTMLElement) => void,
 *   onOffer: (line: string) => void,
 *   onExample: (line: string) => void,
 *   drawMap: (map: object) => Element
 * }} options
 */
export const makeLog = ({ below, drawMap, log, onExample, onLink, onOffer }) => {
  let lines = []
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60
  const toEnd = () => {
    log.scrollTop = log.scrollHeight
    below.hidden = true
  }

  const element = (line, fresh) => {
    const links = line.links ?? []
    const block = make("div", {
      className: `line ${shown.includes(line.tone) ? line.tone : "reply"}${fresh ? " fresh" : ""}`
    })
    if (line.id !== undefined) block.dataset.id = line.id
    block.append(make("p", {}, ...linked(line.text, links, onLink)))
    if (line.map !== undefined) block.append(make("div", { className: "map" }, drawMap(line.map)))
    else if (line.notes?.length > 0) {
      block.append(make("ul", {}, ...line.notes.map((note) => make("li", {}, ...linked(note, links, onLink)))))
    }
    if (line.rows?.length > 0) {
      block.append(make(
        "dl",
        {},
        ...line.rows.flatMap(({ command, label, text }) => {
          const button = make("button", { type: "button", textContent: label, title: `types: ${command}` })
          button.addEventListener("click", () => onExample(command))
          return [make("dt", {}, button), make("dd", { textContent: text })]
        })
      ))
    }
    if (line.offers?.length > 0) {
      block.append(make(
        "div",
        { className: "offers" },
        ...line.offers.map((offer) => {
          const button = make("button", { type: "button", textContent: offer })
          button.addEventListener("click", () => onOffer(offer))
          return button
        })
      ))
    }
    return block
  }

  const append = (line, fresh) => {
    const last = log.lastElementChild
    // The same room looked at again goes on under its name.
    const heading = last?.querySelector("h2")?.textContent
    if (last === null || (line.title !== undefined && line.title !== heading)) {
      log.append(
        make(
          "section",
          { className: "visit" },
          ...(line.title === undefined ? [] : [make("h2", { textContent: line.title })])
        )
      )
    }
    log.lastElementChild.append(element(line, fresh))
  }

  log.addEventListener("scroll", () => atEnd() && (below.hidden = true))
  below.addEventListener("click", toEnd)
  new ResizeObserver(() => below.hidden && toEnd()).observe(log)

  return {
    lines: () => lines,
    toEnd,
    show: (all) => {
      lines = all
      log.replaceChildren()
      for (const line of lines) append(line, false)
      toEnd()
    },
    add: (line) => {
      const follows = atEnd()
      lines.push(line)
      append(line, true)
      while (lines.length > keep) {
        lines.shift()
        const first = log.firstElementChild
        first.querySelector(".line")?.remove()
        if (first.querySelector(".line") === null) first.remove()
      }
      if (follows) toEnd()
      else below.hidden = false
    }
  }
}
