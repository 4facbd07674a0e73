/**
 * A job runner: workers under a supervisor take jobs from a queue. A job that crashes costs one worker a restart; when the
 * process is told to end, jobs in progress are finished and the others are named.
 */
import { HttpLayerRouter, HttpServerResponse } from "@effect/platform"
import { Lifecycle, Supervision } from "@holdfast/core"
import { Health, HttpErrors } from "@holdfast/http"
import { NodeMain, NodeServer } from "@holdfast/node"
import { Config, Context, Effect, Layer, Queue, Ref, Schedule, Schema } from "effect"

const Job = Schema.Struct({
  name: Schema.NonEmptyTrimmedString,
  millis: Schema.Int.pipe(Schema.between(0, 60_000)),
  crash: Schema.optionalWith(Schema.Boolean, { default: () => false })
})
type Job = typeof Job.Type

interface Counts {
  readonly waiting: number
  readonly done: number
  readonly crashed: number
}

class Jobs extends Context.Tag("jobs/Jobs")<Jobs, {
  /** False when there is no room. */
  readonly submit: (job: Job) => Effect.Effect<boolean, Lifecycle.ShuttingDown>
  readonly counts: Effect.Effect<Counts>
}>() {}

const JobsLive = Layer.scoped(
  Jobs,
  Effect.gen(function*() {
    const queue = yield* Queue.dropping<Job>(100)
    const done = yield* Ref.make(0)
    const crashed = yield* Ref.make(0)
    const lifecycle = yield* Lifecycle.Lifecycle

    const work = (job: Job) =>
      Effect.sleep(job.millis).pipe(
        Effect.zipRight(job.crash ? Effect.dieMessage(`${job.name} crashed`) : Ref.update(done, (count) => count + 1)),
        Effect.tapDefect(() => Ref.update(crashed, (count) => count + 1))
      )
    // Draining waits for work that was admitted, and admits no more.
    const worker = Effect.forever(
      Effect.flatMap(Queue.take(queue), (job) =>
        Effect.catchTag(
          lifecycle.admit(`job ${job.name}`, work(job)),
          "ShuttingDown",
          () => Effect.logWarning(`not begun, the process is ending: ${job.name}`)
        ))
    )

    yield* Supervision.make({
      name: "workers",
      strategy: "one_for_one",
      intensity: 20,
      period: "1 minute",
      backoff: Schedule.exponential("50 millis"),
      children: ["ann", "ben", "cleo"].map((name) => ({ name, start: worker }))
    })

    return {
      submit: (job: Job) => Effect.zipRight(lifecycle.admit("submit", Effect.void), Queue.offer(queue, job)),
      counts: Effect.all({ waiting: Queue.size(queue), done: Ref.get(done), crashed: Ref.get(crashed) })
    }
  })
)

const submit = Effect.gen(function*() {
  const job = yield* HttpErrors.bodyJson(Job)
  if (yield* Effect.flatMap(Jobs, (jobs) => jobs.submit(job))) {
    return yield* HttpServerResponse.json({ accepted: job.name }, { status: 202 })
  }
  return yield* HttpErrors.make("Unavailable", "no room for another job", {}, { headers: { "retry-after": "1" } })
})

const ending = () => HttpErrors.make("ShuttingDown", "this process is ending", {}, { headers: { "retry-after": "1" } })

const counts = Effect.flatMap(Effect.flatMap(Jobs, (jobs) => jobs.counts), (counts) => HttpServerResponse.json(counts))

const Routes = Layer.mergeAll(
  HttpLayerRouter.add("POST", "/jobs", Effect.catchTag(submit, "ShuttingDown", ending)),
  HttpLayerRouter.add("GET", "/jobs", counts),
  Health.layerRoutes()
)

const App = HttpLayerRouter.serve(Routes, { disableLogger: true }).pipe(
  Layer.provide(NodeServer.layerConfig({ port: Config.withDefault(Config.integer("PORT"), 3000) })),
  Layer.provide([JobsLive, Health.layer()])
)

NodeMain.runMain(App, { name: "jobs", gracefulShutdownTimeout: "10 seconds" })
