// A table or a tree of rows: sorted, filtered, folded, and opened. Rows are kept by key, so that what is focused stays.
import { cell, isNumber, make, setText } from "./format.js"

/** Rows that are drawn before somebody asks for more. */
const page = 200

/** Of columns with ages: what a filter offers. `at least` and `less than` are milliseconds. */
const ages = [
  ["under a minute", 0, 60_000],
  ["over a minute", 60_000, Infinity],
  ["over 10 minutes", 600_000, Infinity],
  ["over an hour", 3_600_000, Infinity]
]

/** Owners with more rows than this are folded at first. */
const crowd = 12

export class Rows {
  constructor(info, actions, act) {
    this.info = info
    this.actions = actions
    this.act = act
    this.sort = info.sort
    this.limit = page
    this.query = ""
    this.choices = new Map()
    this.folded = new Map()
    this.opened = new Set()
    this.drawn = new Map()
    this.children = new Map()
    this.filter = make("input", {
      type: "search",
      placeholder: "filter, or column:value",
      className: "filter",
      title: `Columns: ${info.columns.map(({ title }) => title).join(", ")}`
    })
    this.filter.setAttribute("aria-label", `Filter ${info.title}`)
    this.filter.addEventListener("input", () => {
      this.query = this.filter.value.trim().toLowerCase()
      this.again()
    })
    this.selects = info.columns.filter(({ choice }) => choice).map((column) => {
      const select = make("select", {})
      select.setAttribute("aria-label", column.title)
      select.addEventListener("change", () => {
        this.choices.set(column.key, select.value)
        this.again()
      })
      return { column, select, values: "" }
    })
    this.older = info.columns.filter(({ format }) => format === "since").map((column) => {
      const select = make(
        "select",
        {},
        make("option", { value: "", textContent: "any age" }),
        ...ages.map(([textContent], value) => make("option", { value, textContent }))
      )
      select.setAttribute("aria-label", column.title)
      select.addEventListener("change", () => this.again())
      return { column, select }
    })
    this.head = make("tr")
    for (const column of info.columns) {
      const button = make("button", { type: "button", textContent: column.title })
      button.addEventListener("click", () => {
        const first = isNumber(column.format) && column.format !== "at" && column.format !== "since"
        const descending = this.sort?.key === column.key ? !this.sort.descending : first
        this.sort = { key: column.key, descending }
        this.again()
      })
      const head = make(
        "th",
        { className: isNumber(column.format) ? "n" : "", scope: "col" },
        info.kind === "tree" ? column.title : button
      )
      head.dataset.key = column.key
      this.head.append(head)
    }
    if (actions.length > 0) {
      this.head.append(make("th", { className: "acts" }, make("span", { className: "hidden", textContent: "acts" })))
    }
    this.body = make("tbody")
    this.count = make("p", { className: "count" })
    this.more = make("button", { type: "button", className: "more", hidden: true })
    this.more.addEventListener("click", () => {
      this.limit *= 5
      this.again()
    })
    this.note = make("p", { className: "soft", textContent: info.note ?? "" })
    const folding = info.kind === "tree"
      ? [
        make("button", { type: "button", textContent: "unfold all", onclick: () => this.foldAll(false) }),
        make("button", { type: "button", textContent: "fold all", onclick: () => this.foldAll(true) })
      ]
      : []
    const bar = make(
      "div",
      { className: "bar" },
      make("h2", { textContent: info.title }),
      this.count,
      make(
        "div",
        { className: "tools" },
        ...[...this.selects, ...this.older].map(({ select }) => select),
        this.filter,
        ...folding
      )
    )
    const table = make("table", { className: info.kind }, make("thead", {}, this.head), this.body)
    const scroll = make("div", { className: "scroll" }, table)
    this.node = make(
      "div",
      { dataset: { section: info.id } },
      bar,
      ...(info.note ? [this.note] : []),
      scroll,
      this.more
    )
  }

  again() {
    if (this.last !== undefined) this.draw(this.last.section, this.last.now, this.last.role, this.last.there)
  }

  foldAll(folded) {
    for (const [key, children] of this.children ?? []) {
      if (key !== undefined && children.length > 0) this.folded.set(key, folded)
    }
    this.again()
  }

  /** Opens, unfolds and shows one row, or does so when it comes: an alert may be ahead of its row by some seconds. */
  reveal(key) {
    const rows = this.last?.section.rows
    this.awaited = rows?.has(key) === true ? undefined : { key, until: performance.now() + 6000 }
    if (this.awaited !== undefined) return
    this.query = this.filter.value = ""
    this.choices.clear()
    for (const { select } of [...this.selects, ...this.older]) select.value = ""
    for (let at = rows.get(key)?.parent; at !== undefined; at = rows.get(at)?.parent) this.folded.set(at, false)
    this.opened.add(key)
    this.limit = Math.max(this.limit, rows.size)
    this.again()
    const row = this.drawn.get(key)?.row
    row?.scrollIntoView({ block: "center" })
    row?.classList.add("found")
    row?.querySelector("button")?.focus()
  }

  draw(section, now, role, there) {
    this.last = { section, now, role, there }
    const { awaited } = this
    if (awaited !== undefined && section.rows.has(awaited.key)) {
      this.awaited = undefined
      if (performance.now() < awaited.until) return this.reveal(awaited.key)
    }
    const rows = [...section.rows.values()]
    this.offer(rows)
    const chosen = this.info.kind === "tree" ? this.forest(section.rows) : this.list(rows)
    const shown = chosen.slice(0, this.limit)
    const total = section.total
    const hidden = chosen.length - shown.length
    setText(
      this.count,
      this.isFiltering()
        ? `${this.matches} of ${total.toLocaleString("en")}`
        : total > rows.length
        ? `${rows.length.toLocaleString("en")} of ${total.toLocaleString("en")} are sent`
        : total.toLocaleString("en")
    )
    this.more.hidden = hidden <= 0
    setText(this.more, `${hidden} more are not drawn: show them`)
    for (const head of this.head.children) {
      const own = this.sort !== undefined && head.dataset.key === this.sort.key
      head.setAttribute("aria-sort", own ? (this.sort.descending ? "descending" : "ascending") : "none")
    }
    const next = new Map()
    const wanted = []
    for (const { depth, row } of shown) {
      const known = this.drawn.get(row.key) ?? this.make(row.key)
      this.fill(known, row, depth, now, role, there)
      next.set(row.key, known)
      wanted.push(known.row)
      if (this.opened.has(row.key) && row.detail !== undefined) {
        this.fillDetail(known, row)
        wanted.push(known.detail)
      }
    }
    this.drawn = next
    const width = this.info.columns.length + (this.actions.length > 0 ? 1 : 0)
    if (section.unavailable !== undefined) {
      wanted.unshift(
        make(
          "tr",
          { className: "bad" },
          make("td", { colSpan: width, textContent: `not to be had: ${section.unavailable}` })
        )
      )
    } else if (wanted.length === 0) {
      wanted.push(
        make(
          "tr",
          {},
          make("td", {
            className: "none",
            colSpan: width,
            textContent: rows.length === 0 ? this.info.empty ?? "none" : "nothing fits the filter"
          })
        )
      )
    }
    const same = wanted.length === this.body.rows.length && wanted.every((row, index) => this.body.rows[index] === row)
    if (!same) {
      const focused = document.activeElement
      this.body.replaceChildren(...wanted)
      if (focused !== document.activeElement && this.body.contains(focused)) focused.focus({ preventScroll: true })
    }
  }

  /** The values that there are, as choices. */
  offer(rows) {
    for (const one of this.selects) {
      const values = [...new Set(rows.map(({ cells }) => cells[one.column.key]).filter((value) => value))].sort()
      const text = values.join("\n")
      if (text === one.values) continue
      one.values = text
      const chosen = this.choices.get(one.column.key) ?? ""
      one.select.replaceChildren(
        make("option", { value: "", textContent: `any ${one.column.title}` }),
        ...values.map((value) => make("option", { value, textContent: value }))
      )
      one.select.value = chosen
    }
  }

  isFiltering() {
    return this.query !== "" ||
      [...this.choices.values(), ...this.older.map(({ select }) => select.value)].some(Boolean)
  }

  fits(row) {
    for (const [key, value] of this.choices) if (value !== "" && row.cells[key] !== value) return false
    for (const { column, select } of this.older) {
      if (select.value === "") continue
      const [, least, most] = ages[select.value]
      const age = this.last.now - (row.cells[column.key] ?? NaN)
      if (!(age >= least && age < most)) return false
    }
    if (this.query === "") return true
    const [, name, wanted] = /^([^:]+):(.+)$/.exec(this.query) ?? []
    const column = this.info.columns.find(({ key, title }) => key === name || title === name)
    if (column !== undefined) {
      const value = String(row.cells[column.key] ?? "").toLowerCase()
      // An id is the whole of it: #1 is not #12.
      return column.format === "code" ? value === wanted : value.includes(wanted)
    }
    for (const value of Object.values(row.cells)) {
      if (value !== null && String(value).toLowerCase().includes(this.query)) return true
    }
    return false
  }

  list(rows) {
    const fitting = rows.filter((row) => this.fits(row))
    this.matches = fitting.length
    if (this.sort !== undefined) {
      const { descending, key } = this.sort
      const sign = descending ? -1 : 1
      const order = (a, b) =>
        a === b
          ? 0
          : a === null || a === undefined || a === ""
          ? 1
          : b === null || b === undefined || b === ""
          ? -1
          : typeof a === "number" && typeof b === "number"
          ? (a - b) * sign
          : String(a).localeCompare(String(b)) * sign
      fitting.sort((a, b) => order(a.cells[key], b.cells[key]))
    } else fitting.sort(newest)
    return fitting.map((row) => ({ row, depth: 0 }))
  }

  forest(rows) {
    const children = new Map()
    for (const row of rows.values()) {
      const parent = rows.has(row.parent) ? row.parent : undefined
      const siblings = children.get(parent)
      if (siblings === undefined) children.set(parent, [row])
      else siblings.push(row)
    }
    this.children = children
    const searching = this.isFiltering()
    const wanted = new Set()
    this.matches = 0
    for (const row of rows.values()) {
      if (!this.fits(row)) continue
      this.matches++
      for (let at = row; at !== undefined && !wanted.has(at.key); at = rows.get(at.parent)) wanted.add(at.key)
    }
    const out = []
    const walk = (parent, depth) => {
      for (const row of children.get(parent) ?? []) {
        if (searching && !wanted.has(row.key)) continue
        out.push({ row, depth })
        if (searching || !this.isFolded(row.key)) walk(row.key, depth + 1)
      }
    }
    walk(undefined, 0)
    return out
  }

  isFolded(key) {
    return this.folded.get(key) ?? (this.children.get(key)?.length ?? 0) > crowd
  }

  make(key) {
    const open = make("button", { type: "button", className: "open" })
    open.addEventListener("click", () => this.toggle(key))
    open.addEventListener("keydown", (event) => {
      if (this.info.kind !== "tree" || (event.key !== "ArrowLeft" && event.key !== "ArrowRight")) return
      if ((this.children.get(key)?.length ?? 0) === 0) return
      event.preventDefault()
      this.folded.set(key, event.key === "ArrowLeft")
      this.again()
    })
    const fold = make("button", { type: "button", className: "fold", tabIndex: -1 })
    fold.addEventListener("click", () => {
      this.folded.set(key, !this.isFolded(key))
      this.again()
    })
    const row = make("tr", { dataset: { key } })
    return { row, open, fold, buttons: new Map(), detail: undefined, detailOf: undefined }
  }

  toggle(key) {
    const row = this.last.section.rows.get(key)
    if (row?.detail === undefined) {
      if (this.info.kind === "tree") this.folded.set(key, !this.isFolded(key))
    } else if (!this.opened.delete(key)) this.opened.add(key)
    this.again()
  }

  fill(known, row, depth, now, role, there) {
    const name = row.tone ?? ""
    if (known.row.className !== name && !known.row.classList.contains("found")) known.row.className = name
    const below = this.info.kind === "tree" ? this.children.get(row.key)?.length ?? 0 : 0
    this.info.columns.forEach((column, index) => {
      const text = String(cell(row.cells[column.key], column.format, now))
      let there = known.row.cells[index]
      if (there === undefined) {
        there = known.row.insertCell()
        there.className = [
          isNumber(column.format) ? "n" : "",
          column.format === "code" || column.format === "at" ? column.format : "",
          index === 0 ? "first" : ""
        ].join(" ").trim()
        there.dataset.title = column.title
        if (index === 0) there.append(known.fold, known.open)
      }
      if (index > 0) {
        there.title = text.length > 40 ? text : ""
        there.classList.toggle("short", text.length < 25)
        return setText(there, text)
      }
      there.dataset.depth = Math.min(depth, 12)
      setText(known.open, below > 0 && this.isFolded(row.key) && this.query === "" ? `${text} (${below})` : text)
      known.open.disabled = row.detail === undefined && below === 0
      known.open.setAttribute(
        "aria-expanded",
        row.detail === undefined ? String(below > 0 && !this.isFolded(row.key)) : String(this.opened.has(row.key))
      )
      known.fold.hidden = this.info.kind !== "tree"
      known.fold.disabled = below === 0
      setText(known.fold, below === 0 ? "·" : this.isFolded(row.key) ? "▸" : "▾")
      known.fold.setAttribute("aria-label", this.isFolded(row.key) ? "unfold" : "fold")
    })
    if (this.actions.length === 0) return
    const place = known.row.cells[this.info.columns.length] ?? known.row.insertCell()
    place.className = "acts"
    for (const action of this.actions) {
      let button = known.buttons.get(action.name)
      if (button === undefined) {
        button = make("button", { type: "button", className: "small", textContent: action.title.toLowerCase() })
        button.addEventListener("click", () => this.act(action, this.last.section.rows.get(row.key)))
        button.setAttribute("aria-label", `${action.title} ${row.cells[this.info.columns[0].key]}`)
        known.buttons.set(action.name, button)
        place.append(button)
      }
      button.hidden = role !== "operator" || !there.has(action.name) || (row.without ?? []).includes(action.name)
    }
  }

  fillDetail(known, row) {
    const text = JSON.stringify(row.detail)
    if (known.detailOf === text) return
    known.detailOf = text
    const list = make("dl", {})
    for (const [term, value] of Object.entries(row.detail)) {
      list.append(make("dt", { textContent: term }), make("dd", {}, make("pre", { textContent: value })))
    }
    known.detail ??= make("tr", { className: "detail" }, make("td", { colSpan: this.info.columns.length + 1 }))
    known.detail.cells[0].replaceChildren(list)
  }
}

/** Without an order of its own a table has the newest first, where there are times. */
const newest = (a, b) => (b.cells.at ?? Infinity) - (a.cells.at ?? Infinity) || 0
