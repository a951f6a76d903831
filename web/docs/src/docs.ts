// The documentation page: everything on it is read from the OpenAPI document of the server that it came from.

import { element } from "../../page/src/dom.ts";
import { callView, method } from "./call-view.ts";
import { Description, readAt, type Group } from "./openapi.ts";
import { markdown, slug } from "./text.ts";

const DOCUMENT = "/api/v1/openapi.json";

/** What the reader sees of the colours; the first follows the system. */
const SCHEMES = ["light dark", "light", "dark"] as const;
const SCHEME_NAMES = { "light dark": "Auto", light: "Light", dark: "Dark" } as const;
const SCHEME_KEY = "dark-tower.docs.scheme";

interface Entry {
  target: string;
  text: string;
  method?: string;
}

function introduction(description: Description): [view: HTMLElement, entries: Entry[]] {
  const { title, version, summary, description: told } = description.document.info;
  const head = element(
    "header",
    { class: "hero" },
    element("h1", {}, `${title} API`),
    element("p", { class: "lead" }, summary ?? ""),
    element(
      "p",
      { class: "facts" },
      element("span", {}, `Version ${version}`),
      element("code", {}, description.server),
      element("a", { attributes: { href: DOCUMENT } }, "openapi.json"),
    ),
  );
  const body = element("div", { class: "prose introduction" });
  body.append(markdown(told ?? ""));
  const entries = [...body.querySelectorAll("h2")].map((heading) => ({ target: heading.id, text: heading.textContent ?? "" }));
  return [element("section", { attributes: { id: "introduction" } }, head, body), entries];
}

function groupView(description: Description, group: Group): HTMLElement {
  const told = element("div", { class: "prose" });
  told.append(markdown(group.description));
  return element(
    "section",
    { class: "group", attributes: { id: slug(group.name) + "-calls" } },
    element("h2", {}, group.name),
    told,
    ...group.calls.map((call) => callView(description, call)),
  );
}

function navigation(parts: { title: string; entries: Entry[] }[]): HTMLElement {
  const filter = element("input", { attributes: { type: "search", placeholder: "Find a call", "aria-label": "Find a call" } });
  const lists = parts.map(({ title, entries }) => {
    const items = entries.map((entry) => {
      const link = element("a", { attributes: { href: `#${entry.target}` } }, element("span", {}, entry.text));
      if (entry.method !== undefined) link.append(method(entry.method));
      return element("li", {}, link);
    });
    return element("div", { class: "part" }, element("p", { class: "title" }, title), element("ul", {}, ...items));
  });
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const list of lists) {
      const items = [...list.querySelectorAll("li")];
      for (const item of items) item.hidden = !(item.textContent ?? "").toLowerCase().includes(wanted);
      list.hidden = items.every((item) => item.hidden);
    }
  });
  const nav = element("nav", { attributes: { id: "navigation", "aria-label": "Contents" } }, filter, ...lists);
  nav.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("a") !== null) document.body.classList.remove("with-navigation");
  });
  return nav;
}

function topBar(): HTMLElement {
  const menu = element(
    "button",
    { class: "menu", attributes: { type: "button", "aria-label": "Contents", "aria-controls": "navigation" } },
    "☰",
  );
  menu.addEventListener("click", () => document.body.classList.toggle("with-navigation"));
  const brand = element(
    "a",
    { class: "brand", attributes: { href: "#introduction" } },
    element("img", { attributes: { src: "/icon.svg", alt: "", width: "28", height: "28" } }),
    element("span", {}, "Dark Tower"),
  );
  return element("div", { class: "top" }, menu, brand, schemeButton());
}

function schemeButton(): HTMLElement {
  const button = element("button", { class: "scheme", attributes: { type: "button", title: "Colours" } });
  let scheme: (typeof SCHEMES)[number] = SCHEMES.find((name) => name === remembered()) ?? "light dark";
  const show = (): void => {
    document.documentElement.style.colorScheme = scheme;
    button.textContent = SCHEME_NAMES[scheme];
  };
  button.addEventListener("click", () => {
    scheme = SCHEMES[(SCHEMES.indexOf(scheme) + 1) % SCHEMES.length] ?? "light dark";
    try {
      localStorage.setItem(SCHEME_KEY, scheme);
    } catch {
      // Storage may be forbidden; then nothing is remembered.
    }
    show();
  });
  show();
  return button;
}

function remembered(): string | null {
  try {
    return localStorage.getItem(SCHEME_KEY);
  } catch {
    return null;
  }
}

/** Marks the entry of what stands at the top of the window. */
function follow(nav: HTMLElement): void {
  const links = new Map([...nav.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const targets = [...links.keys()].map((id) => document.getElementById(id)).filter((target) => target !== null);
  let current: HTMLAnchorElement | undefined;
  const mark = (): void => {
    const passed = targets.filter((target) => target.getBoundingClientRect().top < 120).at(-1) ?? targets[0];
    const link = links.get(passed?.id ?? "");
    if (link === current) return;
    current?.removeAttribute("aria-current");
    link?.setAttribute("aria-current", "true");
    link?.scrollIntoView({ block: "nearest" });
    current = link;
  };
  let isDue = false;
  addEventListener(
    "scroll",
    () => {
      if (isDue) return;
      isDue = true;
      requestAnimationFrame(() => {
        isDue = false;
        mark();
      });
    },
    { passive: true },
  );
  mark();
}

async function start(app: HTMLElement): Promise<void> {
  const response = await fetch(DOCUMENT);
  if (!response.ok) throw new Error(`the server answers ${response.status} instead of its description`);
  const description = new Description(readAt(location.origin, await response.text()));
  const [intro, entries] = introduction(description);
  const groups = description.groups();
  const nav = navigation([
    { title: "Guide", entries },
    ...groups.map((group) => ({
      title: group.name,
      entries: group.calls.map((call) => ({ target: call.id, text: call.operation.summary ?? call.path, method: call.method })),
    })),
  ]);
  const main = element("main", {}, intro, ...groups.map((group) => groupView(description, group)));
  main.append(
    element(
      "footer",
      {},
      "Made from ",
      element("a", { attributes: { href: DOCUMENT } }, "the OpenAPI document"),
      " that this server serves. Markdown by ",
      element("a", { attributes: { href: "/docs/licences.txt" } }, "marked"),
      ".",
    ),
  );
  app.replaceChildren(topBar(), nav, main);
  app.dataset.ready = "true";
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
  follow(nav);
}

const app = document.getElementById("app");
if (app !== null) {
  start(app).catch((error: unknown) => {
    app.replaceChildren(
      element("p", { class: "failed" }, `This page needs the description of the API, and did not get it: ${String(error)}`),
    );
  });
}
