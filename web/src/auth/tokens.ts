/**
 * Keeps the session's tokens, shared by all tabs.
 *
 * A refresh token is good for one exchange, and using it twice ends the session. So one tab at a time refreshes, under a
 * lock, and the others take what it has stored.
 */

import { call } from "../api/call";
import { ApiError, Unreachable } from "../api/errors";
import type { Tokens } from "../api/types";
import { alone } from "./lock";

const KEY = "parley.tokens";
/** Renew this long before the access token runs out. */
const MARGIN_MS = 60_000;

interface Kept {
  accessToken: string;
  refreshToken: string;
  expiresAt: number;
}

export class TokenKeeper {
  private renewing: Promise<string> | null = null;

  /** `onEnd` is called when the session turns out to be over, in this tab or in another. */
  constructor(private readonly onEnd: () => void) {}

  /** Whether somebody is signed in on this device. */
  get signedIn(): boolean {
    return this.read() !== null;
  }

  keep(tokens: Tokens): void {
    const expiresAt = Date.now() + tokens.expiresIn * 1000;
    const { accessToken, refreshToken } = tokens;
    localStorage.setItem(KEY, JSON.stringify({ accessToken, refreshToken, expiresAt } satisfies Kept));
  }

  forget(): void {
    localStorage.removeItem(KEY);
  }

  /** An access token that holds for a while. Throws `ApiError` when the session is over. */
  async fresh(): Promise<string> {
    const kept = this.read();
    if (!kept) throw ended();
    return kept.expiresAt - Date.now() > MARGIN_MS ? kept.accessToken : this.renew(kept.accessToken);
  }

  /** Milliseconds until the token should be renewed. */
  get dueIn(): number {
    const kept = this.read();
    return kept ? Math.max(0, kept.expiresAt - Date.now() - MARGIN_MS) : 0;
  }

  /** Exchanges the tokens, unless another tab has done so since `stale` was read. */
  renew(stale: string): Promise<string> {
    this.renewing ??= alone(() => this.exchange(stale)).finally(() => {
      this.renewing = null;
    });
    return this.renewing;
  }

  private async exchange(stale: string): Promise<string> {
    const kept = this.read();
    if (!kept) throw ended();
    if (kept.accessToken !== stale) return kept.accessToken;
    try {
      const body = { refreshToken: kept.refreshToken };
      const tokens = (await (await call("/auth/refresh", { method: "POST", body })).json()) as Tokens;
      this.keep(tokens);
      return tokens.accessToken;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      // Another call was faster: its answer is not here yet, but the session lives.
      if (error.code === "refresh_in_progress") throw new Unreachable();
      this.forget();
      this.onEnd();
      throw error;
    }
  }

  private read(): Kept | null {
    const stored = localStorage.getItem(KEY);
    return stored ? (JSON.parse(stored) as Kept) : null;
  }
}

function ended(): ApiError {
  const body = { code: "session_ended", message: "Sign in again.", fields: {}, requestId: null };
  return new ApiError(body, 401);
}
