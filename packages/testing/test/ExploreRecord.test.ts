import * as Explore from "@holdfast/testing/Explore"
import { assert, describe, it } from "@holdfast/testing/Vitest"
import { Effect, Ref } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

const program = (earn: (gold: Ref.Ref<number>) => Effect.Effect<void>) =>
  Effect.gen(function*() {
    const gold = yield* Ref.make(0)
    yield* Effect.all([earn(gold), earn(gold)], { concurrency: 2 })
    if ((yield* Ref.get(gold)) !== 2) return yield* Effect.dieMessage("an update was lost")
  })

const buggy = program((gold) =>
  Effect.gen(function*() {
    const before = yield* Ref.get(gold)
    yield* Ref.set(gold, before + 1)
  })
)

/** As it is after somebody has worked on it: the bug is still there. */
const edited = program((gold) =>
  Effect.gen(function*() {
    yield* Effect.void
    const before = yield* Ref.get(gold)
    yield* Ref.set(gold, before + 1)
  })
)

const mended = program((gold) => Ref.update(gold, (before) => before + 1))

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "holdfast-record-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const recorded = Effect.gen(function*() {
  const file = join(yield* folder, "earn.json")
  const bug = yield* Effect.flip(Explore.check(buggy))
  if (bug._tag !== "BugFound") return yield* Effect.dieMessage(bug.message)
  yield* Explore.record(bug, file)
  return file
})

describe("Explore.record", () => {
  it.scoped("writes a file that fails again, also after an edit, and passes when the bug is mended", () =>
    Effect.gen(function*() {
      const file = yield* recorded
      for (const still of [buggy, edited]) {
        for (const place of [file, pathToFileURL(file)]) {
          const again = yield* Effect.flip(Explore.regression(still, place))
          assert.strictEqual(again._tag, "BugFound")
          assert.include(again.message, "an update was lost")
        }
      }
      const { followed, moves, runs } = yield* Explore.regression(mended, file)
      assert.isAbove(runs, 1)
      assert.isAtLeast(followed, 1)
      assert.isAtLeast(moves, 1)
      // for people, too
      assert.match(readFileSync(file, "utf8"), /"failure": "failed: .*an update was lost/)
    }))

  it.scoped("says what is wrong with a file that holds no schedule", () =>
    Effect.gen(function*() {
      const file = join(yield* folder, "none.json")
      const refusal = Effect.map(
        Effect.flip(Explore.regression(buggy, file)),
        ({ _tag, message }) => [_tag, message] as const
      )
      const [missing, why] = yield* refusal
      assert.strictEqual(missing, "InvalidSchedule")
      assert.include(why, "ENOENT")
      assert.include(why, "expected a file that Explore.record wrote")
      for (const text of ["no JSON", "{}", "{\"failure\":\"\",\"seed\":1.5,\"moves\":[]}"]) {
        writeFileSync(file, text)
        const [tag, message] = yield* refusal
        assert.strictEqual(tag, "InvalidSchedule")
        assert.include(message, file)
        assert.notInclude(message, "\n")
      }
    }))

  it.scoped("says so when the program can make none of the moves any more", () =>
    Effect.gen(function*() {
      const file = yield* recorded
      const other = yield* Effect.flip(Explore.regression(Effect.void, file))
      assert.strictEqual(other._tag, "ScheduleNotFollowed")
      assert.match(other.message, /none of the \d+ moves .* an update was lost.*record a failure .* or delete the test/)
    }))
})

const kept = new URL("./fixtures/earn.json", import.meta.url)

describe("it.regression", () => {
  it.regression("passes when the bug of a recorded file is mended", kept, () => mended)
  it.regression.fails("fails as long as the bug is there", kept, () => buggy)
  it.regression.fails("fails after an edit", kept, () => edited)
  it.regression.fails("fails when the program is another one", kept, () => Effect.void)
  it.regression.fails("fails without a file", new URL("./fixtures/nowhere.json", import.meta.url), () => mended)
})
