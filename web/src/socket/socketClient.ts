/**
 * The one socket of this tab: opens it, finds out when it is dead, comes back with growing, random pauses, and turns
 * frames into events and acks. What is said over it is the store's business.
 */

import { ApiError, type ErrorBody, isErrorBody, Unreachable } from "../api/errors";
import type { ServerEvent } from "../api/types";

export type Connection = "connecting" | "open" | "waiting" | "closed";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 20_000;
const PING_EVERY_MS = 20_000;
const ANSWER_WITHIN_MS = 10_000;
const UNAUTHENTICATED = 4401;

interface Waiting {
  resolve: (data: unknown) => void;
  reject: (error: ApiError) => void;
  timer: ReturnType<typeof setTimeout>;
}

export interface SocketOptions {
  url: string;
  /** Gives an access token, renewed when needed. Throws when the session is over. */
  token: () => Promise<string>;
  onEvent: (event: ServerEvent) => void;
  onConnection: (connection: Connection) => void;
  /** The server says that the session is over. */
  onRefused: () => void;
}

export class SocketClient {
  private socket: WebSocket | null = null;
  private waiting = new Map<number, Waiting>();
  private nextId = 1;
  private failures = 0;
  private refusals = 0;
  private stopped = true;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private heartbeat: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly options: SocketOptions) {}

  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    window.addEventListener("online", this.hurry);
    void this.open();
  }

  stop(): void {
    this.stopped = true;
    window.removeEventListener("online", this.hurry);
    clearTimeout(this.retry);
    this.drop();
    this.options.onConnection("closed");
  }

  /** Sends an event and gives the data of its ack. Rejects with the server's error, or `Unreachable`. */
  request<T>(event: string, data: unknown): Promise<T> {
    const socket = this.socket;
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Unreachable());
    const id = this.nextId++;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Unreachable());
        socket.close();
      }, ANSWER_WITHIN_MS);
      this.waiting.set(id, { resolve: resolve as (data: unknown) => void, reject, timer });
      socket.send(JSON.stringify({ event, id, data }));
    });
  }

  /** Tries now instead of after the pause: the network is back. */
  readonly hurry = (): void => {
    if (this.stopped || this.socket) return;
    clearTimeout(this.retry);
    this.failures = 0;
    void this.open();
  };

  private async open(): Promise<void> {
    this.options.onConnection("connecting");
    let token: string;
    try {
      token = await this.options.token();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) this.later();
      return;
    }
    if (this.stopped || this.socket) return;
    const socket = new WebSocket(this.options.url, ["parley.v1", `bearer.${token}`]);
    this.socket = socket;
    socket.onmessage = (message) => {
      if (socket === this.socket && typeof message.data === "string") this.receive(message.data);
    };
    socket.onclose = (close) => {
      if (socket === this.socket) this.closed(close.code);
    };
  }

  private receive(text: string): void {
    const frame: unknown = JSON.parse(text);
    if (typeof frame !== "object" || frame === null) return;
    if ("ack" in frame) this.settle(frame as { ack: number; data?: unknown });
    else if ("event" in frame) this.announce(frame as { event: string; data?: unknown; error?: ErrorBody });
  }

  private settle(frame: { ack: number; data?: unknown }): void {
    const waiting = this.waiting.get(frame.ack);
    if (!waiting) return;
    this.waiting.delete(frame.ack);
    clearTimeout(waiting.timer);
    if (isErrorBody(frame)) waiting.reject(new ApiError(frame.error));
    else waiting.resolve(frame.data);
  }

  private announce(frame: { event: string; data?: unknown; error?: ErrorBody }): void {
    if (frame.event === "hello") {
      this.failures = 0;
      this.refusals = 0;
      this.heartbeat = setInterval(() => {
        this.request("ping", {}).catch(() => undefined);
      }, PING_EVERY_MS);
      this.options.onConnection("open");
    }
    this.options.onEvent({ name: frame.event, data: frame.data ?? frame.error } as ServerEvent);
  }

  private closed(code: number): void {
    this.drop();
    if (this.stopped) return;
    // A token may have run out on the way; twice in a row means that the session is over.
    if (code === UNAUTHENTICATED && ++this.refusals > 1) {
      this.stop();
      this.options.onRefused();
      return;
    }
    this.later();
  }

  private later(): void {
    if (this.stopped) return;
    this.options.onConnection("waiting");
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.failures++);
    this.retry = setTimeout(() => void this.open(), pause * (0.5 + Math.random() / 2));
  }

  /** Lets the socket go, and tells everybody who waits for an ack. */
  private drop(): void {
    clearInterval(this.heartbeat);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(new Unreachable());
    }
    this.waiting.clear();
  }
}
