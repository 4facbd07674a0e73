/**
 * The terminal client: the same world, the same words, over the same stream as the page.
 */
import * as Play from "./client/Play.js"

Play.run(process.argv.slice(2))
