/** The address of a server, as people write it: with a name and a password in it, and with the wish for TLS. */

/** What an address says. */
export interface Address {
  /** Without what is secret: it may be shown. */
  readonly shown: string
  readonly login: { readonly user: string; readonly password: string } | { readonly token: string } | undefined
  /** A server that does not speak TLS is not to be talked to. */
  readonly isSecure: boolean
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export const read = (text: string): Address => {
  const [, scheme = "", userInfo, rest = ""] = /^([a-z]+:\/\/)?(?:(.*)@)?(.*)$/s.exec(text) ?? []
  const colon = userInfo?.indexOf(":") ?? -1
  return {
    shown: `${scheme}${rest}`,
    login: userInfo === undefined || userInfo === ""
      ? undefined
      : colon === -1
      ? { token: decoded(userInfo) }
      : { user: decoded(userInfo.slice(0, colon)), password: decoded(userInfo.slice(colon + 1)) },
    isSecure: scheme === "tls://" || scheme === "wss://"
  }
}
