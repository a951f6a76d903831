// What this browser remembers: one's name and devices, and for this tab how one is host of a meeting made here. Never a meeting's secret.

/** Devices and how sound is treated. */
export interface DeviceMemory {
  camera?: string;
  microphone?: string;
  speaker?: string;
  echoCancellation?: boolean;
  noiseSuppression?: boolean;
  autoGainControl?: boolean;
}

/** How whoever made a meeting shows it again: the same request under the same key answers with a fresh token for the same host. */
export interface HostKey {
  /** The `Idempotency-Key` of the request that made the meeting; whoever has it is the host. */
  key: string;
  /** What the meeting was made with, as the same key asks for the same request. */
  displayName: string;
  isEncrypted: boolean;
  meetingId: string;
  /** Milliseconds since the epoch. */
  madeAt: number;
}

const NAME_KEY = "dark-tower.name";
const DEVICES_KEY = "dark-tower.devices";
const hostKeyName = (code: string): string => `dark-tower.host.${code}`;

/** The API remembers a key for 24 hours (DESIGN section 3); later it would stand for another meeting. */
const HOST_KEY_LIFE_MS = 23 * 3600 * 1000;

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
  attempt(() => {
    localStorage.setItem(NAME_KEY, name);
  });
}

export function rememberedDevices(): DeviceMemory {
  return attempt(() => JSON.parse(localStorage.getItem(DEVICES_KEY) ?? "{}") as DeviceMemory | null) ?? {};
}

export function rememberDevices(change: DeviceMemory): void {
  attempt(() => {
    localStorage.setItem(DEVICES_KEY, JSON.stringify({ ...rememberedDevices(), ...change }));
  });
}

/** For this tab alone: it outlives a reload, and goes with the tab. */
export function keepHostKey(code: string, host: HostKey): void {
  attempt(() => {
    sessionStorage.setItem(hostKeyName(code), JSON.stringify(host));
  });
}

/** While the API remembers it. */
export function hostKey(code: string, nowMs = Date.now()): HostKey | undefined {
  return attempt(() => {
    const text = sessionStorage.getItem(hostKeyName(code));
    if (text === null) return undefined;
    const host = JSON.parse(text) as HostKey;
    return nowMs - host.madeAt < HOST_KEY_LIFE_MS ? host : undefined;
  });
}

/** It stands for something else by now. */
export function forgetHostKey(code: string): void {
  attempt(() => {
    sessionStorage.removeItem(hostKeyName(code));
  });
}
