// Which device to take, and what to call it. Pure.

interface Choice {
  deviceId: string;
  label: string;
}

/** Chromium's names for whatever the system prefers; they stand for another entry of the list. */
const ALIASES = new Set(["default", "communications"]);

/** What takes the place of a device that stopped: itself if it is still listed, else what the system prefers, else any. */
export function otherDevice<T extends Choice>(choices: readonly T[], lostId: string): T | undefined {
  return choices.find((choice) => choice.deviceId === lostId) ?? choices.find((choice) => choice.deviceId === "default") ?? choices.at(0);
}

/** Names for a list to choose from: unique, and never empty. The system's choice comes first. */
export function choiceLabels(choices: readonly Choice[], kind: string): { value: string; label: string }[] {
  const seen = new Map<string, number>();
  const sorted = [...choices].sort((one, other) => Number(ALIASES.has(other.deviceId)) - Number(ALIASES.has(one.deviceId)));
  return sorted.map(({ deviceId, label }, index) => {
    // Chromium adds the USB ids, which tell nobody anything.
    const name = label.replace(/\s*\([0-9a-f]{4}:[0-9a-f]{4}\)$/iu, "").trim() || `${kind} ${index + 1}`;
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return { value: deviceId, label: count === 1 ? name : `${name} (${count})` };
  });
}

/**
 * Whether to ask for a device by itself after both together were refused. Nobody is asked a second time for what was just declined; but one
 * device that is blocked keeps the other from being asked about.
 */
export function isWorthAsking(state: PermissionState | undefined, otherState: PermissionState | undefined): boolean {
  if (state === "denied") return false;
  return state !== "prompt" || otherState === "denied";
}
