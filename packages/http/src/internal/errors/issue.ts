/** A schema's issue in words: the path of the value at fault, and what was expected there. */
import type * as ParseResult from "effect/ParseResult"
import * as AST from "effect/SchemaAST"

export interface Leaf {
  readonly path: ReadonlyArray<PropertyKey>
  readonly message: string
  readonly expected: string | undefined
}

export const leaf = (issue: ParseResult.ParseIssue, path: ReadonlyArray<PropertyKey>): Leaf => {
  switch (issue._tag) {
    case "Pointer":
      return leaf(issue.issue, path.concat(issue.path as PropertyKey))
    case "Composite": {
      const first = Array.isArray(issue.issues) ? issue.issues[0] : issue.issues
      if (AST.isUnion(issue.ast) && !deeper(first as ParseResult.ParseIssue)) {
        return described(issue.ast, issue, path)
      }
      return leaf(first as ParseResult.ParseIssue, path)
    }
    case "Refinement":
      return issue.kind === "From" ? leaf(issue.issue, path) : described(issue.ast, issue, path)
    case "Transformation":
      return issue.kind === "Transformation" && issue.issue._tag === "Type"
        ? described(issue.ast, issue.issue, path)
        : leaf(issue.issue, path)
    case "Missing":
      return { path, message: issue.message ?? "is missing", expected: text(issue.ast.type) }
    case "Unexpected":
      return { path, message: issue.message ?? "is not known here", expected: "no such field" }
    default:
      return described(issue.ast, issue, path)
  }
}

const deeper = (issue: ParseResult.ParseIssue): boolean =>
  issue._tag === "Pointer" || ("issue" in issue && deeper(issue.issue)) ||
  (issue._tag === "Composite" && (Array.isArray(issue.issues) ? issue.issues : [issue.issues]).some(deeper))

const described = (ast: AST.AST, issue: ParseResult.ParseIssue, path: ReadonlyArray<PropertyKey>): Leaf => {
  const expected = text(ast)
  const own = AST.getMessageAnnotation(ast)
  const custom = own._tag === "Some" ? own.value(issue) : undefined
  return {
    path,
    message: typeof custom === "string" ? custom : `is ${show(issue.actual)}, expected ${expected}`,
    expected
  }
}

const text = (ast: AST.AST): string => clip(wording(ast))

/** What is optional may be left out, but is not offered as a value. */
const wording = (ast: AST.AST): string => {
  const described = AST.getDescriptionAnnotation(ast)
  if (described._tag === "Some") return described.value
  return AST.isUnion(ast)
    ? ast.types.filter((member) => !AST.isUndefinedKeyword(member)).map(wording).join(" or ")
    : String(ast)
}

const show = (value: unknown): string => {
  if (value === null || value === undefined || typeof value === "number" || typeof value === "boolean") {
    return String(value)
  }
  if (typeof value === "string") {
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  }
  return Array.isArray(value) ? "an array" : `an ${typeof value}`
}

/** Two hundred characters are enough to recognise a text. */
export const clip = (text: string): string => text.length > 200 ? `${text.slice(0, 200)}…` : text
