// The feed: server-sent events over fetch, since an EventSource cannot send the token in a header. It comes back for ever.

const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis))

/** Events of a stream of bytes; comments, ids and retries are nothing to this page. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  let event = ""
  let data = []
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop()
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield { event, data: JSON.parse(data.join("\n")) }
        event = ""
        data = []
      } else if (line.startsWith("event:")) event = line.slice(6).trim()
      else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5))
    }
  }
}

export const follow = async ({ headers, onEvent, onState, onLocked }) => {
  for (let failures = 0;; failures++) {
    const abort = new AbortController()
    // Longer than this without a byte: the connection is dead, whatever the network says.
    let alive = setTimeout(() => abort.abort(), 8000)
    try {
      const response = await fetch("feed", { headers: headers(), signal: abort.signal, cache: "no-store" })
      if (response.status === 401) {
        clearTimeout(alive)
        return onLocked()
      }
      if (!response.ok) throw new Error(`${response.status}`)
      for await (const { data, event } of events(response.body)) {
        clearTimeout(alive)
        alive = setTimeout(() => abort.abort(), 8000)
        failures = 0
        onState("live")
        onEvent(event, data)
      }
      onState("ended")
    } catch {
      onState("lost")
    } finally {
      clearTimeout(alive)
    }
    await sleep(Math.min(2000, 250 * 2 ** failures))
  }
}
