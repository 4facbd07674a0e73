/**
 * How events and replies read, for one reader. The page and the terminal client both use this module: it is plain
 * JavaScript at run time, with nothing imported, so that a browser can load it as it is.
 *
 * @since 0.1.0
 */
import type { Reply } from "../domain/Reply.js"
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
  /** The reader did it. */
  readonly own?: boolean
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
    ...(view.things.length === 0
      ? []
      : [`Here lies ${list(view.things.map(({ name }) => `a ${name}`.replace(/^a (?=[aeiou])/, "an ")))}.`]),
    ...(view.people.length === 0
      ? []
      : [`Here ${view.people.length === 1 ? "is" : "are"} ${list(view.people.map(({ name }) => name))}.`]),
    view.exits.length === 0
      ? "There is no way out."
      : `Ways: ${
        view.exits.map(({ direction, name }) => `${direction} (${name.replace(/^The /, "the ")})`).join(", ")
      }.`
  ]
})

const says = (actor: Actor, text: string, own: boolean): Line => ({
  tone: "speech",
  text: `${own ? "You say" : `${capital(actor.name)} says`}: “${text}”`,
  own
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
  const move = (text: string): Line => ({ tone: "move", text, own })
  switch (happened._tag) {
    case "Joined":
      return own ? undefined : move(`${name} steps ashore, new to the island.`)
    case "Woke":
      return own ? { tone: "notice", text: "You wake where you fell asleep.", own } : move(`${name} wakes and sits up.`)
    case "Slept":
      switch (happened.reason) {
        case "left":
          return own ? { tone: "notice", text: "You fall asleep.", own } : move(`${name} lies down and falls asleep.`)
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
    // fallthrough is not possible: every reason returns
    case "Forgotten":
      return move(`Of ${name}, who slept here so long, only the memory is left.`)
    case "Departed":
      return own ? undefined : move(`${name} leaves${toward(happened.direction)}.`)
    case "Arrived":
      return own ? undefined : move(`${name} arrives${from(happened.direction)}.`)
    case "Saw":
      return happened.moved ? room(happened.view) : undefined
    case "Said":
      return says(happened.actor, happened.text, own)
    case "Emoted":
      return { tone: "act", text: closed(`${name} ${happened.text}`), own }
    case "Whispered":
      return happened.from.id === reader
        ? { tone: "whisper", text: `You whisper to ${happened.to.name}: “${happened.text}”`, own: true }
        : { tone: "whisper", text: `${happened.from.name} whispers to you: “${happened.text}”` }
    case "Took":
      return { tone: "act", text: `${own ? "You take" : `${name} takes`} ${article(happened.thing.name)}.`, own }
    case "Dropped":
      return {
        tone: "act",
        text: `${own ? "You put down" : `${name} puts down`} ${article(happened.thing.name)}.`,
        own
      }
    case "Used":
      return { tone: "act", text: own ? happened.you : `${name} ${happened.others}`, own }
    case "Ticked":
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
      return { tone: "notice", text: answered.text }
    case "Carrying":
      return {
        tone: "reply",
        text: answered.things.length === 0 ? "You carry nothing." : "You carry:",
        notes: answered.things.map(({ name }) => name)
      }
    case "Awake":
      return {
        tone: "reply",
        text: answered.players.length === 1 ? "You are the only one awake." : `${answered.players.length} are awake:`,
        notes: answered.players.map(({ name, room: where, you }) => `${name}${you ? " (you)" : ""}, ${where}`)
      }
    case "Clock":
      return { tone: "reply", text: `It is ${answered.clock}. ${answered.text}` }
    case "Usages":
      return {
        tone: "reply",
        text: "What you can do, and any word can be shortened:",
        notes: answered.commands.map(({ does, usage }) => `${usage}: ${does}`)
      }
  }
}

/**
 * The line that a refusal is.
 *
 * @since 0.1.0
 * @category rendering
 */
export const refusal = (
  error: { readonly message?: string | undefined; readonly suggestion?: string | undefined }
): Line => ({
  tone: "error",
  text: `${error.message ?? "That did not work."}${
    error.suggestion === undefined ? "" : ` Did you mean “${error.suggestion}”?`
  }`
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
  if (!("room" in happened) || happened.room !== now.id || now.dark) return now
  const others = happened.actor.id === reader ? now.people : without(now.people, happened.actor.id)
  switch (happened._tag) {
    case "Joined":
    case "Woke":
    case "Arrived":
      return happened.actor.id === reader ? now : { ...now, people: [...others, happened.actor] }
    case "Slept":
    case "Departed":
    case "Forgotten":
      return { ...now, people: others }
    case "Took":
      return { ...now, things: without(now.things, happened.thing.id) }
    case "Dropped":
      return { ...now, things: [...without(now.things, happened.thing.id), happened.thing] }
    default:
      return now
  }
}
