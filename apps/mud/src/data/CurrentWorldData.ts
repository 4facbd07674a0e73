/**
 * The world's data: read at the start, and read anew when a file changes.
 *
 * A change that does not validate is logged with its file, line and path, and is no change.
 *
 * Sub-folders are read, but only the folder itself is watched.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import { Context, Effect, Layer, Stream } from "effect"
import type { WorldData } from "./WorldData.js"
import * as WorldLoader from "./WorldLoader.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class CurrentWorldData extends Context.Tag("@holdfast/mud/CurrentWorldData")<CurrentWorldData, {
  readonly initial: WorldData
  /** The data each time that it was read anew and is valid and different. */
  readonly changes: Stream.Stream<WorldData>
}>() {}

/** True for data that is not the same as the data before it. */
const isNews = (initial: WorldData) => {
  let last = JSON.stringify(initial)
  return (data: WorldData): boolean => {
    const text = JSON.stringify(data)
    const news = text !== last
    last = text
    return news
  }
}

const make = (folder: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const context = yield* Effect.context<FileSystem.FileSystem | Path.Path>()
    const initial = yield* WorldLoader.load(folder)
    const read = WorldLoader.load(folder).pipe(
      Effect.map((data): ReadonlyArray<WorldData> => [data]),
      Effect.catchAll((error) => Effect.as(Effect.logWarning(`The world stays as it is: ${error.message}`), [])),
      Effect.provide(context)
    )
    return CurrentWorldData.of({
      initial,
      changes: fs.watch(folder).pipe(
        // Editors write a file in several steps: look when it has been quiet for a moment.
        Stream.debounce("200 millis"),
        Stream.mapConcatEffect(() => read),
        Stream.filter(isNews(initial)),
        Stream.catchAll((error) =>
          Stream.fromEffect(Effect.logWarning("The world's data is not watched", error)).pipe(Stream.drain)
        )
      )
    })
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  folder: string
): Layer.Layer<CurrentWorldData, WorldLoader.WorldDataError, FileSystem.FileSystem | Path.Path> =>
  Layer.effect(CurrentWorldData, make(folder))
