import { join } from "node:path"
import { defineConfig } from "vitepress"
import { packages, root } from "../api.mjs"
import { pages, sidebar, slug } from "../pages.mjs"

export default defineConfig({
  title: "Holdfast",
  description: "Real-time services in Effect in which nothing outlives its scope.",
  srcDir: join(root, ".cache", "site"),
  outDir: join(root, "site"),
  cacheDir: join(root, ".cache", "vitepress"),
  cleanUrls: false,
  lastUpdated: false,
  markdown: {
    // Docstrings speak of types: what looks like a tag is none.
    html: false,
    anchor: { slugify: slug },
    languageAlias: { systemd: "ini" }
  },
  themeConfig: {
    search: { provider: "local" },
    outline: { level: [2, 3] },
    nav: [
      { text: "Guides", link: "/adopting" },
      { text: "Reference", items: packages.map((pkg) => ({ text: `@holdfast/${pkg}`, link: `/api/${pkg}/` })) }
    ],
    sidebar: sidebar(pages())
  }
})
