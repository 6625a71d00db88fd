/** Tells the server how far this person has got: what has arrived on this device, and what was read. */

import type { Member, Receipt, User } from "../api/types";
import type { SocketClient } from "../socket/socketClient";
import { applyReceipt, type ChatState, withChat } from "./state";
import type { Store } from "./store";

const DELIVERED_AFTER_MS = 400;

export class Receipts {
  private reading = new Set<string>();
  private arrived = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly store: Store,
    private readonly socket: SocketClient,
  ) {}

  stop(): void {
    clearTimeout(this.timer);
  }

  /** Marks everything that is shown as read, one call at a time. Cheap to call often. */
  async markRead(chatId: string): Promise<void> {
    const { me, chats } = this.store.get();
    const chat = chats[chatId];
    const seq = chat?.messages.at(-1)?.seq ?? 0;
    if (!chat || (markOf(chat, me)?.readSeq ?? seq) >= seq) return;
    if (chat.unread) this.store.update((state) => withChat(state, chatId, (one) => ({ ...one, unread: 0 })));
    if (this.reading.has(chatId)) return;
    this.reading.add(chatId);
    try {
      const receipt = await this.socket.request<Receipt>("message:read", { chatId, seq });
      this.store.update((state) => applyReceipt(state, receipt));
    } finally {
      this.reading.delete(chatId);
    }
  }

  /** Tells senders that their messages are on this device, a moment later and once for each chat. */
  noteArrival(chatId: string): void {
    this.arrived.add(chatId);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      for (const id of this.arrived) this.markDelivered(id);
      this.arrived.clear();
    }, DELIVERED_AFTER_MS);
  }

  private markDelivered(chatId: string): void {
    const { me, chats } = this.store.get();
    const chat = chats[chatId];
    const last = chat?.lastMessage;
    if (!last || last.senderId === me?.id || (markOf(chat, me)?.deliveredSeq ?? 0) >= last.seq) return;
    // What is not told now is told with the next message, or after the next connection.
    this.socket.request<Receipt>("message:delivered", { chatId, seq: last.seq }).then(
      (receipt) => this.store.update((state) => applyReceipt(state, receipt)),
      () => undefined,
    );
  }
}

const markOf = (chat: ChatState, me: User | null): Member | undefined =>
  chat.members.find((member) => member.userId === me?.id);
