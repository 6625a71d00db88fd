/** A server at the boundary of the page: answers fetch and holds the server's ends of sockets. */

import { vi } from "vitest";

type Answer = { status?: number; body?: unknown };
type Route = (body: unknown, path: string) => Answer;

export class FakeSocket {
  static readonly OPEN = 1;
  readonly OPEN = 1;
  readyState = 0;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  sent: { event: string; id: number; data: Record<string, unknown> }[] = [];

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeServer.current?.sockets.push(this);
  }

  send(text: string) {
    this.sent.push(JSON.parse(text));
  }

  close(code = 1005) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code });
  }

  /** The server accepts and says hello. */
  accept() {
    this.readyState = 1;
    this.push("hello", { userId: "ada", sessionId: "s", expiresIn: 600, heartbeat: 20 });
  }

  push(event: string, data: unknown) {
    this.onmessage?.({ data: JSON.stringify({ event, data }) });
  }

  /** Acks the oldest frame of this event that has none yet. */
  ack(event: string, data: unknown) {
    const index = this.sent.findIndex((frame) => frame.event === event);
    const [frame] = this.sent.splice(index, 1);
    if (!frame) throw new Error(`no ${event} was sent`);
    this.onmessage?.({ data: JSON.stringify({ ack: frame.id, data }) });
    return frame.data;
  }

  refuse(event: string, error: unknown) {
    const index = this.sent.findIndex((frame) => frame.event === event);
    const [frame] = this.sent.splice(index, 1);
    this.onmessage?.({ data: JSON.stringify({ ack: frame?.id, error }) });
  }

  waitsFor(event: string) {
    return this.sent.some((frame) => frame.event === event);
  }
}

export class FakeServer {
  static current: FakeServer | null = null;
  readonly sockets: FakeSocket[] = [];
  readonly calls: { method: string; path: string; body: unknown }[] = [];
  private readonly routes = new Map<string, Route>();

  constructor() {
    FakeServer.current = this;
    vi.stubGlobal("WebSocket", FakeSocket);
    vi.stubGlobal("fetch", (path: string, options: RequestInit) => this.answer(path, options));
  }

  on(call: string, route: Route | unknown) {
    this.routes.set(call, typeof route === "function" ? (route as Route) : () => ({ body: route }));
    return this;
  }

  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }

  private async answer(path: string, options: RequestInit) {
    const method = options.method ?? "GET";
    const body = typeof options.body === "string" ? JSON.parse(options.body) : options.body;
    this.calls.push({ method, path, body });
    const route = this.routes.get(`${method} ${path}`) ?? this.routes.get(`${method} ${path.split("?")[0]}`);
    if (!route) return Response.json(failure("not_found"), { status: 404 });
    const { status = 200, body: answer } = route(body, path);
    return status === 204 ? new Response(null, { status }) : Response.json(answer ?? null, { status });
  }
}

export const failure = (code: string, fields: Record<string, { code: string; message: string }[]> = {}) => ({
  error: { code, message: `It failed: ${code}.`, fields, requestId: "r" },
});
