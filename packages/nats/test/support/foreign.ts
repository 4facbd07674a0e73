/** What others do to the data of a test, past the package: by a connection of their own. */
import { fromName } from "@holdfast/nats/NatsSubject"
import { connect } from "@nats-io/transport-node"
import { Effect } from "effect"

const request = (url: string, subject: string, body: string) =>
  Effect.promise(async () => {
    const client = await connect({ servers: url })
    try {
      return JSON.parse((await client.request(subject, body, { timeout: 5000 })).string()) as Record<string, unknown>
    } finally {
      await client.close()
    }
  })

export const api = (url: string, operation: string, body: unknown = "") =>
  request(url, `$JS.API.${operation}`, body === "" ? "" : JSON.stringify(body))

/** A message that somebody else publishes. */
export const publish = (url: string, subject: string, body: string) => request(url, subject, body)

/** Takes a lease away, as one that ran out: it belongs to nobody that lives, until it runs out again. */
export const foreignLease = (url: string, bucket: string, name: string) =>
  Effect.gen(function*() {
    const subject = `$KV.${bucket}_leases.${fromName(name)}`
    const { message } = yield* api(url, `STREAM.MSG.GET.KV_${bucket}_leases`, { last_by_subj: subject })
    const data = (message as { readonly data?: string } | undefined)?.data
    if (data === undefined || Buffer.from(data, "base64").includes("\"nobody\"")) return
    yield* publish(url, subject, JSON.stringify({ node: "nobody", id: "" }))
  })
