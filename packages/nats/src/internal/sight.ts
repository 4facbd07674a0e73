/** What a node has seen of the log: the newest id, and whose append the newest ids were. */
export interface Witness {
  readonly id: number
  readonly attempt: string | undefined
}

const size = 8192

export class Sight {
  /** The newest id that was acknowledged to this node, or came to it. */
  witness: Witness = { id: 0, attempt: undefined }
  private readonly ids = new Float64Array(size)
  private readonly attempts: Array<string | undefined> = Array.from({ length: size }, () => undefined)

  /** Returns false when another event was seen under this id. */
  note(id: number, attempt: string | undefined): boolean {
    const slot = id % size
    if (this.ids[slot] === id) {
      const known = this.attempts[slot]
      if (known !== undefined && attempt !== undefined && known !== attempt) return false
    }
    if (this.ids[slot] <= id) {
      this.ids[slot] = id
      this.attempts[slot] = attempt
    }
    if (id > this.witness.id) this.witness = { id, attempt }
    return true
  }

  /** Whose append the event of this id was; none when it is not known. */
  attemptAt(id: number): string | undefined {
    return this.ids[id % size] === id ? this.attempts[id % size] : undefined
  }

  /** The first id of an append, if it was seen lately. */
  firstOf(attempt: string): number | undefined {
    for (let id = this.witness.id; id > 0 && id > this.witness.id - size; id--) {
      if (this.attemptAt(id) !== attempt) continue
      while (this.attemptAt(id - 1) === attempt) id--
      return id
    }
    return undefined
  }
}
