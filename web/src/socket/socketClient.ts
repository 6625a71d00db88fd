/**
 * The one socket of this tab: opens it, finds out when it is dead, comes back with growing, random pauses, and turns
 * frames into events and acks. What is said over it is the store's business.
 */

import { ApiError, type ErrorBody, isErrorBody, TooLarge, Unreachable } from "../api/errors";
import type { ServerEvent, ServerEvents } from "../api/types";

export type Connection = "connecting" | "open" | "waiting" | "closed";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 20_000;
const PING_EVERY_MS = 20_000;
/** A connection on which nothing comes for this long while something is due is dead. */
const ANSWER_WITHIN_MS = 10_000;
/** An ack may take longer while other frames come, as that of a long `sync` does. */
const ACK_WITHIN_MS = 120_000;
const FRAME_BYTES = 64 * 1024;
const UNAUTHENTICATED = 4401;
const RESTARTING = 1012;
/** Over this time clients come back that a server has closed for its restart without telling them when. */
const RESTART_SPREAD_MS = 3_000;

const utf8 = new TextEncoder();

interface Waiting {
  resolve: (data: unknown) => void;
  reject: (error: ApiError) => void;
  timer: ReturnType<typeof setTimeout>;
}

export interface SocketOptions {
  url: string;
  /** Gives an access token that is not the refused one. Throws when the session is over. */
  token: (refused?: string) => Promise<string>;
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
  private greeting: ReturnType<typeof setTimeout> | undefined;
  private heardAt = 0;
  private offered = "";
  private refused: string | undefined;
  /** When the server asked us to come back, in milliseconds after its close. */
  private comeBackIn: number | undefined;

  constructor(private readonly options: SocketOptions) {}

  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    window.addEventListener("online", this.probe);
    document.addEventListener("visibilitychange", this.probe);
    void this.open();
  }

  stop(): void {
    this.stopped = true;
    window.removeEventListener("online", this.probe);
    document.removeEventListener("visibilitychange", this.probe);
    clearTimeout(this.retry);
    this.drop();
    this.options.onConnection("closed");
  }

  /** Sends an event and gives the data of its ack. Rejects with the server's error, or `Unreachable`. */
  request<T>(event: string, data: unknown): Promise<T> {
    const socket = this.socket;
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Unreachable());
    const id = this.nextId++;
    const frame = JSON.stringify({ event, id, data });
    if (frame.length * 3 > FRAME_BYTES && utf8.encode(frame).length > FRAME_BYTES)
      return Promise.reject(new TooLarge("This is too long to send."));
    return new Promise<T>((resolve, reject) => {
      const timer = this.watch(id, Date.now());
      this.waiting.set(id, { resolve: resolve as (data: unknown) => void, reject, timer });
      socket.send(frame);
    });
  }

  /** Gives the connection up when no ack comes and nothing else either. */
  private watch(id: number, since: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      const waiting = this.waiting.get(id);
      if (!waiting) return;
      const now = Date.now();
      const alive = now - this.heardAt < ANSWER_WITHIN_MS && now - since < ACK_WITHIN_MS;
      if (alive) waiting.timer = this.watch(id, since);
      else this.closed(0);
    }, ANSWER_WITHIN_MS);
  }

  /** The network is back, or somebody looks at the page: come back now instead of after the pause, or see who is there. */
  private readonly probe = (): void => {
    if (this.stopped || document.visibilityState === "hidden") return;
    if (this.socket) {
      this.request("ping", {}).catch(() => undefined);
      return;
    }
    clearTimeout(this.retry);
    this.failures = 0;
    void this.open();
  };

  private async open(): Promise<void> {
    this.options.onConnection("connecting");
    let token: string;
    try {
      token = await this.options.token(this.refused);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) this.later();
      return;
    }
    if (this.stopped || this.socket) return;
    this.offered = token;
    const socket = new WebSocket(this.options.url, ["parley.v1", `bearer.${token}`]);
    this.socket = socket;
    this.greeting = setTimeout(() => this.closed(0), ANSWER_WITHIN_MS);
    socket.onmessage = (message) => {
      if (socket === this.socket && typeof message.data === "string") this.receive(message.data);
    };
    socket.onclose = (close) => {
      if (socket === this.socket) this.closed(close.code);
    };
  }

  private receive(text: string): void {
    this.heardAt = Date.now();
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
      this.refused = undefined;
      clearTimeout(this.greeting);
      this.heartbeat = setInterval(() => {
        this.request("ping", {}).catch(() => undefined);
      }, PING_EVERY_MS);
      this.options.onConnection("open");
    }
    if (frame.event === "restarting")
      this.comeBackIn = (frame.data as ServerEvents["restarting"]).reconnectInMs;
    this.options.onEvent({ name: frame.event, data: frame.data ?? frame.error } as ServerEvent);
  }

  private closed(code: number): void {
    this.drop();
    if (this.stopped) return;
    if (code === UNAUTHENTICATED) {
      // A token may have run out on the way; twice in a row means that the session is over.
      this.refused = this.offered;
      if (++this.refusals > 1) {
        this.stop();
        this.options.onRefused();
        return;
      }
    }
    this.later(this.comeBackIn ?? (code === RESTARTING ? RESTART_SPREAD_MS * Math.random() : 0));
    this.comeBackIn = undefined;
  }

  private later(atLeast = 0): void {
    if (this.stopped) return;
    this.options.onConnection("waiting");
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.failures++);
    clearTimeout(this.retry);
    this.retry = setTimeout(() => void this.open(), atLeast + pause * (0.5 + Math.random() / 2));
  }

  /** Lets the socket go, and tells everybody who waits for an ack. */
  private drop(): void {
    clearInterval(this.heartbeat);
    clearTimeout(this.greeting);
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
