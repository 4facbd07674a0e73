// What an operator can press: asked first, with a form where one is needed, and said how it went.
import { make } from "./format.js"

const $ = (id) => document.getElementById(id)

const control = (field, value) => {
  const input = field.type === "choice"
    ? make(
      "select",
      { name: field.name },
      ...(field.choices ?? []).map((choice) => make("option", { value: choice, textContent: choice }))
    )
    : make("input", {
      name: field.name,
      type: { text: "text", number: "number", boolean: "checkbox" }[field.type],
      required: field.required && field.type !== "boolean",
      value: value ?? ""
    })
  if (field.type === "number") input.step = "any"
  return make("label", {}, make("span", { textContent: field.title }), input)
}

const read = (form, fields) => {
  const values = {}
  for (const { name, required, type } of fields) {
    const input = form.elements[name]
    if (type === "boolean") values[name] = input.checked
    else if (input.value !== "" || required) values[name] = type === "number" ? Number(input.value) : input.value
  }
  return values
}

/** Resolves to the values, or undefined. */
const ask = (action, subject, fields) =>
  new Promise((resolve) => {
    const dialog = $("sure")
    const form = dialog.querySelector("form")
    $("sure-title").textContent = subject === undefined ? `${action.title}?` : `${action.title} ${subject}?`
    $("sure-text").textContent = action.confirm ?? ""
    $("sure-fields").replaceChildren(...fields.map((field) => control(field)))
    $("sure-yes").textContent = action.title
    $("sure-yes").className = action.danger ? "danger" : "primary"
    dialog.returnValue = "no"
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? read(form, fields) : undefined), {
      once: true
    })
    dialog.showModal()
    ;(fields.length > 0 ? form.elements[fields[0].name] : dialog.querySelector("button[value=no]")).focus()
  })

/** With `row`: the act of a row, whose key is the first field. Returns what to say, or undefined when nothing was done. */
export const perform = async (action, headers, row, subject) => {
  const [first, ...rest] = action.fields
  const given = row === undefined ? {} : { [first.name]: row.key }
  const fields = row === undefined ? action.fields : rest
  const values = action.confirm === undefined && fields.length === 0 ? {} : await ask(action, subject, fields)
  if (values === undefined) return undefined
  try {
    const response = await fetch(`act/${encodeURIComponent(action.name)}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-operator-act": "1", ...headers() },
      body: JSON.stringify({ ...given, ...values })
    })
    if (response.ok) return { good: true, text: `${action.title}${subject === undefined ? "" : ` ${subject}`}: done` }
    const problem = await response.json().catch(() => ({}))
    return { good: false, text: `${action.title}: ${problem.message ?? `refused (${response.status})`}` }
  } catch {
    return { good: false, text: `${action.title}: the process did not answer` }
  }
}
