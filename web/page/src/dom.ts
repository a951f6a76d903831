// Elements without markup in strings: text is always text.

type Child = Node | string | undefined;
type Listeners = { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };

interface Properties {
  class?: string;
  testid?: string;
  on?: Listeners;
  attributes?: Record<string, string>;
}

/** An element with what belongs to it. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (properties.class !== undefined) made.className = properties.class;
  if (properties.testid !== undefined) made.dataset.testid = properties.testid;
  for (const [name, value] of Object.entries(properties.attributes ?? {})) made.setAttribute(name, value);
  for (const [type, listener] of Object.entries(properties.on ?? {})) made.addEventListener(type, listener as EventListener);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** Shows `view` and nothing else; focus goes to its first field or heading, for those who do not see the change. */
export function show(view: HTMLElement): void {
  const app = document.querySelector("#app");
  app?.replaceChildren(view);
  const target = view.querySelector<HTMLElement>("[data-autofocus]") ?? view.querySelector<HTMLElement>("h1");
  if (target instanceof HTMLHeadingElement) target.tabIndex = -1;
  target?.focus({ preventScroll: true });
}
