/**
 * The rules of the world: what a command leads to, as events and a reply, or why it is refused. Pure; nothing happens
 * until the events are published and folded into the state.
 *
 * @since 0.1.0
 */
import { Either, HashMap } from "effect"
import { clockOf, type Direction, minuteOfDay, phaseAt, type Use, type WorldData } from "../data/WorldData.js"
import { type Command, usageOf, usages, verbNames } from "./Command.js"
import { answer, changed, type Decided, done, foresee, text, walk } from "./Consequence.js"
import { sleep } from "./Joining.js"
import { clean, find, fold, type Named, suggest } from "./PlayerText.js"
import * as Quest from "./Quest.js"
import {
  Asleep,
  NoExit,
  NoSuchPlayer,
  NotAllowed,
  NotHeld,
  NotHere,
  NotPossible,
  type Refusal,
  TooLong,
  UnknownCommand
} from "./Refusal.js"
import type { RoomMap } from "./Reply.js"
import { view } from "./View.js"
import {
  actorOf,
  awake,
  characterRoom,
  describe,
  holdings,
  holds,
  isLit,
  knownExits,
  lying,
  people,
  type Player,
  playerById,
  weatherOf,
  type World
} from "./World.js"
import type { Actor, WorldEvent } from "./WorldEvent.js"

/**
 * The longest text that is said, whispered or emoted, in characters.
 *
 * @since 0.1.0
 * @category limits
 */
export const textLimit = 400

/**
 * The most things that one player can carry.
 *
 * @since 0.1.0
 * @category limits
 */
export const carryLimit = 8

const suggestion = (typed: string, candidates: Iterable<string>) => {
  const meant = suggest(typed, candidates)
  return meant === undefined ? {} : { suggestion: meant }
}

const go = (data: WorldData, world: World, actor: Actor, room: string, direction: Direction): Decided => {
  const exits = knownExits(data, world, room, actor.id)
  const exit = exits.find((candidate) => candidate.direction === direction)
  if (exit === undefined) {
    const ways = exits.map((candidate) => candidate.direction)
    return Either.left(
      new NoExit({
        field: "direction",
        message: `There is no way ${direction} from here.`,
        expected: ways.length === 0 ? "a direction; there is no way out" : `one of ${ways.join(", ")}`
      })
    )
  }
  if (!exit.open) {
    return Either.left(
      new NoExit({ field: "direction", message: exit.closed ?? "It is closed.", expected: "a way that is open" })
    )
  }
  return done(...walk(data, world, actor, room, exit.to, direction))
}

const spoken = (field: string, words: string): Either.Either<string, Refusal> => {
  const said = clean(words)
  return said.length > textLimit
    ? Either.left(
      new TooLong({
        field,
        message: `That is too much at once: ${said.length} characters.`,
        expected: `at most ${textLimit} characters`
      })
    )
    : said === ""
    ? Either.left(new TooLong({ field, message: "There is nothing to be heard in that.", expected: "some words" }))
    : Either.right(said)
}

/** Everything in a room that can be named, in the order in which it is meant. */
const around = (data: WorldData, world: World, room: string, who: string) => {
  const lit = isLit(data, world, room)
  const things = [...holdings(data, world, who), ...(lit ? lying(data, world, room) : [])]
    .map((id) => ({ kind: "thing" as const, id, ...data.things[id] }))
  if (!lit) return things
  return [
    ...things,
    ...Object.entries(data.rooms[room].features).map(([id, feature]) => ({ kind: "feature" as const, id, ...feature })),
    ...people(data, world, room).map((person) =>
      person.kind === "character"
        ? {
          kind: "person" as const,
          id: person.id,
          name: person.name,
          aliases: data.characters[person.id].aliases,
          description: data.characters[person.id].description,
          details: [],
          use: []
        }
        : {
          kind: "person" as const,
          id: person.id,
          name: person.name,
          aliases: [],
          description: person.id === who
            ? "You look much as you did this morning."
            : `${person.name} looks back at you.`,
          details: [],
          use: []
        }
    )
  ]
}

const notHere = (field: string, typed: string, candidates: ReadonlyArray<Named>): Decided =>
  Either.left(
    new NotHere({
      field,
      message: `You see no "${clean(typed).slice(0, 40)}" here.`,
      expected: "something that is here or that you carry",
      ...suggestion(typed, candidates.map(({ name }) => name))
    })
  )

const look = (data: WorldData, world: World, player: Player, target: string | undefined): Decided => {
  if (target === undefined || fold(target) === "here") {
    return answer({ _tag: "Room", view: view(data, world, player) })
  }
  const all = around(data, world, player.room, player.id)
  const found = ["me", "self", "myself"].includes(fold(target))
    ? all.find(({ id }) => id === player.id)
    : find(target, all)
  if (found !== undefined) return text(describe(data, world, found, player.id))
  if (!isLit(data, world, player.room)) {
    return Either.left(
      new NotHere({ field: "target", message: "It is too dark to see that.", expected: "a light, or what you carry" })
    )
  }
  return notHere("target", target, all)
}

const take = (data: WorldData, world: World, player: Player, typed: string): Decided => {
  const carried = holdings(data, world, player.id)
  const things = (isLit(data, world, player.room) ? lying(data, world, player.room) : [])
    .map((id) => ({ id, ...data.things[id] }))
  const found = find(typed, things)
  if (found === undefined) {
    const other = find(typed, around(data, world, player.room, player.id))
    if (other === undefined) return notHere("thing", typed, things)
    return Either.left(
      new NotPossible({
        field: "thing",
        message: other.kind === "thing"
          ? `You already have the ${other.name}.`
          : other.kind === "person"
          ? `${other.name} is not yours to take.`
          : `The ${other.name} stays where it is.`,
        expected: things.length === 0
          ? "something that lies here"
          : `one of ${things.map(({ name }) => name).join(", ")}`
      })
    )
  }
  if (carried.length >= carryLimit) {
    return Either.left(
      new NotPossible({
        field: "thing",
        message: "Your hands and pockets are full.",
        expected: "to drop something first"
      })
    )
  }
  return done({ _tag: "Took", actor: actorOf(player), room: player.room, thing: { id: found.id, name: found.name } })
}

const held = (data: WorldData, world: World, player: Player) =>
  holdings(data, world, player.id).map((id) => ({ id, ...data.things[id] }))

const drop = (data: WorldData, world: World, player: Player, typed: string): Decided => {
  const mine = held(data, world, player)
  const found = find(typed, mine)
  if (found !== undefined) {
    return done({
      _tag: "Dropped",
      actor: actorOf(player),
      room: player.room,
      thing: { id: found.id, name: found.name }
    })
  }
  return Either.left(
    new NotHeld({
      field: "thing",
      message: `You do not carry "${clean(typed).slice(0, 40)}".`,
      expected: mine.length === 0 ? "something that you carry" : `one of ${mine.map(({ name }) => name).join(", ")}`,
      ...suggestion(typed, mine.map(({ name }) => name))
    })
  )
}

const use = (data: WorldData, world: World, player: Player, typed: string, on: string | undefined): Decided => {
  const all = around(data, world, player.room, player.id)
  const tool = find(typed, all)
  if (tool === undefined) return notHere("thing", typed, all)
  const target = on === undefined ? undefined : find(on, all)
  if (on !== undefined && target === undefined) return notHere("on", on, all)
  const fits = (candidate: Use, other: string | undefined) =>
    candidate.on === other && (candidate.where === undefined || candidate.where.includes(player.room))
  const candidates = [
    ...tool.use.filter((candidate) => fits(candidate, target?.id)),
    // `use chest with key` means the same as `use key on chest`.
    ...(target === undefined ? [] : target.use.filter((candidate) => fits(candidate, tool.id)))
  ]
  const chosen = candidates.find((candidate) => holds(data, world, candidate.when, player.id))
  if (chosen === undefined) {
    const needs = target === undefined && tool.use.some((candidate) => candidate.on !== undefined)
    return Either.left(
      new NotPossible({
        field: target === undefined ? "thing" : "on",
        message: candidates.length > 0
          ? `Nothing happens. Perhaps another time.`
          : needs
          ? `Use the ${tool.name} on what?`
          : "Nothing happens.",
        expected: needs ? `use ${tool.name} on something` : "something that can be used here and now"
      })
    )
  }
  const actor = actorOf(player)
  const used: WorldEvent = {
    _tag: "Used",
    actor,
    room: player.room,
    thing: tool.name,
    you: chosen.you,
    others: chosen.others,
    set: chosen.set,
    clear: chosen.clear,
    reveal: chosen.reveal,
    give: chosen.give,
    consume: chosen.consume
  }
  const after = foresee(world, [used])
  if (chosen.moveTo !== undefined) {
    return done(used, ...walk(data, after, actor, player.room, chosen.moveTo))
  }
  const changes = chosen.set.length + chosen.clear.length + chosen.reveal.length > 0
  return done(used, ...(changes ? changed(data, after, player.room) : []))
}

const whisper = (world: World, player: Player, name: string, words: string): Decided => {
  const all = awake(world)
  const to = find(name, all)
  if (to === undefined) {
    return Either.left(
      new NoSuchPlayer({
        field: "to",
        message: `Nobody called "${clean(name).slice(0, 40)}" is awake.`,
        expected: "the name of a player who is awake; who lists them",
        ...suggestion(name, all.map((other) => other.name))
      })
    )
  }
  if (to.id === player.id) {
    return Either.left(
      new NotPossible({ field: "to", message: "You mutter to yourself. Nobody listens.", expected: "somebody else" })
    )
  }
  const from = actorOf(player)
  return Either.map(spoken("text", words), (said) => ({
    events: [to.id, player.id].map((reader) => ({ _tag: "Whispered", from, to: actorOf(to), reader, text: said })),
    reply: { _tag: "Done" }
  }))
}

const help = (admin: boolean, topic: string | undefined): Decided => {
  if (topic === undefined) return answer({ _tag: "Usages", commands: usages({ admin }) })
  const usage = usageOf(topic)
  if (usage !== undefined) {
    const others = usage.names.slice(1)
    return text(`${usage.usage}: ${usage.does}.${others.length === 0 ? "" : ` Also: ${others.join(", ")}.`}`)
  }
  return Either.left(
    new UnknownCommand({
      field: "topic",
      message: `There is no help on "${clean(topic).slice(0, 40)}".`,
      expected: "the name of a command",
      ...suggestion(topic, verbNames)
    })
  )
}

/**
 * What a player knows of the map: where it has been, and what is next door.
 *
 * @since 0.1.0
 * @category questions
 */
export const mapOf = (data: WorldData, world: World, player: Player): RoomMap => {
  const seen = player.seen.filter((id) => data.rooms[id]?.at !== undefined)
  const doors = seen.flatMap((id) =>
    knownExits(data, world, id, player.id).filter(({ to }) => data.rooms[to].at !== undefined)
      .map(({ to }): readonly [string, string] => [id, to])
  )
  // A secret is not given away by the way that leads to it.
  const ways = doors.filter(([, to]) => seen.includes(to) || !data.rooms[to].secret)
  const ids = new Set([...seen, ...ways.map(([, to]) => to)])
  return {
    _tag: "Map",
    here: player.room,
    rooms: [...ids].map((id) => {
      const { at, name, secret } = data.rooms[id]
      return {
        id,
        name: seen.includes(id) ? name : "",
        x: at![0],
        y: at![1],
        ...(seen.includes(id) ? {} : { unseen: true }),
        ...(secret ? { secret } : {})
      }
    }),
    // Each way once, whichever side it is known from.
    ways: ways.filter(([from, to], index) =>
      !ways.slice(0, index).some(([a, b]) => (a === from && b === to) || (a === to && b === from))
    ),
    progress: Quest.progress(data, player)
  }
}

/**
 * Decides what a player's command leads to.
 *
 * @since 0.1.0
 * @category deciding
 */
export const decide = (
  data: WorldData,
  world: World,
  who: { readonly id: string; readonly admin: boolean },
  command: Command
): Decided =>
  Either.map(obey(data, world, who, command), ({ events, reply }) => ({
    events: [...events, ...Quest.advance(data, world, who.id, events)],
    reply
  }))

const obey = (
  data: WorldData,
  world: World,
  who: { readonly id: string; readonly admin: boolean },
  command: Command
): Decided => {
  const player = playerById(world, who.id)
  if (player === undefined || player.asleep !== undefined) {
    return Either.left(
      new Asleep({
        field: "token",
        message: "You are asleep. Join again to wake up.",
        expected: "a player who is awake"
      })
    )
  }
  const actor = actorOf(player)
  const { room } = player
  const operator = (run: () => Decided): Decided =>
    who.admin ? run() : Either.left(
      new NotAllowed({
        field: "line",
        message: "Only an operator can do that.",
        expected: "to have joined with the operator's token"
      })
    )
  switch (command._tag) {
    case "Look":
      return look(data, world, player, command.target)
    case "Go":
      return go(data, world, actor, room, command.direction)
    case "Say":
      return Either.map(spoken("text", command.text), (said) => ({
        events: [{ _tag: "Said", actor, room, text: said }],
        reply: { _tag: "Done" }
      }))
    case "Emote":
      return Either.map(spoken("text", command.text), (said) => ({
        events: [{ _tag: "Emoted", actor, room, text: said }],
        reply: { _tag: "Done" }
      }))
    case "Whisper":
      return whisper(world, player, command.to, command.text)
    case "Who":
      return answer({
        _tag: "Awake",
        players: awake(world).map(({ id, name, room: where }) => ({
          name,
          room: data.rooms[where].name,
          you: id === player.id
        })).sort((a, b) => a.name.localeCompare(b.name, "en"))
      })
    case "Inventory":
      return answer({ _tag: "Carrying", things: held(data, world, player).map(({ id, name }) => ({ id, name })) })
    case "Take":
      return take(data, world, player, command.thing)
    case "Drop":
      return drop(data, world, player, command.thing)
    case "Use":
      return use(data, world, player, command.thing, command.on)
    case "Exits": {
      const { exits } = view(data, world, player)
      return answer({ _tag: "Exits", exits })
    }
    case "Map":
      return answer(mapOf(data, world, player))
    case "Goal": {
      const step = Quest.current(data, player)
      return answer({
        _tag: "Goal",
        ...(step === undefined ? {} : { hint: step.hint }),
        progress: Quest.progress(data, player)
      })
    }
    case "Time": {
      const phase = phaseAt(data.realm, world.minute)
      const sky = `${data.realm.phases[phase].outdoors} ${data.realm.weather[weatherOf(data, world)].outdoors}`
      return answer({ _tag: "Clock", clock: clockOf(world.minute), phase, text: sky })
    }
    case "Help":
      return help(who.admin, command.topic)
    case "Quit":
      return Either.right({
        events: [{ _tag: "Slept", actor, room, reason: "left" }],
        reply: { _tag: "Sleeping", text: "You lie down and fall asleep. Come back whenever you like." }
      })
    case "Announce":
      return operator(() =>
        Either.map(spoken("text", command.text), (said) => ({
          events: [{ _tag: "Announced", by: player.name, text: said }],
          reply: { _tag: "Done" }
        }))
      )
    case "Kick":
      return operator(() => {
        const target = find(command.name, awake(world))
        if (target !== undefined) {
          return done(...sleep(world, target.id, "kicked"))
        }
        return Either.left(
          new NoSuchPlayer({
            field: "name",
            message: `Nobody called "${clean(command.name).slice(0, 40)}" is awake.`,
            expected: "the name of a player who is awake; who lists them",
            ...suggestion(command.name, awake(world).map(({ name }) => name))
          })
        )
      })
    case "Shutdown":
      return operator(() =>
        done({ _tag: "Announced", by: player.name, text: "The world is going to sleep. It will remember you." })
      )
  }
}

/**
 * What a character does: it walks, speaks or does something. Nothing, when it cannot.
 *
 * @since 0.1.0
 * @category deciding
 */
export const decideCharacter = (
  data: WorldData,
  world: World,
  id: string,
  command: Extract<Command, { _tag: "Go" | "Say" | "Emote" }>
): ReadonlyArray<WorldEvent> => {
  if (!Object.hasOwn(data.characters, id)) return []
  const actor: Actor = { id, name: data.characters[id].name, kind: "character" }
  const room = characterRoom(data, world, id)
  if (command._tag === "Go") {
    const decided = go(data, world, actor, room, command.direction)
    return Either.isRight(decided) ? decided.right.events : []
  }
  const words = spoken("text", command.text)
  if (Either.isLeft(words)) return []
  return [{ _tag: command._tag === "Say" ? "Said" : "Emoted", actor, room, text: words.right }]
}

/**
 * A world minute passes. `chance` is a number from 0 to 1 that chooses the weather.
 *
 * @since 0.1.0
 * @category time
 */
export const tick = (data: WorldData, world: World, chance: number): ReadonlyArray<WorldEvent> => {
  const { realm } = data
  const minute = world.minute + 1
  const phase = phaseAt(realm, minute)
  const events: Array<WorldEvent> = [{ _tag: "Ticked", minute, clock: clockOf(minute), phase }]
  if (minuteOfDay(realm.phases[phase].from) === minute % 1440) {
    events.push({ _tag: "PhaseBegan", phase, text: realm.phases[phase].begins })
    if (phase === "dawn") events.push({ _tag: "Renewed", text: realm.renewed })
  }
  if (minute % realm.weatherEvery === 0) {
    const now = weatherOf(data, world)
    const next = Object.entries(realm.weather[now].next)
    let left = chance * next.reduce((sum, [, weight]) => sum + weight, 0)
    const turned = next.find(([, weight]) => (left -= weight) < 0)?.[0] ?? now
    if (turned !== now) events.push({ _tag: "WeatherTurned", weather: turned, text: realm.weather[turned].begins })
  }
  return events
}

/**
 * The data was read anew: players whose room is gone are taken to the start, the others stay where they are and see the
 * room as it is now.
 *
 * @since 0.1.0
 * @category time
 */
export const reload = (data: WorldData, world: World): ReadonlyArray<WorldEvent> => {
  const events: Array<WorldEvent> = [{
    _tag: "Reshaped",
    rooms: Object.keys(data.rooms).length,
    text: "The world shivers, as if somebody had turned a page, and holds still again."
  }]
  for (const player of HashMap.values(world.players)) {
    if (Object.hasOwn(data.rooms, player.room)) continue
    events.push(...walk(data, foresee(world, events), actorOf(player), player.room, data.realm.start))
  }
  const after = foresee(world, events)
  return [...events, ...Object.keys(data.rooms).flatMap((room) => changed(data, after, room))]
}
