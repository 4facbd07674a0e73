import { assert, describe, it } from "@effect/vitest"
import { Either } from "effect"
import * as fc from "fast-check"
import { Direction } from "../src/data/WorldData.js"
import * as Command from "../src/domain/Command.js"
import * as Names from "../src/domain/Names.js"
import { clean, distance, find, suggest } from "../src/domain/PlayerText.js"

const parsed = (line: string) => {
  const result = Command.parse(line)
  return Either.isRight(result) ? result.right : result.left._tag
}

describe("Command.parse", () => {
  it("knows the forms that people use", () => {
    assert.deepStrictEqual(
      [
        "l",
        "look at the post",
        "n",
        "NE",
        "go nor",
        "u",
        "'hello  there",
        "\"hello\"",
        ":waves",
        "say hi",
        "i",
        "get lamp"
      ]
        .map(parsed),
      [
        { _tag: "Look" },
        { _tag: "Look", target: "the post" },
        { _tag: "Go", direction: "north" },
        { _tag: "Go", direction: "northeast" },
        { _tag: "Go", direction: "north" },
        { _tag: "Go", direction: "up" },
        { _tag: "Say", text: "hello there" },
        { _tag: "Say", text: "hello" },
        { _tag: "Emote", text: "waves" },
        { _tag: "Say", text: "hi" },
        { _tag: "Inventory" },
        { _tag: "Take", thing: "lamp" }
      ]
    )
    assert.deepStrictEqual(
      ["whisper Ada come here", "tell Ada: come", "use key on sea chest", "pick up rope", "?", "help say", "ring bell"]
        .map(parsed),
      [
        { _tag: "Whisper", to: "Ada", text: "come here" },
        { _tag: "Whisper", to: "Ada", text: "come" },
        { _tag: "Use", thing: "key", on: "sea chest" },
        { _tag: "Take", thing: "rope" },
        { _tag: "Help" },
        { _tag: "Help", topic: "say" },
        { _tag: "Use", thing: "bell" }
      ]
    )
  })

  it("offers what could be typed instead of what is no command", () => {
    const offers = (line: string) => {
      const result = Command.parse(line)
      return Either.isLeft(result) ? result.left.offers : undefined
    }
    assert.deepStrictEqual(offers("dance with me"), ["say dance with me", "help"])
    assert.deepStrictEqual(offers("wisper Ada hi"), ["whisper Ada hi", "say wisper Ada hi", "help"])
    for (const { example } of Command.usages({ admin: true })) {
      assert.isTrue(Either.isRight(Command.parse(example)), example)
    }
  })

  it("says what was meant, and what is missing", () => {
    const suggestion = (line: string) => {
      const result = Command.parse(line)
      return Either.isLeft(result) && "suggestion" in result.left ? result.left.suggestion : undefined
    }
    assert.deepStrictEqual(["loook", "inventroy", "noth", "wisper Ada hi", "xyzzy"].map(suggestion), [
      "look",
      "inventory",
      "north",
      "whisper",
      undefined
    ])
    assert.deepStrictEqual(["", "say", "go", "whisper Ada", "take"].map(parsed), [
      "MissingWords",
      "MissingWords",
      "UnknownCommand",
      "MissingWords",
      "MissingWords"
    ])
  })

  it("never shortens what only an operator may do to something that a player meant", () => {
    for (const line of ["a hello", "s", "k", "sh", "an"]) {
      assert.notMatch(JSON.stringify(parsed(line)), /Announce|Kick|Shutdown/)
    }
  })

  it("gives a command or a refusal for any text", () => {
    fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.string()), (line) => {
      const result = Command.parse(line)
      assert.isTrue(Either.isEither(result))
      if (Either.isLeft(result)) assert.isAbove(result.left.message.length, 0)
    }))
  })

  it("reads a verb the same in any case, shortened in any way that is not ambiguous, with any blanks", () => {
    const verb = fc.constantFrom("say", "emote", "take", "drop", "use", "inventory", "time", "help", "look")
    fc.assert(
      fc.property(verb, fc.nat(8), fc.boolean(), fc.constantFrom(" ", "   ", "\t"), (name, cut, loud, blank) => {
        const whole = parsed(`${name} thing`)
        const short = name.slice(0, Math.max(2, name.length - cut))
        // The shortest beginnings of some verbs are directions, which win.
        fc.pre(!Direction.literals.some((direction) => direction.startsWith(short)))
        assert.deepStrictEqual(parsed(`${blank}${loud ? short.toUpperCase() : short}${blank}thing${blank}`), whole)
      })
    )
  })

  it("keeps the words that are said, but for blanks and control characters", () => {
    fc.assert(fc.property(fc.string(), (words) => {
      const text = clean(words)
      fc.pre(text !== "")
      assert.deepStrictEqual(parsed(`say ${words}`), { _tag: "Say", text })
    }))
  })
})

describe("Names", () => {
  it("are written in one alphabet, with letters of everyday use", () => {
    for (
      const name of ["Wren", "Zoë", "O'Neill", "Jean-Luc", "Лена", "Νίκος", "さくら", "지민", "محمد", "अर्जुन", "வேலு"]
    ) {
      assert.isTrue(Names.isName(name), name)
    }
    for (
      const name of ["Wrеn", "Ｗｒｅｎ", "Z̸̡̢̧a", "A", "x".repeat(17), "Ann-", "12", "a b", "Wren\u200d", "𝐖𝐫𝐞𝐧", "Ⅳan"]
    ) {
      assert.isFalse(Names.isName(name), name)
    }
  })

  it("that look alike are one, in either case", () => {
    for (
      const [a, b] of [["Wren", "Wrеn"], ["limes", "Iimes"], ["modern", "rnodern"], ["Ada", "ADA"], ["Ora", "Оrа"]]
    ) {
      assert.isTrue(Names.alike(a, b), `${a} ${b}`)
      assert.isTrue(Names.alike(b, a), `${b} ${a}`)
    }
    for (const [a, b] of [["Ada", "Adá"], ["Wren", "Wrena"], ["Лена", "Лина"]]) {
      assert.isFalse(Names.alike(a, b), `${a} ${b}`)
    }
  })
})

describe("PlayerText", () => {
  it("lets no control character or override through", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (words) => {
      // Joiners and tags stay where they hold one sign together, and nowhere else.
      assert.notMatch(
        clean(words).replace(/\u{200c}|\u{200d}|[\u{e0020}-\u{e007f}]/gu, ""),
        /[\p{Cc}\p{Cf}\u2028\u2029]/u
      )
      assert.notMatch(clean(words), /\p{M}{4}/u)
      assert.strictEqual(clean(clean(words)), clean(words))
    }))
    assert.strictEqual(clean("a\u001b[31mred\u202e"), "a[31mred")
  })

  it("keeps an emoji whole, and spelling that needs a joiner; nothing is piled up or hidden", () => {
    for (const whole of ["👨‍👩‍👧‍👦", "👩🏽‍🚀", "❤️‍🔥", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "می‌خواهم", "क्‍ष", "e\u0301".normalize("NFC")]) {
      assert.strictEqual(clean(whole), whole)
    }
    assert.strictEqual(clean("a\u200db"), "ab")
    assert.strictEqual(clean("\u200dhello\u200d"), "hello")
    assert.isAtMost([...clean(`Z${"\u0335\u0321".repeat(20)}`)].length, 4)
  })

  it("measures single changes", () => {
    assert.deepStrictEqual(
      ["look", "loko", "lok", "book", ""].map((word) => distance(word, "look")),
      [0, 1, 1, 1, 4]
    )
    fc.assert(fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      assert.strictEqual(distance(a, b), distance(b, a))
      assert.isAtMost(distance(a, b), Math.max(a.length, b.length))
    }))
  })

  it("finds what is called so, and suggests what is nearly called so", () => {
    const all = [{ id: "lamp", name: "storm lantern", aliases: ["lamp"] }, { id: "rope", name: "coil of rope" }]
    assert.deepStrictEqual(
      ["the lamp", "lantern", "stor", "rope", "coil of rope", "r", ""].map((typed) => find(typed, all)?.id),
      ["lamp", "lamp", "lamp", "rope", "rope", undefined, undefined]
    )
    assert.strictEqual(suggest("latnern", ["storm", "lantern"]), "lantern")
    assert.isUndefined(suggest("zzz", ["storm", "lantern"]))
  })
})
