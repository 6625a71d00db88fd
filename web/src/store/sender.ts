/**
 * Sends messages. Each stays in its chat's `outgoing` until it is acked, and is repeated under the same client id: the
 * server stores it once.
 */

import { v7 as uuidv7 } from "uuid";

import { ApiError, Unreachable } from "../api/errors";
import type { Message, SendData } from "../api/types";
import type { SocketClient } from "../socket/socketClient";
import { type Outbox, outboxOf, readOutbox, restoreOutbox, writeOutbox } from "./outbox";
import { applyMessage, type Outgoing, withChat } from "./state";
import type { Store } from "./store";

const UNAVAILABLE_FOR_S = 2;

export class Sender {
  private inFlight = new Set<string>();
  /** What waited to be sent when the page was left; back in its chats once they are here. */
  private left: Outbox = {};
  private kept = "";
  private forgetting: (() => void) | undefined;

  /** `onStored` is told of each chat whose message the server has. */
  constructor(
    private readonly store: Store,
    private readonly socket: SocketClient,
    private readonly onStored: (chatId: string) => void,
  ) {}

  /** From here on what waits is kept over a reload. */
  start(userId: string): void {
    this.left = readOutbox(userId);
    this.forgetting = this.store.subscribe(() => this.keep(userId));
  }

  /** What waits stays kept, for the next time that this person is here. */
  stop(): void {
    this.forgetting?.();
  }

  /** Puts what was left into those of its chats that are here now, and sends all that waits. */
  resume(): void {
    const { left } = this;
    const { chats } = this.store.get();
    this.left = Object.fromEntries(Object.entries(left).filter(([chatId]) => !chats[chatId]));
    this.store.update((state) => restoreOutbox(state, left));
    for (const chatId of Object.keys(this.store.get().chats)) void this.flush(chatId);
  }

  send(chatId: string, message: Omit<Outgoing, "clientId">): void {
    const outgoing: Outgoing = { ...message, clientId: uuidv7() };
    this.store.update((state) =>
      withChat(state, chatId, (chat) => ({ ...chat, outgoing: [...chat.outgoing, outgoing] })),
    );
    void this.flush(chatId);
  }

  retry(chatId: string, clientId: string): void {
    this.change(chatId, clientId, ({ refusal: _, ...one }) => one);
    void this.flush(chatId);
  }

  discard(chatId: string, clientId: string): void {
    this.store.update((state) =>
      withChat(state, chatId, (chat) => ({
        ...chat,
        outgoing: chat.outgoing.filter((one) => one.clientId !== clientId),
      })),
    );
  }

  /** Sends what waits, in its order, one after the other. */
  private async flush(chatId: string): Promise<void> {
    if (this.inFlight.has(chatId)) return;
    this.inFlight.add(chatId);
    try {
      for (;;) {
        const outgoing = this.store.get().chats[chatId]?.outgoing.find((one) => !one.refusal);
        if (!outgoing || !(await this.sendOne(chatId, outgoing))) return;
      }
    } finally {
      this.inFlight.delete(chatId);
    }
  }

  /** Sends one message; tells whether the next one may follow. */
  private async sendOne(chatId: string, { refusal: _, ...outgoing }: Outgoing): Promise<boolean> {
    try {
      const data: SendData = { chatId, ...outgoing };
      const { message } = await this.socket.request<{ message: Message }>("message:send", data);
      this.store.update((state) => applyMessage(state, message, false));
      this.onStored(chatId);
      return true;
    } catch (error) {
      if (error instanceof Unreachable || !(error instanceof ApiError)) return false;
      const pause = error.body.retryAfter ?? (error.code === "unavailable" ? UNAVAILABLE_FOR_S : 0);
      if (pause) setTimeout(() => void this.flush(chatId), pause * 1000);
      else this.change(chatId, outgoing.clientId, (one) => ({ ...one, refusal: error.reason }));
      return !pause;
    }
  }

  private keep(userId: string): void {
    const outbox = { ...this.left, ...outboxOf(this.store.get()) };
    const ids = JSON.stringify(Object.values(outbox).map((waiting) => waiting.map((one) => one.clientId)));
    if (ids === this.kept) return;
    this.kept = ids;
    writeOutbox(userId, outbox);
  }

  private change(chatId: string, clientId: string, change: (one: Outgoing) => Outgoing): void {
    this.store.update((state) =>
      withChat(state, chatId, (chat) => ({
        ...chat,
        outgoing: chat.outgoing.map((one) => (one.clientId === clientId ? change(one) : one)),
      })),
    );
  }
}
