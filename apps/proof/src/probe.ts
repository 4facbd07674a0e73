/**
 * Loaded into a server with `--import`: tells over IPC, when asked, what the process holds after a garbage collection.
 * Needs `--expose-gc`.
 */
process.on("message", (order) => {
  if (order !== "probe") return
  globalThis.gc!()
  globalThis.gc!()
  const { heapUsed, rss } = process.memoryUsage()
  const resources: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
  process.send!({ heap: heapUsed, rss, resources })
})
// the listener alone does not keep the server up
process.channel?.unref()
