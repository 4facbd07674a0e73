/**
 * What an option of this package must be, when it is not.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * An option, or a variable of the environment, has a value that makes no sense: a test that went on with it could not
 * fail, or not end.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Data.TaggedError("InvalidOption")<{
  /** `Explore.seeds`, `HOLDFAST_SEED` */
  readonly option: string
  readonly given: string
  readonly expected: string
}> {
  override get message() {
    return `${this.option} is ${this.given}: expected ${this.expected}`
  }
}
