/** The fields of a form from the schema of what it sends. */
import * as JSONSchema from "effect/JSONSchema"
import type * as Schema from "effect/Schema"
import type { Field } from "../../ConsoleFeed.js"

interface Property {
  readonly type?: string
  readonly title?: string
  readonly enum?: ReadonlyArray<unknown>
}

/** A schema that has no form has a field for its JSON as a whole; there is none like that in the library. */
export const fieldsOf = (schema: Schema.Schema.All): ReadonlyArray<Field> => {
  const json = JSONSchema.make(schema as Schema.Schema<unknown>) as {
    readonly properties?: Readonly<Record<string, Property>>
    readonly required?: ReadonlyArray<string>
  }
  const required = new Set(json.required)
  return Object.entries(json.properties ?? {}).map(([name, property]) => ({
    name,
    title: property.title ?? name,
    required: required.has(name),
    ...(property.enum === undefined
      ? {
        type: property.type === "number" || property.type === "integer"
          ? "number" as const
          : property.type === "boolean"
          ? "boolean" as const
          : "text" as const
      }
      : { type: "choice" as const, choices: property.enum.map(String) })
  }))
}
