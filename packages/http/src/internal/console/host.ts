/**
 * What the runtime tells of its process, where there is one: Node.js, Bun and Deno have the global `process`. Nothing is
 * imported, so that the module loads anywhere.
 */

interface Histogram {
  readonly count: number
  readonly max: number
  readonly enable: () => void
  readonly disable: () => void
  readonly reset: () => void
  readonly percentile: (percentile: number) => number
}

interface Process {
  readonly pid?: number
  readonly version?: string
  readonly platform?: string
  readonly arch?: string
  readonly cwd?: () => string
  readonly memoryUsage?: () => {
    readonly rss: number
    readonly heapUsed: number
    readonly heapTotal: number
    readonly external: number
  }
  readonly cpuUsage?: () => { readonly user: number; readonly system: number }
  readonly getActiveResourcesInfo?: () => ReadonlyArray<string>
  readonly getBuiltinModule?: (name: string) => unknown
}

const found = (globalThis as { readonly process?: Process }).process

export const host: Process = found ?? {}

const builtin = <A>(name: string): A | undefined => {
  try {
    return host.getBuiltinModule?.(name) as A | undefined
  } catch {
    return undefined
  }
}

export const hostname = (): string | undefined => builtin<{ readonly hostname: () => string }>("node:os")?.hostname()

/** Counts collections of garbage and the milliseconds they took; none where the runtime does not tell. */
export const watchGc = (): {
  readonly read: () => { readonly count: number; readonly millis: number }
  readonly stop: () => void
} => {
  const total = { count: 0, millis: 0 }
  const hooks = builtin<{
    readonly PerformanceObserver: new(
      f: (list: { readonly getEntries: () => ReadonlyArray<{ readonly duration: number }> }) => void
    ) => { readonly observe: (options: object) => void; readonly disconnect: () => void }
  }>("node:perf_hooks")
  if (hooks === undefined) return { read: () => total, stop: () => {} }
  const observer = new hooks.PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      total.count++
      total.millis += duration
    }
  })
  observer.observe({ entryTypes: ["gc"] })
  return { read: () => total, stop: () => observer.disconnect() }
}

const resolution = 20

/** How late the event loop was at worst and in 99 of 100 cases since the reading before, in milliseconds. */
export const watchLag = (): { readonly read: () => number; readonly stop: () => void } | undefined => {
  const histogram = builtin<{
    readonly monitorEventLoopDelay?: (options: { readonly resolution: number }) => Histogram
  }>("node:perf_hooks")?.monitorEventLoopDelay?.({ resolution })
  if (histogram === undefined) return undefined
  histogram.enable()
  return {
    read: () => {
      const lag = histogram.count === 0 ? 0 : Math.max(0, histogram.max / 1e6 - resolution)
      histogram.reset()
      return Number.isFinite(lag) ? lag : 0
    },
    stop: () => histogram.disable()
  }
}
