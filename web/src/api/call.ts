/** One call of the server, with or without a token. */

import { ApiError, isErrorBody, Unreachable } from "./errors";

export interface Call {
  method?: string;
  body?: unknown;
  form?: FormData;
  signal?: AbortSignal;
}

/** Calls the server. Throws `ApiError` or `Unreachable`. */
export async function call(path: string, { method = "GET", body, form, signal }: Call = {}, token?: string) {
  const headers = new Headers();
  if (token) headers.set("Authorization", `Bearer ${token}`);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  let response: Response;
  try {
    const payload = form ?? (body === undefined ? null : JSON.stringify(body));
    response = await fetch(path, { method, headers, body: payload, signal: signal ?? null });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  if (response.ok) return response;
  const answer: unknown = await response.json().catch(() => null);
  if (isErrorBody(answer)) throw new ApiError(answer.error, response.status);
  throw new Unreachable();
}
