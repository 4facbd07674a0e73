// A stream of server-sent events over fetch. Unlike EventSource it can send a token in a header, begin after an id that was
// stored, and notice that a laptop slept: when nothing at all was heard for too long, it connects anew.
//
// Nothing is delivered twice: an id that was delivered is remembered and not delivered again.

const wait = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener("abort", () => {
      clearTimeout(timer)
      resolve()
    }, { once: true })
  })

/** Splits text into events, and keeps what is not complete yet. */
export const parser = (onEvent) => {
  let rest = ""
  let event = { id: undefined, name: "message", data: [], retry: undefined }
  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop()
    for (const line of lines) {
      if (line === "") {
        if (event.data.length > 0 || event.retry !== undefined) onEvent({ ...event, data: event.data.join("\n") })
        event = { id: event.id, name: "message", data: [], retry: undefined }
        continue
      }
      const colon = line.indexOf(":")
      if (colon === 0) continue
      const field = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "")
      if (field === "id") event.id = value
      else if (field === "event") event.name = value
      else if (field === "data") event.data.push(value)
      else if (field === "retry" && /^\d+$/.test(value)) event.retry = Number(value)
    }
  }
}

/**
 * Follows a stream until `stop`.
 *
 * @param {{
 *   url: string,
 *   headers?: () => Record<string, string>,
 *   lastEventId?: string,
 *   onEvent: (event: { id: string | undefined, name: string, data: string }) => void,
 *   onState: (state: { name: "connecting" | "live" | "waiting" | "offline" | "ended", seconds?: number, problem?: object }) => void,
 *   done?: () => boolean,
 *   silence?: number
 * }} options
 *
 * `done` says whether a stream that the server has ended was the last one.
 */
export const follow = (options) => {
  const silence = options.silence ?? 35_000
  const delivered = new Set()
  let lastEventId = options.lastEventId
  let retry = 1_000
  let attempts = 0
  let stopped = false
  let heard = Date.now()
  let current = new AbortController()
  let pause = new AbortController()

  const deliver = ({ data, id, name, retry: told }) => {
    if (told !== undefined) retry = told
    if (data === "") return
    if (id !== undefined && id !== "") {
      // The farewell and the like repeat the id of the event before: only what carries its own id counts.
      const key = `${id} ${name}`
      if (delivered.has(key)) return
      delivered.add(key)
      if (delivered.size > 2_000) delivered.delete(delivered.values().next().value)
      lastEventId = id
    }
    options.onEvent({ id, name, data })
  }

  const once = async () => {
    current = new AbortController()
    heard = Date.now()
    const response = await fetch(options.url, {
      headers: {
        accept: "text/event-stream",
        ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
        ...options.headers?.()
      },
      cache: "no-store",
      signal: current.signal
    })
    if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream")) {
      const problem = await response.json().catch(() => ({ _tag: "Unreadable", message: response.statusText }))
      const wait = Number(response.headers.get("retry-after"))
      if (wait > 0) retry = Math.max(retry, wait * 1_000)
      // 4xx other than "too many" and "time-out" will not get better by asking again.
      return response.status >= 400 && response.status < 500 && ![408, 425, 429].includes(response.status)
        ? { fatal: true, problem }
        : { fatal: false, problem }
    }
    attempts = 0
    options.onState({ name: "live" })
    const read = parser(deliver)
    const decoder = new TextDecoder()
    const reader = response.body.getReader()
    while (true) {
      const { done, value } = await reader.read()
      if (done || stopped) return { fatal: false }
      heard = Date.now()
      read(decoder.decode(value, { stream: true }))
    }
  }

  const run = async () => {
    while (!stopped) {
      options.onState({ name: attempts === 0 ? "connecting" : "waiting", seconds: 0 })
      const ended = await once().catch(() => ({ fatal: false }))
      if (stopped) return
      if (ended.fatal || options.done?.() === true) {
        stopped = true
        options.onState({ name: "ended", problem: ended.problem })
        return
      }
      attempts += 1
      // Twice as long each time up to 15 s, a little apart from everybody else.
      const delay = Math.min(15_000, retry * 2 ** Math.min(attempts - 1, 5)) * (0.75 + Math.random() / 2)
      pause = new AbortController()
      const until = Date.now() + delay
      const show = () =>
        options.onState(
          navigator.onLine === false
            ? { name: "offline" }
            : { name: "waiting", seconds: Math.max(0, Math.ceil((until - Date.now()) / 1_000)) }
        )
      show()
      const ticking = setInterval(show, 1_000)
      await wait(delay, pause.signal)
      clearInterval(ticking)
    }
  }

  /** Something suggests that the connection may be dead or may be had again: look at once. */
  const nudge = () => {
    if (stopped) return
    if (Date.now() - heard > silence) current.abort()
    pause.abort()
  }
  const onVisible = () => document.visibilityState === "visible" && nudge()
  const onOffline = () => current.abort()
  const watch = setInterval(() => Date.now() - heard > silence && current.abort(), 2_000)
  document.addEventListener("visibilitychange", onVisible)
  document.addEventListener("resume", nudge)
  addEventListener("pageshow", nudge)
  addEventListener("online", nudge)
  addEventListener("offline", onOffline)
  run()

  return {
    stop: () => {
      stopped = true
      current.abort()
      pause.abort()
      clearInterval(watch)
      document.removeEventListener("visibilitychange", onVisible)
      document.removeEventListener("resume", nudge)
      removeEventListener("pageshow", nudge)
      removeEventListener("online", nudge)
      removeEventListener("offline", onOffline)
    },
    nudge
  }
}
