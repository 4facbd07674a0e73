/**
 * What an option of this package must be, when it is not: a test that went on with it could not fail, or not end. It is the
 * error of the other packages, and names variables of the environment as well: `HOLDFAST_SEED`.
 *
 * @since 0.1.0
 */
export {
  /**
   * @since 0.1.0
   * @category errors
   */
  InvalidOption
} from "@holdfast/core/InvalidOption"
