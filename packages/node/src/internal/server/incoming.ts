/**
 * Node's request, with two differences.
 *
 * A body that nobody reads does not stop the socket at once, and with it the news that the client has left: up to
 * `readAhead` bytes wait in memory first. Then the server is told, and may give the body up.
 *
 * An `Upgrade` that this server does not speak is ignored (RFC 9110, 7.8), and the
 * request read to its end like any other. Node itself gives the connection away for whatever a client asks for, with a body
 * that nobody reads: every POST of Java's default client and of `curl --http2` asks for `h2c`.
 */
import * as Http from "node:http"
import { declaresBody } from "./refusal.js"

/** What node's parser sets and asks. */
interface Upgradable {
  upgrade: boolean
  isUpgradeIgnored: boolean
}

export class IncomingRequest extends Http.IncomingMessage {
  /** Bytes of the body that may wait for a reader. */
  readAhead = 0
  /** Called when more bytes wait, and the socket stops. */
  onFull: (() => void) | undefined
  private givenUp: Error | undefined

  /** Node's parser stops the socket when this is false, and the next read starts it again. */
  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    if (super.push(chunk, encoding) || this.readableLength < this.readAhead) {
      return true
    }
    this.onFull?.()
    return false
  }

  /** Has anybody begun to read the body? */
  get isRead(): boolean {
    return this.readableDidRead || this.listenerCount("readable") > 0 || this.listenerCount("data") > 0
  }

  /** Discards what has arrived and what will; whoever comes to read it is told why. */
  giveUp(error: Error): void {
    this.givenUp = error
    this.resume()
  }

  override on(event: string | symbol, listener: (...args: Array<never>) => void): this {
    super.on(event, listener as () => void)
    const { givenUp } = this
    if (givenUp !== undefined && (event === "data" || event === "readable")) {
      process.nextTick(() => {
        // without a listener it would end the process
        if (this.listenerCount("error") > 0) {
          this.emit("error", givenUp)
        }
      })
    }
    return this
  }

  /** Node.js 24 looks for the end before it hears of an error. */
  override [Symbol.asyncIterator](): ReturnType<Http.IncomingMessage[typeof Symbol.asyncIterator]> {
    return this.givenUp === undefined ? super[Symbol.asyncIterator]() : failing(this.givenUp)
  }
}

const failing = async function*(error: Error): AsyncGenerator<never> {
  throw error
}

const asked = Symbol("asked")

// An accessor on the prototype: node's constructor assigns the property before fields of a subclass exist.
Object.defineProperties(IncomingRequest.prototype, {
  upgrade: {
    get(this: IncomingRequest & { [asked]?: boolean }): boolean {
      return this[asked] === true && (this.method === "CONNECT" || isWebSocket(this))
    },
    set(this: IncomingRequest & { [asked]?: boolean }, value: boolean | null) {
      this[asked] = value === true
    }
  },
  isUpgradeIgnored: {
    get(this: IncomingRequest & { [asked]?: boolean }): boolean {
      return this[asked] === true && !(this as unknown as Upgradable).upgrade
    }
  }
})

const isWebSocket = (request: Http.IncomingMessage): boolean =>
  request.method === "GET" && request.httpVersionMinor === 1 && !declaresBody(request) &&
  /(?:^|,)\s*websocket\s*(?:,|$)/i.test(request.headers.upgrade ?? "")

/** It asked for an upgrade, and is answered without. */
export const isUpgradeIgnored = (request: Http.IncomingMessage): boolean =>
  (request as unknown as Upgradable).isUpgradeIgnored

/**
 * The bytes of a request as the shortest way to write it; undefined where only the parser knows. Node's parser stops after a
 * message that asks for an upgrade and forgets what came with it in one piece, so whoever sent more than this has lost the
 * rest, and has to be told so by the end of the connection.
 */
export const shortestSize = (request: Http.IncomingMessage): number | undefined => {
  if (request.headers["transfer-encoding"] !== undefined) {
    return undefined
  }
  const { method = "", rawHeaders, url = "" } = request
  let size = method.length + url.length + " ".length + " HTTP/1.1\r\n\r\n".length
  for (const text of rawHeaders) {
    size += text.length + 2
  }
  return size + Number(request.headers["content-length"] ?? 0)
}
