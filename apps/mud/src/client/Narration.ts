/**
 * How events and replies read, for one reader. The page and the terminal client both use this module: it is plain
 * JavaScript at run time, with nothing imported, so that a browser can load it as it is.
 *
 * @since 0.1.0
 */
import type { Progress, Reply } from "../domain/Reply.js"
import type { Actor, RoomView, WorldEvent } from "../domain/WorldEvent.js"

/**
 * What a line is, so that a page or a terminal can dress it.
 *
 * @since 0.1.0
 * @category models
 */
export type Tone = "room" | "speech" | "whisper" | "act" | "move" | "world" | "notice" | "reply" | "error" | "typed"

/**
 * @since 0.1.0
 * @category models
 */
export interface Line {
  readonly tone: Tone
  /** A heading, such as the name of a room. */
  readonly title?: string
  readonly text: string
  /** Smaller lines below. */
  readonly notes?: ReadonlyArray<string>
  /** The ways out in words, for who does not see them elsewhere. */
  readonly ways?: string
  /** Two columns: what can be typed, and what that does. */
  readonly rows?: ReadonlyArray<{ readonly command: string; readonly label: string; readonly text: string }>
  /** Lines that could be typed next. */
  readonly offers?: ReadonlyArray<string>
  /** Words of the text and the notes that name something here. */
  readonly links?: ReadonlyArray<Link>
  /** The reader did it. */
  readonly own?: boolean
}

/**
 * A name in a text, and what it is the name of.
 *
 * @since 0.1.0
 * @category models
 */
export interface Link {
  readonly text: string
  readonly kind: "feature" | "thing" | "player" | "character"
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

const closed = (text: string): string => /[.!?…"']$/.test(text) ? text : `${text}.`

const article = (name: string): string => `the ${name}`

/**
 * Names in a row: `a`, `a and b`, `a, b and c`.
 *
 * @since 0.1.0
 * @category words
 */
export const list = (names: ReadonlyArray<string>): string =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`

const toward = (direction: string | undefined): string =>
  direction === undefined
    ? ""
    : direction === "up" || direction === "down"
    ? ` ${direction}`
    : direction === "in"
    ? " inside"
    : direction === "out"
    ? " outside"
    : ` ${direction}`

const from = (direction: string | undefined): string =>
  direction === undefined
    ? ""
    : direction === "up"
    ? " from above"
    : direction === "down"
    ? " from below"
    : direction === "in"
    ? " from inside"
    : direction === "out"
    ? " from outside"
    : ` from the ${direction}`

const withArticle = (name: string): string => `a ${name}`.replace(/^a (?=[aeiou])/, "an ")

const crowd = (view: RoomView): string => {
  const names = view.people.map(({ name }) => name)
  const { others = 0 } = view
  const all = others === 0 ? names : [...names, others === 1 ? "one other" : `${others} others`]
  return `Here ${all.length === 1 && others < 2 ? "is" : "are"} ${list(all)}.`
}

/**
 * The ways out of a room, in words.
 *
 * @since 0.1.0
 * @category words
 */
export const ways = (exits: RoomView["exits"]): string =>
  exits.length === 0
    ? "There is no way out."
    : `Ways: ${exits.map(({ direction, name }) => `${direction} (${name.replace(/^The /, "the ")})`).join(", ")}.`

/**
 * A room as a line with a title.
 *
 * @since 0.1.0
 * @category rendering
 */
export const room = (view: RoomView): Line => ({
  tone: "room",
  title: view.name,
  text: view.description,
  notes: [
    ...(view.things.length === 0 ? [] : [`Here lies ${list(view.things.map(({ name }) => withArticle(name)))}.`]),
    ...(view.people.length === 0 && view.others === undefined ? [] : [crowd(view)])
  ],
  ways: ways(view.exits),
  links: [
    ...(view.features ?? []).map((text): Link => ({ text, kind: "feature" })),
    ...view.things.map(({ name }): Link => ({ text: name, kind: "thing" })),
    ...view.people.map(({ kind, name }): Link => ({ text: name, kind }))
  ]
})

const says = (actor: Actor, text: string, own: boolean): Line => ({
  tone: "speech",
  text: `${own ? "You say" : `${capital(actor.name)} says`}: “${text}”`,
  own,
  ...(own ? {} : { links: [{ text: capital(actor.name), kind: actor.kind }] })
})

/**
 * The line that an event is for a reader; `undefined` when there is nothing to read in it.
 *
 * @since 0.1.0
 * @category rendering
 */
export const event = (happened: WorldEvent, reader: string): Line | undefined => {
  const own = "actor" in happened && happened.actor.id === reader
  const name = "actor" in happened ? capital(happened.actor.name) : ""
  const links: ReadonlyArray<Link> = "actor" in happened && !own ? [{ text: name, kind: happened.actor.kind }] : []
  const move = (text: string): Line => ({ tone: "move", text, own, links })
  switch (happened._tag) {
    case "Joined":
      return own ? undefined : move(`${name} steps ashore, new to the island.`)
    case "Woke":
      return own ? { tone: "notice", text: "You wake where you fell asleep.", own } : move(`${name} wakes and sits up.`)
    case "Slept":
      switch (happened.reason) {
        case "left":
          return own
            ? { tone: "notice", text: "You lie down and fall asleep. Come back whenever you like.", own }
            : move(`${name} lies down and falls asleep.`)
        case "idle":
          return own
            ? { tone: "notice", text: "You have been quiet for so long that you fell asleep.", own }
            : move(`${name} nods off.`)
        case "lost":
          return own
            ? { tone: "notice", text: "You were away for a while, and slept.", own }
            : move(`${name} grows still, and sleeps.`)
        case "kicked":
          return own
            ? { tone: "notice", text: "An operator has ended your session.", own }
            : move(`${name} is carried off to bed.`)
      }
    case "Forgotten":
      return move(`Of ${name} only the memory is left.`)
    case "Departed":
      return own ? undefined : move(`${name} leaves${toward(happened.direction)}.`)
    case "Arrived":
      return own ? undefined : move(`${name} arrives${from(happened.direction)}.`)
    case "Saw":
      return happened.moved ? room(happened.view) : undefined
    case "Changed":
      return undefined
    case "Reached":
      return happened.text === undefined ? undefined : { tone: "notice", text: happened.text }
    case "Said":
      return says(happened.actor, happened.text, own)
    case "Emoted":
      return { tone: "act", text: closed(`${name} ${happened.text}`), own, links }
    case "Whispered":
      return happened.from.id === reader
        ? { tone: "whisper", text: `You whisper to ${happened.to.name}: “${happened.text}”`, own: true }
        : {
          tone: "whisper",
          text: `${happened.from.name} whispers to you: “${happened.text}”`,
          links: [{ text: happened.from.name, kind: "player" }]
        }
    case "Took":
      return { tone: "act", text: `${own ? "You take" : `${name} takes`} ${article(happened.thing.name)}.`, own, links }
    case "Dropped":
      return {
        tone: "act",
        text: `${own ? "You put down" : `${name} puts down`} ${article(happened.thing.name)}.`,
        own,
        links: [...links, { text: happened.thing.name, kind: "thing" }]
      }
    case "Used":
      return { tone: "act", text: own ? happened.you : `${name} ${happened.others}`, own, links }
    case "Ticked":
    case "Led":
      return undefined
    case "PhaseBegan":
    case "WeatherTurned":
    case "Renewed":
    case "Reshaped":
      return { tone: "world", text: happened.text }
    case "Announced":
      return { tone: "notice", text: `${happened.by} announces: ${happened.text}` }
  }
}

/** What stands between backticks can be typed: a page makes a button of it, here it is in quotes. */
const quoted = (text: string): string => text.replace(/`([^`]*)`/g, "“$1”")

/**
 * What could be done next, as a line.
 *
 * @since 0.1.0
 * @category rendering
 */
export const hint = (text: string): Line => ({ tone: "notice", text: `What next: ${quoted(text)}` })

/**
 * The line that a reply is; `undefined` when the events say it all.
 *
 * @since 0.1.0
 * @category rendering
 */
export const reply = (answered: Reply): Line | undefined => {
  switch (answered._tag) {
    case "Done":
      return undefined
    case "Room":
      return room(answered.view)
    case "Text":
      return { tone: "reply", text: answered.text }
    case "Sleeping":
      // The event says it.
      return undefined
    case "Exits":
      return { tone: "reply", text: ways(answered.exits) }
    case "Goal":
      return {
        tone: "reply",
        text: answered.hint === undefined
          ? "Nobody tells you what to do next. The island does not mind."
          : quoted(answered.hint),
        notes: [found(answered.progress)]
      }
    case "Map":
      return {
        tone: "reply",
        text: found(answered.progress),
        notes: answered.rooms.filter(({ unseen }) => unseen === undefined).map(({ id, name }) =>
          id === answered.here ? `${name} (you are here)` : name
        )
      }
    case "Carrying":
      return {
        tone: "reply",
        text: answered.things.length === 0 ? "You carry nothing." : "You carry:",
        notes: answered.things.map(({ name }) => name),
        links: answered.things.map(({ name }): Link => ({ text: name, kind: "thing" }))
      }
    case "Awake":
      return {
        tone: "reply",
        text: answered.players.length === 1 ? "You are the only one awake." : `${answered.players.length} are awake:`,
        notes: answered.players.map(({ name, room: where, you }) => `${name}${you ? " (you)" : ""}, ${where}`),
        links: answered.players.filter(({ you }) => !you).map(({ name }): Link => ({ text: name, kind: "player" }))
      }
    case "Clock":
      return { tone: "reply", text: `It is ${answered.clock}. ${answered.text}` }
    case "Usages":
      return {
        tone: "reply",
        text: "What you can do; any word can be shortened:",
        rows: answered.commands.map(({ does, example, usage }) => ({ command: example, label: usage, text: does }))
      }
  }
}

const found = ({ allRooms, allSecrets, rooms, secrets }: Progress): string =>
  `You have been in ${rooms} of ${allRooms} places${
    allSecrets === 0 ? "" : `, and know ${secrets} of ${allSecrets} secrets`
  }.`

/**
 * The line that a refusal is: what happened, what was expected, and what could be typed instead.
 *
 * @since 0.1.0
 * @category rendering
 */
export const refusal = (
  error: {
    readonly message?: string | undefined
    readonly expected?: string | undefined
    readonly suggestion?: string | undefined
    readonly offers?: ReadonlyArray<string> | undefined
  }
): Line => ({
  tone: "error",
  text: `${error.message ?? "That did not work."}${
    error.suggestion === undefined ? "" : ` Did you mean “${error.suggestion}”?`
  }`,
  // What is offered says better what was expected, and some messages say it themselves.
  ...(error.expected === undefined || error.offers !== undefined || error.message?.includes(error.expected) === true
    ? {}
    : { notes: [`Expected: ${error.expected}.`] }),
  ...(error.offers === undefined ? {} : { offers: error.offers })
})

/**
 * What a client shows around the log: the room it is in, and the hour. `undefined` until the first event that tells.
 *
 * @since 0.1.0
 * @category models
 */
export type Scene = RoomView | undefined

const without = <A extends { readonly id: string }>(all: ReadonlyArray<A>, id: string) =>
  all.filter((one) => one.id !== id)

const withOthers = (view: RoomView, people: RoomView["people"], others: number): RoomView => {
  const { others: _, ...rest } = view
  return { ...rest, people, ...(others > 0 ? { others } : {}) }
}

/** Players that are named beside the scene: the last who came, as the server names them. */
const named = 8

const come = (view: RoomView, actor: Actor): RoomView => {
  const people = [...without(view.people, actor.id), actor]
  const players = people.filter(({ kind }) => kind === "player")
  return players.length <= named
    ? withOthers(view, people, view.others ?? 0)
    : withOthers(view, without(people, players[0].id), (view.others ?? 0) + 1)
}

const gone = (view: RoomView, actor: Actor): RoomView =>
  view.people.some(({ id }) => id === actor.id)
    ? withOthers(view, without(view.people, actor.id), view.others ?? 0)
    : withOthers(view, view.people, (view.others ?? 0) - 1)

/** A room that looks different: who is there is not said again, except where it was dark. */
const changed = (now: RoomView, view: RoomView, reader: string): RoomView => {
  if (view.dark) return view
  if (view.people.length === 0) return withOthers(view, now.people, now.others ?? 0)
  const others = without(view.people, reader)
  return withOthers(view, others, (view.others ?? 0) - (others.length < view.people.length ? 0 : 1))
}

/**
 * The scene after an event.
 *
 * @since 0.1.0
 * @category scenes
 */
export const scene = (now: Scene, happened: WorldEvent, reader: string): Scene => {
  if (happened._tag === "Saw") return happened.view
  if (now === undefined) return now
  if (happened._tag === "Ticked") return { ...now, clock: happened.clock, phase: happened.phase }
  if (happened._tag === "WeatherTurned") return { ...now, weather: happened.weather }
  if (!("room" in happened) || happened.room !== now.id) return now
  if (happened._tag === "Changed") return changed(now, happened.view, reader)
  if (now.dark) return now
  switch (happened._tag) {
    case "Joined":
    case "Woke":
    case "Arrived":
      return happened.actor.id === reader ? now : come(now, happened.actor)
    case "Slept":
    case "Departed":
    case "Forgotten":
      return happened.actor.id === reader ? now : gone(now, happened.actor)
    case "Took":
      return { ...now, things: without(now.things, happened.thing.id) }
    case "Dropped":
      return { ...now, things: [...without(now.things, happened.thing.id), happened.thing] }
    default:
      return now
  }
}
