/**
 * Words as people type them: cleaning, matching a name loosely, and guessing what was meant.
 *
 * @since 0.1.0
 */

const picture = "(?!\\p{Cn})\\p{Extended_Pictographic}"

const joined = "[" + ["Arabic", "Bengali", "Devanagari", "Kannada", "Malayalam", "Sinhala", "Tamil", "Telugu"]
  .map((script) => `\\p{Script=${script}}`).join("") +
  "]"

// Controls, bidirectional overrides and invisible format characters: they could repaint a terminal or another's log. Kept
// is what holds one sign together: the joiners inside of an emoji, the tags of a flag, and the joiners with which Arabic
// and the scripts of India are spelled.
const unprintable = new RegExp(
  `(?<kept>(?<=${picture}[\\u{FE0F}\\u{1F3FB}-\\u{1F3FF}]?)\\u{200D}(?=${picture})` +
    "|\\u{1F3F4}[\\u{E0030}-\\u{E007A}]+\\u{E007F}" +
    `|(?<=${joined})[\\u{200C}\\u{200D}](?=${joined}))` +
    "|[\\p{Cc}\\p{Cf}\\p{Co}\\p{Cn}\\p{Cs}\\u{2028}\\u{2029}]",
  "gu"
)

// No language has more marks on one letter; what is piled higher paints over the lines above and below.
const piled = /(\p{M}{3})\p{M}+/gu

const plainAscii = /^[\x20-\x7e]*$/

/**
 * Text without anything that a screen would act on or that lies over other lines: no controls, no overrides, at most three
 * marks on a letter. An emoji that is made of several stays whole.
 *
 * @since 0.1.0
 * @category cleaning
 */
export const printable = (text: string): string =>
  plainAscii.test(text) ? text : text.replace(unprintable, "$<kept>").normalize("NFC").replace(piled, "$1")

/**
 * Text that is printable, with single blanks, in composed form.
 *
 * @since 0.1.0
 * @category cleaning
 */
export const clean = (text: string): string => printable(text.replace(/\s/gu, " ")).replace(/ +/g, " ").trim()

/**
 * Small letters, no article, no punctuation at the ends: the form in which words are compared.
 *
 * @since 0.1.0
 * @category cleaning
 */
export const fold = (text: string): string =>
  clean(text).toLowerCase().replace(/^(?:the|a|an|some) (?=.)/, "").replace(/[.!?,;:]+$/, "")

/**
 * The number of single-letter changes (insert, delete, replace, swap of neighbours) between two words.
 *
 * @since 0.1.0
 * @category guessing
 */
export const distance = (a: string, b: string): number => {
  const width = b.length + 1
  let before: Array<number> = []
  let last = Array.from({ length: width }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j < width; j++) {
      const same = a[i - 1] === b[j - 1]
      let best = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2] + 1)
      row.push(best)
    }
    before = last
    last = row
  }
  return last[width - 1]
}

/**
 * The candidate that was probably meant: at most one change in three letters away.
 *
 * @since 0.1.0
 * @category guessing
 */
export const suggest = (word: string, candidates: Iterable<string>): string | undefined => {
  const typed = fold(word).slice(0, 40)
  let best: string | undefined
  let least = Math.max(1, Math.floor(typed.length / 3)) + 1
  for (const candidate of candidates) {
    const folded = fold(candidate)
    if (Math.abs(folded.length - typed.length) >= least) continue
    const changes = distance(typed, folded)
    if (changes < least) {
      least = changes
      best = candidate
    }
  }
  return best
}

/**
 * What can be called by a name: the name, other names, or an id.
 *
 * @since 0.1.0
 * @category models
 */
export interface Named {
  readonly id: string
  readonly name: string
  readonly aliases?: ReadonlyArray<string>
}

/**
 * The first of `all` that is called so: by its full name before one of its words, one of its words before the beginning
 * of one. `lamp` finds the brass lamp, and so does `bra`.
 *
 * @since 0.1.0
 * @category matching
 */
export const find = <A extends Named>(typed: string, all: ReadonlyArray<A>): A | undefined => {
  const wanted = fold(typed)
  if (wanted === "") return undefined
  const names = (named: A) => [named.name, named.id, ...(named.aliases ?? [])].map(fold)
  const words = (named: A) => names(named).flatMap((name) => name.split(/[ -]/)).filter((word) => word.length > 1)
  return all.find((named) => names(named).includes(wanted)) ??
    all.find((named) => words(named).includes(wanted)) ??
    (wanted.length < 2 ?
      undefined :
      all.find((named) => [...names(named), ...words(named)].some((name) => name.startsWith(wanted))))
}
