// What this browser remembers: one's name, and for this tab the host's token of a meeting created here.

const NAME_KEY = "dark-tower.name";
const hostKey = (code: string): string => `dark-tower.host.${code}`;

/** Storage may be forbidden; then nothing is remembered. */
function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

export function rememberedName(): string {
  return attempt(() => localStorage.getItem(NAME_KEY)) ?? "";
}

export function rememberName(name: string): void {
  attempt(() => localStorage.setItem(NAME_KEY, name));
}

export function keepHostToken(code: string, token: string): void {
  attempt(() => sessionStorage.setItem(hostKey(code), token));
}

/** The token, which is good once and so forgotten here. */
export function takeHostToken(code: string): string | undefined {
  return attempt(() => {
    const token = sessionStorage.getItem(hostKey(code));
    sessionStorage.removeItem(hostKey(code));
    return token ?? undefined;
  });
}
