/** The length of a string in UTF-8. */
export const utf8Length = (text: string): number => {
  let length = text.length
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x80) continue
    if (code < 0x800) length += 1
    else {
      length += 2
      if (code >= 0xd800 && code < 0xdc00) i++
    }
  }
  return length
}
