/**
 * Names of players: what can be called out, and which two look alike.
 *
 * After Unicode's report 39 on security: a name is written in one script (Japanese and Korean mix theirs), in the letters of
 * everyday use (what the compatibility form changes, such as full-width letters, is refused), and two names are the same
 * when their *skeletons* are, in which every letter stands for all that look like it. The table of look-alikes is that of
 * `unhomoglyph`; the rule of scripts needs no table.
 *
 * **Limits**: names that only sound alike, or that differ by an accent, are different names.
 *
 * @since 0.1.0
 */
import unhomoglyph from "unhomoglyph"
import { clean, fold } from "./PlayerText.js"

/**
 * What a name has to be, in words.
 *
 * @since 0.1.0
 * @category rules
 */
export const rule = "2 to 16 letters of one alphabet; a hyphen or an apostrophe inside is fine"

const scripts = [
  "Latin",
  "Cyrillic",
  "Greek",
  "Armenian",
  "Georgian",
  "Hebrew",
  "Arabic",
  "Devanagari",
  "Bengali",
  "Tamil"
]
  .map((script) => `\\p{Script=${script}}`)

// Scripts that are written together count as one; a script without a line of its own has to be the only one.
const alphabets = [
  ...scripts,
  "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}",
  "\\p{Script=Hangul}\\p{Script=Han}"
]
  .map((alphabet) => new RegExp(`^[${alphabet}\\p{Script=Common}\\p{Script=Inherited}]+$`, "u"))

const other = new RegExp(
  `^[^${scripts.join("")}\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}]+$`,
  "u"
)

/**
 * Whether a text can be a name; who has it is another question.
 *
 * @since 0.1.0
 * @category rules
 */
export const isName = (text: string): boolean =>
  /^\p{L}(?:[\p{L}\p{Mn}\p{Mc}]|['’-](?=\p{L})){1,15}$/u.test(text) &&
  text.normalize("NFKC") === text &&
  !/\p{Mn}{3}/u.test(text.normalize("NFC")) &&
  [...alphabets, other].some((alphabet) => alphabet.test(text))

const skeleton = (text: string): string => unhomoglyph(text.normalize("NFD")).normalize("NFD")

/**
 * The forms under which a name is known: two names that have one of them in common could be mistaken for one another. One
 * form is looked at as it is written and one in small letters, because `I` looks like `l` and `i` does not.
 *
 * @since 0.1.0
 * @category comparing
 */
export const forms = (name: string): ReadonlyArray<string> => {
  const written = clean(name).normalize("NFKC")
  return [...new Set([`as ${skeleton(written).toLowerCase()}`, `in ${skeleton(fold(written))}`])]
}

/**
 * Whether two names could be mistaken for one another.
 *
 * @since 0.1.0
 * @category comparing
 */
export const alike = (a: string, b: string): boolean => {
  const known = forms(b)
  return forms(a).some((form) => known.includes(form))
}
