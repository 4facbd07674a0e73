import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"

const sheet = readFileSync(new URL("../assets/console/style.css", import.meta.url), "utf8")

type Rgb = readonly [number, number, number]

/** Dark first, then what light changes. */
const schemes = Array.from(
  sheet.matchAll(/:root \{([^}]*)\}/g),
  ([, block]) =>
    new Map(Array.from(block!.matchAll(/--([\w-]+): (#[0-9a-f]{6})/g), ([, name, value]): [string, Rgb] => [
      name!,
      [1, 3, 5].map((at) => parseInt(value!.slice(at, at + 2), 16)) as unknown as Rgb
    ]))
)

const luminance = (colour: Rgb) => {
  const [red, green, blue] = colour.map((part) =>
    part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4
  ) as unknown as Rgb
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

const contrast = (a: Rgb, b: Rgb) => {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number]
  return (light + 0.05) / (dark + 0.05)
}

const faded = (over: Rgb, ground: Rgb, opacity: number): Rgb =>
  over.map((part, index) => part * opacity + ground[index]! * (1 - opacity)) as unknown as Rgb

/** Which colours stand on which grounds: what is read, and what has to be told from its ground. */
const texts: Readonly<Record<string, ReadonlyArray<string>>> = {
  ground: ["ink", "soft", "bad", "warn", "good"],
  raised: ["ink", "soft", "bad", "warn", "good", "accent"],
  pressed: ["ink", "soft", "bad", "warn"],
  "bad-ground": ["ink", "soft", "bad"],
  "warn-ground": ["ink", "soft", "warn"],
  accent: ["accent-ink"]
}
const edges: Readonly<Record<string, ReadonlyArray<string>>> = {
  ground: ["edge", "accent", "good", "warn", "bad"],
  raised: ["edge", "accent", "bad", "good", "warn"],
  "bad-ground": ["bad", "edge"],
  "warn-ground": ["warn", "edge"]
}

describe("the sheet of the console's page", () => {
  for (const [index, scheme] of ["dark", "light"].entries()) {
    it(`can be read in the ${scheme}, also when the picture is old`, () => {
      const colours = schemes[index]!
      const of = (name: string) => colours.get(name) ?? assert.fail(`there is no --${name}`)
      const opacity = Number(/\.stale #view[^}]*opacity: ([\d.]+)/.exec(sheet)?.[1])
      assert.isAbove(opacity, 0)
      for (const [ground, inks] of Object.entries(texts)) {
        for (const ink of inks) {
          assert.isAtLeast(contrast(of(ink), of(ground)), 4.5, `${ink} on ${ground}`)
          const [old, below] = [ink, ground].map((name) => faded(of(name), of("ground"), opacity)) as [Rgb, Rgb]
          assert.isAtLeast(contrast(old, below), 4.5, `${ink} on ${ground}, when it is old`)
        }
      }
      for (const [ground, all] of Object.entries(edges)) {
        for (const edge of all) assert.isAtLeast(contrast(of(edge), of(ground)), 3, `${edge} around ${ground}`)
      }
    })
  }

  it("moves nothing for who wants nothing to move, and names each colour once", () => {
    const calm = sheet.slice(0, sheet.indexOf("@media (prefers-reduced-motion: no-preference)"))
    assert.notMatch(calm, /animation|transition/)
    const rules = sheet.replace(/:root \{[^}]*\}/g, "")
    assert.deepStrictEqual(rules.match(/#[0-9a-f]{3,8}\b(?![^{]*\{)/g) ?? [], [])
    for (const colours of schemes) {
      assert.deepStrictEqual([...colours.keys()].sort(), [...schemes[0]!.keys()].sort())
    }
  })
})
