// The global controller's public API, as far as a participant needs it.

import { DarkTowerError, type ErrorCode } from "./error.ts";
import type { JoinTicket } from "./types.ts";

/** What the API's create answers: the host's ticket, and where the others come in. */
export interface CreatedMeeting extends JoinTicket {
  meeting_url: string;
}

interface ErrorBody {
  error?: { code?: string; message?: string; details?: Record<string, string> };
}

async function ask<T>(method: "POST" | "DELETE", url: string, body: unknown, accessToken: string | undefined): Promise<T> {
  const headers: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
  if (accessToken !== undefined) headers.authorization = `Bearer ${accessToken}`;
  let response: Response;
  try {
    response = await fetch(url, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  } catch (thrown) {
    throw new DarkTowerError("CONNECTION_FAILED", thrown instanceof Error ? thrown.message : String(thrown));
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok && answer !== undefined) return answer as T;
  const { error } = (answer ?? {}) as ErrorBody;
  const details: Record<string, string> = { ...error?.details, status: String(response.status) };
  const retryAfter = response.headers.get("retry-after");
  if (retryAfter !== null) details.retry_after = retryAfter;
  throw new DarkTowerError((error?.code ?? "INTERNAL_ERROR") as ErrorCode, error?.message ?? `HTTP ${response.status}`, details);
}

export interface ApiOptions {
  /** Of the global controller; the page's own if absent. */
  origin?: string;
  accessToken?: string;
}

/** How a meeting is made. */
export interface CreateOptions extends ApiOptions {
  /** Encrypted end to end: nobody gets in without the secret, which `createSecret` makes and `urlWithSecret` puts into the link. */
  encrypted?: boolean;
}

export function createMeeting(displayName: string, options: CreateOptions = {}): Promise<CreatedMeeting> {
  const body = { display_name: displayName, ...(options.encrypted === true && { settings: { enable_e2e_encryption: true } }) };
  return ask("POST", `${options.origin ?? ""}/api/v1/meetings`, body, options.accessToken);
}

/** `meeting`: the id, or the short code. */
export function requestJoin(meeting: string, displayName: string, options: ApiOptions = {}): Promise<JoinTicket> {
  const url = `${options.origin ?? ""}/api/v1/meetings/${encodeURIComponent(meeting)}/join`;
  return ask("POST", url, { display_name: displayName }, options.accessToken);
}

/** Ends a meeting for everybody. `meeting`: the id, or the short code. Who may: its API client, or anybody where meetings need no account. */
export async function endMeeting(meeting: string, options: ApiOptions = {}): Promise<void> {
  await ask("DELETE", `${options.origin ?? ""}/api/v1/meetings/${encodeURIComponent(meeting)}`, undefined, options.accessToken);
}
