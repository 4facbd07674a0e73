/**
 * One connection to NATS for everything in this package, as a resource of a scope.
 *
 * **For** `NatsJournal`, `NatsLeadership`, `NatsPresence` and the stores of this package: they are layers that need this one.
 * **Not for** talking to NATS in general: the objects of the client do not leave this package.
 *
 * **Guarantees**
 * - It reconnects by its schedule, for ever. Its state is told as it changes, and `check` is what `Health` asks.
 * - Nothing is handed to the client while there is no connection, so nothing waits in a buffer that is dropped in silence.
 * - A server that refuses the credentials is not asked for ever: after it said so twice in a row the connection has ended,
 *   its state is `failed`, and what needs it fails with `Denied`.
 * - When the application shuts down, a server that does not answer is waited for as long as `lastPatience`: then every append,
 *   read and write that waits ends with what is known of it, and nothing else waits. It needs the `Lifecycle` for that.
 * - Closing its scope flushes what was handed over, then closes the socket, within 3 seconds together.
 *
 * **Limits**
 * - A dead peer that does not close its socket is noticed after two pings that were not answered: 10 to 15 seconds.
 * - Files of credentials are read again at every connect; those of TLS too. A token or a password is not.
 *
 * @since 0.1.0
 */
import * as Cleanup from "@holdfast/core/Cleanup"
import * as FiberRegistry from "@holdfast/core/FiberRegistry"
import type { InvalidOption } from "@holdfast/core/InvalidOption"
import { check, fromConfig, unsafeCheck, unsafeDuration } from "@holdfast/core/InvalidOption"
import * as Lifecycle from "@holdfast/core/Lifecycle"
import { Signal } from "@holdfast/core/Signal"
import type { NatsConnection as Client } from "@nats-io/nats-core"
import { credsAuthenticator, nkeyAuthenticator } from "@nats-io/nats-core"
import type { NodeConnectionOptions } from "@nats-io/transport-node"
import { connect } from "@nats-io/transport-node"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { randomInt } from "node:crypto"
import { readFileSync } from "node:fs"
import { hostname } from "node:os"
import * as Address from "./internal/address.js"
import { connectFailure, Connection, Pauses } from "./internal/connection.js"
import * as Live from "./internal/live.js"

/**
 * How this process proves to the server who it is.
 *
 * @since 0.1.0
 * @category options
 */
export type Credentials =
  | { readonly file: string }
  | { readonly token: Redacted.Redacted }
  | { readonly user: string; readonly password: Redacted.Redacted }
  | { readonly nkeySeedFile: string }

/**
 * Where the server is, and how to come back to it.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * One address at least, such as `nats://10.0.0.1:4222`. With `tls://nats.example.com` a server that does not speak TLS is
   * refused. `nats://ada:secret@10.0.0.1` holds a name and a password, `nats://token@10.0.0.1` a token: they are used where
   * there are no `credentials`, and are shown nowhere.
   */
  readonly servers: ReadonlyArray<string>
  /** Names this node in everything that others see. Default: the name of the host and four random letters. */
  readonly node?: string | undefined
  /** Default: none. */
  readonly credentials?: Credentials | undefined
  /** Default: as the server and the address ask for. */
  readonly tls?: {
    readonly caFile?: string | undefined
    readonly certFile?: string | undefined
    readonly keyFile?: string | undefined
    /** The server expects TLS before anything else is said. Default false. */
    readonly first?: boolean | undefined
  } | undefined
  /** The pauses before it connects again; when the schedule ends, its last pause is repeated. Default: 0.05 to 0.8 seconds, jittered. */
  readonly reconnect?: Schedule.Schedule<unknown, unknown> | undefined
  /** The longest that one connect may take. The first one is tried three times. Default 5 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** How often the server is asked whether it is there. Default 5 seconds. */
  readonly ping?: Duration.DurationInput | undefined
  /**
   * For how long of a shutdown anything waits for a server that does not answer. A server that answers is not hurried. Zero or
   * more; infinity is no limit but those of the shutdown. Default 1 second.
   */
  readonly lastPatience?: Duration.DurationInput | undefined
}

/**
 * What is used where an option is left out.
 *
 * @since 0.1.0
 * @category options
 */
export const defaults = {
  reconnect: Schedule.exponential("50 millis").pipe(
    Schedule.union(Schedule.spaced("800 millis")),
    Schedule.jittered
  ),
  connectTimeout: Duration.seconds(5),
  ping: Duration.seconds(5),
  lastPatience: Duration.seconds(1)
} as const

/**
 * The first connect failed. `Denied`: the server does not accept the credentials. `Unreachable`: anything else.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConnectError extends Schema.TaggedError<ConnectError>("@holdfast/nats/NatsConnection/ConnectError")(
  "NatsConnectError",
  {
    servers: Schema.Array(Schema.String),
    reason: Schema.Literal("Denied", "Unreachable"),
    details: Schema.String
  }
) {
  override get message(): string {
    return `Cannot connect to NATS at ${this.servers.join(", ")}: ${this.reason}, ${this.details}`
  }
}

/**
 * The connection is not there.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotConnected extends Schema.TaggedError<NotConnected>("@holdfast/nats/NatsConnection/NotConnected")(
  "NatsNotConnected",
  { state: Schema.Literal("away", "failed"), sinceMillis: Schema.Number, details: Schema.String }
) {
  override get message(): string {
    return `NATS is ${this.state} for ${(this.sinceMillis / 1000).toFixed(1)} s: ${this.details}`
  }
}

/**
 * - `connected`: all is well. `away`: it reconnects. `failed`: it has ended, for the reason in `details`.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  readonly current: "connected" | "away" | "failed"
  /** Since when, in milliseconds since the epoch. */
  readonly since: number
  readonly details?: string | undefined
}

/**
 * The numbers of the connection, counted since its start.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  readonly node: string
  /** The server that it is connected to, or was. */
  readonly server: { readonly name: string; readonly version: string }
  readonly reconnects: number
  /** Requests, and messages without an answer, that were handed to the client. */
  readonly asked: number
  readonly published: number
}

/**
 * The connection to NATS that the ports share.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The name of this node. */
  readonly node: string
  readonly state: Effect.Effect<State>
  /** The state now, and whenever it changes. */
  readonly changes: Stream.Stream<State>
  /** For `Health`: succeeds while it is connected. */
  readonly check: Effect.Effect<void, NotConnected>
  readonly stats: Effect.Effect<Stats>
}

/**
 * The connection to NATS.
 *
 * @since 0.1.0
 * @category tags
 */
export class NatsConnection extends Context.Tag("@holdfast/nats/NatsConnection")<NatsConnection, Service>() {}

const clients = new WeakMap<Service, Connection>()

/**  * The connection of the client library beneath.
 *
@internal */
export const unsafeConnection = (service: Service): Connection => {
  const connection = clients.get(service)
  if (connection === undefined) throw new Error("a NatsConnection is made by NatsConnection.make, and by nothing else")
  return connection
}

const letters = "abcdefghijkmnpqrstuvwxyz"
const randomName = (): string =>
  `${hostname().replace(/[^A-Za-z0-9-]/g, "-")}-${
    Array.from({ length: 4 }, () => letters[randomInt(letters.length)]).join("")
  }`

const credentialsOf = (credentials: Credentials | undefined): Partial<NodeConnectionOptions> => {
  if (credentials === undefined) return {}
  if ("file" in credentials) return { authenticator: credsAuthenticator(() => readFileSync(credentials.file)) }
  if ("nkeySeedFile" in credentials) {
    return {
      authenticator: nkeyAuthenticator(() => Buffer.from(readFileSync(credentials.nkeySeedFile, "utf8").trim()))
    }
  }
  if ("token" in credentials) return { token: Redacted.value(credentials.token) }
  return { user: credentials.user, pass: Redacted.value(credentials.password) }
}

/** What the addresses say, unless there are credentials beside them. */
const loginOf = (addresses: ReadonlyArray<Address.Address>): Partial<NodeConnectionOptions> => {
  const login = addresses.find(({ login }) => login !== undefined)?.login
  if (login === undefined) return {}
  return "token" in login ? login : { user: login.user, pass: login.password }
}

const tlsOf = ({ tls }: Options, addresses: ReadonlyArray<Address.Address>): Partial<NodeConnectionOptions> =>
  tls === undefined
    // the client takes the scheme for an ornament
    ? addresses.some(({ isSecure }) => isSecure) ? { tls: {} } : {}
    : {
      tls: {
        ...(tls.caFile === undefined ? {} : { caFile: tls.caFile }),
        ...(tls.certFile === undefined ? {} : { certFile: tls.certFile }),
        ...(tls.keyFile === undefined ? {} : { keyFile: tls.keyFile }),
        ...(tls.first === true ? { handshakeFirst: true } : {})
      }
    }

/** One try to connect. When nobody waits for it any longer, what comes of it is closed. */
const connectOnce = (options: NodeConnectionOptions): Effect.Effect<Client, unknown> =>
  Effect.async((resume) => {
    let abandoned = false
    connect(options).then(
      (client) => abandoned ? void client.close() : resume(Effect.succeed(client)),
      (error: unknown) => resume(Effect.fail(error))
    )
    return Effect.sync(() => {
      abandoned = true
    })
  })

const open = (
  options: NodeConnectionOptions,
  servers: ReadonlyArray<string>,
  pauses: Pauses,
  tries: number
): Effect.Effect<Client, ConnectError> =>
  Effect.catchAll(connectOnce(options), (error) => {
    const { details, reason } = connectFailure(error)
    return reason === "Denied" || tries <= 1
      ? new ConnectError({ servers: [...servers], reason, details })
      : Effect.zipRight(
        Effect.suspend(() => {
          pauses.tried()
          return Live.sleep(pauses.next())
        }),
        open(options, servers, pauses, tries - 1)
      )
  })

/** Says in the log what the state becomes, for as long as the scope is open. */
const reportState = (connection: Connection, servers: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const changed = new Signal()
    let told = connection.state
    yield* Effect.acquireRelease(
      Effect.sync(() => connection.listen(() => changed.wake())),
      (unlisten) => Effect.sync(unlisten)
    )
    const loop = changed.wait(() => connection.state !== told).pipe(
      Effect.zipRight(Effect.suspend(() => {
        const before = told
        const { current, details, since } = told = connection.state
        if (current === "failed") return Effect.logError(`NATS: the connection has ended: ${details}`)
        if (current === "away") return Effect.logWarning(`NATS: ${details}; connecting again to ${servers.join(", ")}`)
        return Effect.logInfo(
          `NATS: connected again to ${connection.server.name}, after ${((since - before.since) / 1000).toFixed(1)} s`
        )
      })),
      Effect.forever
    )
    yield* FiberRegistry.forkScoped(loop, { name: "nats/connection", kind: "service" })
  })

const close = (connection: Connection) =>
  Effect.zipRight(
    connection.isConnected
      ? Live.either(Effect.ignore(Effect.tryPromise(() => connection.flush())), connection.until(Live.now() + 1000))
      : Effect.void,
    Effect.promise(() => connection.close())
  )

/**
 * Connects, for as long as the scope in use is open.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Service, InvalidOption | ConnectError, Scope.Scope> =>
  Effect.gen(function*() {
    const { connectTimeout, lastPatience, ping, servers } = yield* check(() => ({
      // a password is for the server alone
      servers: unsafeCheck(
        "NatsConnection.servers",
        options.servers.map((one) => Address.read(one).shown),
        (all) => all.length > 0 && all.every((one) => one !== ""),
        "one address at least, such as [\"nats://127.0.0.1:4222\"]"
      ),
      connectTimeout: unsafeDuration(
        "NatsConnection.connectTimeout",
        options.connectTimeout ?? defaults.connectTimeout
      ),
      ping: unsafeDuration("NatsConnection.ping", options.ping ?? defaults.ping),
      lastPatience: unsafeDuration("NatsConnection.lastPatience", options.lastPatience ?? defaults.lastPatience, {
        zero: true,
        infinite: true
      })
    }))
    const node = yield* check(() =>
      unsafeCheck(
        "NatsConnection.node",
        options.node ?? randomName(),
        (name) => /^[A-Za-z0-9_.-]{1,64}$/.test(name),
        "1 to 64 letters, digits, dots, dashes or underscores"
      )
    )
    const addresses = options.servers.map(Address.read)
    const runtime = yield* Effect.runtime<never>()
    const pauses = new Pauses(options.reconnect ?? defaults.reconnect, runtime)
    const client = open(
      {
        servers: [...servers],
        name: node,
        timeout: connectTimeout,
        pingInterval: ping,
        maxPingOut: 2,
        maxReconnectAttempts: -1,
        reconnectDelayHandler: pauses.next,
        ...(options.credentials === undefined ? loginOf(addresses) : credentialsOf(options.credentials)),
        ...tlsOf(options, addresses)
      },
      servers,
      pauses,
      3
    )
    const connection = yield* Cleanup.acquireRelease(
      Effect.map(Effect.interruptible(client), (opened) => new Connection(node, opened, pauses)),
      { label: "nats: close", budget: "3 seconds" },
      close
    )
    pauses.reset()
    yield* Lifecycle.onPhaseIfPresent(
      "draining",
      { label: "nats: wait no longer than is left" },
      Effect.sync(() => connection.hurry(lastPatience))
    )
    yield* reportState(connection, servers)
    const service: Service = {
      node,
      state: Effect.sync(() => connection.state),
      changes: Stream.asyncPush<State>((emit) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            emit.single(connection.state)
            return connection.listen(() => emit.single(connection.state))
          }),
          (unlisten) => Effect.sync(unlisten)
        )
      ),
      check: Effect.suspend(() => {
        const { current, details, since } = connection.state
        return current === "connected"
          ? Effect.void
          : new NotConnected({ state: current, sinceMillis: Date.now() - since, details: details ?? "" })
      }),
      stats: Effect.sync(() => {
        const { asked, published, reconnects, server: { name, version } } = connection
        return { node, server: { name, version }, reconnects, asked, published }
      })
    }
    clients.set(service, connection)
    return service
  })

/**
 * Connects, and stays connected for as long as the layer lives.
 *
 * @example
 * ```ts no-run
 * import { NatsConnection } from "@holdfast/nats"
 * import { Layer } from "effect"
 *
 * const Nats: Layer.Layer<NatsConnection.NatsConnection, unknown> = NatsConnection.layer({
 *   servers: ["nats://127.0.0.1:4222"],
 *   node: "a"
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<NatsConnection, InvalidOption | ConnectError> =>
  Layer.scoped(NatsConnection, make(options))

/**
 * `layer` with options from `Config`. Fails with `ConfigError` for a variable that cannot be read; an `InvalidOption` names the variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: (
  options: Config.Config.Wrap<Options>
) => Layer.Layer<NatsConnection, InvalidOption | ConnectError | ConfigError.ConfigError> = fromConfig(layer)
