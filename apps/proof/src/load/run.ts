/**
 * A load: messages at a fixed rate, whatever the server does (an open loop). Each has a time at which it was due, and its delay is
 * counted from there: a server that stands still is charged for all that was due meanwhile, not for the few that were under way.
 */
import * as Hdr from "hdr-histogram-js"
import type { Headers, Stream } from "./clients.js"
import * as Clients from "./clients.js"
import { Ids, Ledger } from "./ledger.js"

export interface Options {
  readonly kind: "http" | "sse" | "websocket"
  readonly url: string
  readonly connections: number
  /** messages a second, in all */
  readonly rate: number
  readonly seconds: number
  readonly method: string
  readonly headers: Headers
  /** `{marker}` in it is replaced */
  readonly body: string | undefined
  /** of event streams: where messages are posted to; without it streams are listened to only */
  readonly publish: string | undefined
  /** WebSocket: every connection gets every message, and not only the one that sent it */
  readonly broadcast: boolean
  /** ids of the events leave none out */
  readonly contiguous: boolean
  /** seconds that the last messages have */
  readonly patience: number
}

export const defaults = {
  connections: 10,
  rate: 50,
  seconds: 10,
  method: "GET",
  headers: {},
  body: undefined,
  publish: undefined,
  broadcast: false,
  contiguous: false,
  patience: 5
} as const

export interface Latency {
  readonly count: number
  /** milliseconds, by percentile */
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  /** for other tools: HdrHistogram V2, microseconds */
  readonly encoded: string
}

export interface Result {
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly repeated: number
  readonly disordered: number
  /** by what went wrong */
  readonly errors: Readonly<Record<string, number>>
  /** from the moment in which a message was due */
  readonly corrected: Latency
  /** from the moment in which it was sent: what a closed loop would have shown */
  readonly uncorrected: Latency
}

export interface Progress {
  readonly seconds: number
  readonly open: number
  readonly sent: number
  readonly received: number
  readonly errors: number
  readonly p99: number
}

const histogram = () =>
  Hdr.build({ lowestDiscernibleValue: 1, highestTrackableValue: 3_600_000_000, numberOfSignificantValueDigits: 3 })

const latencyOf = (from: Hdr.Histogram): Latency => {
  const at = (percentile: number) => from.getValueAtPercentile(percentile) / 1_000
  return {
    count: from.totalCount,
    p50: at(50),
    p90: at(90),
    p99: at(99),
    p999: at(99.9),
    max: from.maxValue / 1_000,
    encoded: Hdr.encodeIntoCompressedBase64(from)
  }
}

const sleep = (millis: number) => new Promise<void>((resolve) => void setTimeout(resolve, millis))

/** What was sent, when it was due, and what came of it. */
class Book {
  readonly corrected = histogram()
  readonly uncorrected = histogram()
  readonly errors = new Map<string, number>()
  readonly due: Array<number> = []
  readonly sentAt: Array<number> = []
  readonly confirmed: Array<boolean> = []
  readonly ledgers: Array<Ledger> = []
  readonly ids: Array<Ids> = []
  received = 0
  /** so that messages of another run are not taken for ours */
  private readonly run = `load-${Math.floor(Math.random() * 1e9).toString(36)}`
  private readonly pattern = new RegExp(`${this.run}-(\\d+)-`)

  error(what: string): void {
    this.errors.set(what, (this.errors.get(what) ?? 0) + 1)
  }

  next(due: number): number {
    this.due.push(due)
    this.sentAt.push(due)
    this.confirmed.push(false)
    return this.due.length - 1
  }

  fill(body: string | undefined, n: number): string {
    return (body ?? "{marker}").replaceAll("{marker}", `${this.run}-${n}-`)
  }

  numberIn(text: string): number | undefined {
    const found = this.pattern.exec(text)?.[1]
    return found === undefined ? undefined : Number(found)
  }

  arrived(n: number): void {
    const now = performance.now()
    this.received++
    this.corrected.recordValue(Math.max(1, Math.round((now - this.due[n]) * 1_000)))
    this.uncorrected.recordValue(Math.max(1, Math.round((now - this.sentAt[n]) * 1_000)))
  }

  get failed(): number {
    return Array.from(this.errors.values()).reduce((a, b) => a + b, 0)
  }
}

/** Calls `act` for each message at the time at which it is due; late ones at once. */
const openLoop = async (rate: number, seconds: number, act: (due: number) => void): Promise<void> => {
  const from = performance.now()
  const total = Math.round(rate * seconds)
  for (let n = 0; n < total;) {
    const due = from + (n * 1_000) / rate
    const early = due - performance.now()
    if (early > 0) await sleep(early)
    for (; n < total && from + (n * 1_000) / rate <= performance.now(); n++) act(from + (n * 1_000) / rate)
  }
}

const plain = async (options: Options, book: Book): Promise<() => void> => {
  const { ask, close } = Clients.requests(options.url, options.method, options.headers, options.connections)
  const pending = new Set<Promise<void>>()
  await openLoop(options.rate, options.seconds, (due) => {
    const n = book.next(due)
    const body = options.body === undefined ? undefined : book.fill(options.body, n)
    const one = ask(body, () => (book.sentAt[n] = performance.now())).then(
      (status) => {
        if (status >= 400) book.error(`status ${status}`)
        else book.confirmed[n] = true
        book.arrived(n)
      },
      (error: Error) => book.error(error.message)
    ).finally(() => pending.delete(one))
    pending.add(one)
  })
  const until = performance.now() + options.patience * 1_000
  while (pending.size > 0 && performance.now() < until) await sleep(10)
  for (let late = pending.size; late > 0; late--) book.error("no answer in time")
  return close
}

/** Opens the streams one after the other, a hundred at once, and keeps their books. */
const openAll = async (options: Options, book: Book): Promise<Array<Stream>> => {
  const streams: Array<Stream> = []
  const open = options.kind === "sse" ? Clients.openSse : Clients.openWebSocket
  const one = async (index: number) => {
    const ledger = new Ledger(-1, options.kind === "websocket" && !options.broadcast)
    const ids = new Ids(options.contiguous)
    book.ledgers[index] = ledger
    book.ids[index] = ids
    try {
      streams[index] = await open(options.url, options.headers, {
        onBroken: (why) => book.error(why),
        onMessage: (text, id) => {
          if (id !== undefined) ids.note(id)
          const n = book.numberIn(text)
          if (n !== undefined) {
            ledger.note(n)
            book.arrived(n)
          } else if (options.publish === undefined && options.kind === "sse") book.received++
        }
      })
    } catch (error) {
      book.error(`not connected: ${(error as Error).message}`)
    }
  }
  for (let index = 0; index < options.connections; index += 100) {
    const some = Math.min(100, options.connections - index)
    await Promise.all(Array.from({ length: some }, (_, i) => one(index + i)))
  }
  return streams
}

const streaming = async (options: Options, book: Book, streams: ReadonlyArray<Stream>): Promise<() => void> => {
  const live = streams.filter((stream) => stream !== undefined)
  if (options.kind === "sse" && options.publish === undefined) {
    await sleep(options.seconds * 1_000)
    return () => {}
  }
  const publisher = options.publish === undefined
    ? undefined
    : Clients.requests(options.publish, "POST", options.headers, 16)
  const pending = new Set<Promise<void>>()
  await openLoop(options.rate, options.seconds, (due) => {
    const n = book.next(due)
    const text = book.fill(options.body, n)
    if (publisher === undefined) {
      book.sentAt[n] = performance.now()
      book.confirmed[n] = live.length > 0
      live[n % live.length]?.send(text)
      return
    }
    const one = publisher.ask(text, () => (book.sentAt[n] = performance.now())).then(
      (status) => {
        if (status >= 400) book.error(`publish: status ${status}`)
        else book.confirmed[n] = true
      },
      (error: Error) => book.error(`publish: ${error.message}`)
    ).finally(() => pending.delete(one))
    pending.add(one)
  })
  const until = performance.now() + options.patience * 1_000
  while (performance.now() < until && (pending.size > 0 || lostOf(options, book, live.length) > 0)) await sleep(20)
  return () => publisher?.close()
}

const lostOf = (options: Options, book: Book, live: number): number => {
  const sent = book.due.length - 1
  if (options.kind === "http") return 0
  const echo = options.kind === "websocket" && !options.broadcast
  return book.ledgers.reduce(
    (sum, ledger, index) => sum + ledger.lost(sent, (n) => book.confirmed[n] && (!echo || n % live === index)),
    0
  )
}

/** Runs a load; `onProgress` is told once a second. */
export const run = async (options: Options, onProgress: (progress: Progress) => void = () => {}): Promise<Result> => {
  const book = new Book()
  const streams = options.kind === "http" ? [] : await openAll(options, book)
  const live = streams.filter((stream) => stream !== undefined).length
  const from = performance.now()
  const timer = setInterval(() =>
    onProgress({
      seconds: Math.round((performance.now() - from) / 1_000),
      open: options.kind === "http" ? options.connections : live,
      sent: book.due.length,
      received: book.received,
      errors: book.failed,
      p99: book.corrected.getValueAtPercentile(99) / 1_000
    }), 1_000)
  try {
    const end = options.kind === "http" ? await plain(options, book) : await streaming(options, book, streams)
    const sum = (of: (index: number) => number) => book.ledgers.reduce((total, _, index) => total + of(index), 0)
    const result: Result = {
      sent: book.due.length,
      received: book.received,
      lost: lostOf(options, book, live) + sum((i) => book.ids[i].lost),
      repeated: sum((i) => book.ledgers[i].repeated + book.ids[i].repeated),
      disordered: sum((i) => book.ledgers[i].disordered + book.ids[i].disordered),
      errors: Object.fromEntries(book.errors),
      corrected: latencyOf(book.corrected),
      uncorrected: latencyOf(book.uncorrected)
    }
    end()
    return result
  } finally {
    clearInterval(timer)
    for (const stream of streams) stream?.close()
  }
}
