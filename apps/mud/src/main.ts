/**
 * Starts the program, and notes the signals that come while its modules are being loaded.
 */
import "@holdfast/node/EarlySignals"

await import("./Program.js")
