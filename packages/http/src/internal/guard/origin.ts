/**
 * Was a request sent by a page of this very server, as far as a browser tells? The scheme is not compared: behind a proxy
 * that ends TLS the page's is https, and the server's is not.
 */
export const isOwnOrigin = (
  headers: Readonly<Record<string, string | undefined>>,
  origins: ReadonlyArray<string>
): boolean => {
  const site = headers["sec-fetch-site"]
  const listed = origins.includes(headers["origin"]?.toLowerCase() ?? "")
  if (site !== undefined && site !== "same-origin" && !listed) {
    return false
  }
  const host = /^https?:\/\/([^/]+)$/i.exec(headers["origin"] ?? "")?.[1]
  return listed || (host !== undefined && host.toLowerCase() === headers["host"]?.toLowerCase())
}
