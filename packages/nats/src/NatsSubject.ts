/**
 * Topics and names as subjects of NATS. The exact topic of an event is in its body; the subject is for people and tools, who
 * can watch `world.room.>` with what NATS has.
 *
 * **Guarantees.** Every text becomes a legal subject, and no two texts the same one. `.` separates tokens; letters, digits,
 * `_` and `-` stay as they are; every other byte of UTF-8 is `=XX`, a lone surrogate `=uXXXX`, an empty token `=`.
 *
 * **Limits.** What would be longer than 200 characters becomes `=h.` and its SHA-256: two such texts differ as surely as their
 * hashes do.
 *
 * @since 0.1.0
 */
import { createHash } from "node:crypto"

const plain = /^[A-Za-z0-9_-]+$/
const longest = 200
const loneSurrogate = /\p{Surrogate}/u

const hex = (byte: number) => `=${byte.toString(16).toUpperCase().padStart(2, "0")}`

const token = (text: string): string => {
  if (plain.test(text)) return text
  if (text === "") return "="
  let encoded = ""
  for (const character of text) {
    if (plain.test(character)) encoded += character
    else if (!loneSurrogate.test(character)) { for (const byte of Buffer.from(character, "utf8")) encoded += hex(byte) }
    else encoded += `=u${character.charCodeAt(0).toString(16).toUpperCase()}`
  }
  return encoded
}

const shortened = (text: string, encoded: string): string =>
  encoded.length <= longest ? encoded : `=h.${createHash("sha256").update(text, "utf16le").digest("hex")}`

/**
 * A topic as a subject of NATS.
 *
 * @example
 * ```ts
 * import { NatsSubject } from "@holdfast/nats"
 * import * as assert from "node:assert"
 *
 * assert.strictEqual(NatsSubject.fromTopic("room.the hall"), "room.the=20hall")
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromTopic = (topic: string): string => shortened(topic, topic.split(".").map(token).join("."))

/**
 * One token, whatever is in the text: for keys.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromName = (name: string): string => shortened(name, token(name)).replace("=h.", "=h-")
