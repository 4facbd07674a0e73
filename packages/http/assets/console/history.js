// An hour of each series at falling resolution: as the process folds it, so that a picture and what follows fit.

const levels = [{ every: 1, size: 120 }, { every: 5, size: 180 }, { every: 30, size: 120 }]

export class History {
  constructor(step) {
    this.step = step
    this.at = 0
    this.levels = levels.map(({ every, size }) => ({
      every,
      size,
      points: [],
      sum: 0,
      top: -Infinity,
      known: 0,
      seen: 0
    }))
  }

  load(rings) {
    this.at = rings[0]?.at ?? 0
    rings.forEach((ring, index) => {
      const level = this.levels[index]
      if (level !== undefined) level.points = ring.points.slice()
    })
  }

  push(at, value) {
    if (at <= this.at) return
    // What was missed in between is a gap.
    const missed = this.at === 0 ? 0 : Math.min(600, Math.round((at - this.at) / this.step) - 1)
    for (let index = 0; index < missed; index++) this.add(undefined)
    this.add(value)
    this.at = at
  }

  add(value) {
    for (const level of this.levels) {
      if (value !== undefined) {
        level.sum += value
        level.known++
        level.top = Math.max(level.top, value)
      }
      if (++level.seen < level.every) continue
      level.points.push(level.known === 0 ? null : [level.sum / level.known, level.top])
      if (level.points.length > level.size) level.points.shift()
      Object.assign(level, { sum: 0, top: -Infinity, known: 0, seen: 0 })
    }
  }

  /** The points of a range, the newest last, with the milliseconds of a point and how many there can be. */
  range(index) {
    const { every, points, size } = this.levels[index]
    return { points, step: this.step * every, size }
  }
}
