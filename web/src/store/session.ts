/**
 * What a signed-in person does: the only place where the socket, REST and the store meet.
 *
 * Sends stay in the chat's `outgoing` until they are acked, and are repeated under the same client id: the server stores
 * each of them once.
 */

import { ApiError, TooLarge, Unreachable } from "../api/errors";
import { Rest } from "../api/rest";
import type {
  Member,
  Message,
  Receipt,
  SendData,
  ServerEvent,
  ServerEvents,
  Status,
  User,
} from "../api/types";
import type { TokenKeeper } from "../auth/tokens";
import { SocketClient } from "../socket/socketClient";
import { type Outbox, outboxOf, readOutbox, restoreOutbox, writeOutbox } from "./outbox";
import {
  applyChanges,
  applyInbox,
  applyMessage,
  applyNewest,
  applyOlder,
  applyReceipt,
  applyStatus,
  applyTyping,
  type ChatState,
  expireTyping,
  hasGap,
  initialState,
  keepChats,
  type Outgoing,
  removeChat,
  resetChat,
  withChat,
} from "./state";
import { Store } from "./store";

/** Events of two server processes can cross on the way: wait this long before something counts as missed. */
const GAP_PATIENCE_MS = 300;
const TYPING_EVERY_MS = 3_000;
const DELIVERED_AFTER_MS = 400;
const TRY_AGAIN_MS = 5_000;
const LARGEST_FILE_BYTES = 25 * 1024 * 1024;

export class Session {
  readonly store = new Store();
  readonly rest: Rest;
  /** What was begun to be written, by chat. */
  readonly drafts = new Map<string, string>();
  private readonly socket: SocketClient;
  private gapTimers = new Map<string, ReturnType<typeof setTimeout>>();
  private arrived = new Set<string>();
  private deliveredTimer: ReturnType<typeof setTimeout> | undefined;
  private renewTimer: ReturnType<typeof setTimeout> | undefined;
  private clock: ReturnType<typeof setInterval> | undefined;
  private typedAt = new Map<string, number>();
  private inFlight = new Set<string>();
  private loadingOlder = new Set<string>();
  private reading = new Set<string>();
  private inbox: Promise<void> | null = null;
  private inboxWanted = false;
  /** What waited to be sent when the page was left; back in its chats once they are here. */
  private waiting: Outbox = {};
  private kept = "";
  private resumeTimer: ReturnType<typeof setTimeout> | undefined;
  private stopped = false;

  /** `onEnd` takes the person back to the sign-in form. */
  constructor(
    private readonly tokens: TokenKeeper,
    private readonly onEnd: (reason: string) => void,
    url = socketUrl(),
  ) {
    this.rest = new Rest(tokens);
    this.socket = new SocketClient({
      url,
      token: (refused) => (refused ? tokens.renew(refused) : tokens.fresh()),
      onEvent: (event) => this.take(event),
      onConnection: (connection) => this.store.update((state) => ({ ...state, connection })),
      onRefused: () => this.end("expired"),
    });
  }

  async start(): Promise<void> {
    const me = await this.rest.me();
    if (this.stopped) return;
    this.store.update((state) => ({ ...state, me }));
    this.waiting = readOutbox(me.id);
    this.store.subscribe(() => this.keepOutbox());
    this.clock = setInterval(() => this.store.update((state) => expireTyping(state, Date.now())), 1000);
    this.socket.start();
  }

  stop(): void {
    this.stopped = true;
    this.socket.stop();
    clearInterval(this.clock);
    clearTimeout(this.renewTimer);
    clearTimeout(this.deliveredTimer);
    clearTimeout(this.resumeTimer);
    for (const timer of this.gapTimers.values()) clearTimeout(timer);
    this.store.update(() => initialState);
  }

  async logOut(): Promise<void> {
    await this.rest.logout().catch(() => undefined);
    this.end("logout");
  }

  // --- Chats --------------------------------------------------------------------------------------------------------

  /** Loads the list of chats; who asks while it is on its way gets one that is read after that. */
  loadInbox(): Promise<void> {
    this.inboxWanted = true;
    this.inbox ??= this.readInbox().finally(() => {
      this.inbox = null;
    });
    return this.inbox;
  }

  private async readInbox(): Promise<void> {
    while (this.inboxWanted) {
      this.inboxWanted = false;
      let cursor: string | undefined;
      do {
        const page = await this.rest.inbox(cursor);
        this.store.update((state) => applyInbox(state, page.chats));
        cursor = page.nextCursor ?? undefined;
      } while (cursor);
    }
  }

  async openChat(chatId: string | null): Promise<void> {
    this.store.update((state) => ({ ...state, openChatId: chatId }));
    if (chatId && this.store.get().chats[chatId]?.loaded === false) await this.loadNewest(chatId);
  }

  async openDirect(userId: string): Promise<string> {
    const entry = await this.rest.openChat([userId]);
    this.store.update((state) => applyInbox(state, [entry]));
    return entry.id;
  }

  async openGroup(userIds: string[], title: string): Promise<string> {
    const entry = await this.rest.openChat(userIds, title);
    this.store.update((state) => applyInbox(state, [entry]));
    return entry.id;
  }

  async loadNewest(chatId: string): Promise<void> {
    const page = await this.rest.newest(chatId);
    this.store.update((state) => applyNewest(state, page));
    this.watchGap(chatId);
  }

  async loadOlder(chatId: string): Promise<void> {
    const first = this.store.get().chats[chatId]?.messages[0];
    if (!first || this.loadingOlder.has(chatId)) return;
    this.loadingOlder.add(chatId);
    try {
      const page = await this.rest.before(chatId, first.seq);
      // The chat may have been loaded anew meanwhile: then the page does not connect.
      if (this.store.get().chats[chatId]?.messages[0]?.seq === first.seq)
        this.store.update((state) => applyOlder(state, page));
    } finally {
      this.loadingOlder.delete(chatId);
    }
  }

  /** Marks everything that is shown as read, one call at a time. Cheap to call often. */
  async markRead(chatId: string): Promise<void> {
    const { me, chats } = this.store.get();
    const chat = chats[chatId];
    const seq = chat?.messages.at(-1)?.seq ?? 0;
    if (!chat || (this.markOf(chat, me)?.readSeq ?? seq) >= seq) return;
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

  private markOf(chat: ChatState, me: User | null): Member | undefined {
    return chat.members.find((member) => member.userId === me?.id);
  }

  // --- Messages -----------------------------------------------------------------------------------------------------

  send(chatId: string, message: Omit<Outgoing, "clientId">): void {
    const outgoing: Outgoing = { ...message, clientId: crypto.randomUUID?.() ?? randomId() };
    this.store.update((state) =>
      withChat(state, chatId, (chat) => ({ ...chat, outgoing: [...chat.outgoing, outgoing] })),
    );
    this.typedAt.delete(chatId);
    void this.flush(chatId);
  }

  retry(chatId: string, clientId: string): void {
    this.changeOutgoing(chatId, clientId, ({ refusal: _, ...one }) => one);
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

  async edit(message: Message, content: string): Promise<void> {
    const { chatId, id: messageId } = message;
    const answer = await this.socket.request<{ message: Message }>("message:update", {
      chatId,
      messageId,
      content,
    });
    this.store.update((state) => applyMessage(state, answer.message, false));
    this.watchGap(chatId);
  }

  async remove(message: Message): Promise<void> {
    const { chatId, id: messageId } = message;
    const answer = await this.socket.request<{ message: Message }>("message:delete", { chatId, messageId });
    this.store.update((state) => applyMessage(state, answer.message, false));
    this.watchGap(chatId);
  }

  async sendFile(chatId: string, file: File, caption: string): Promise<void> {
    if (file.size > LARGEST_FILE_BYTES) throw new TooLarge();
    const attachment = await this.rest.upload(chatId, file);
    const type = attachment.mediaType.startsWith("image/") ? "image" : "file";
    this.send(chatId, { content: caption, type, attachmentId: attachment.id });
  }

  typing(chatId: string, typing: boolean): void {
    const last = this.typedAt.get(chatId) ?? 0;
    if (typing && Date.now() - last < TYPING_EVERY_MS) return;
    if (!typing && !last) return;
    if (typing) this.typedAt.set(chatId, Date.now());
    else this.typedAt.delete(chatId);
    this.socket.request("user:typing", { chatId, typing }).catch(() => undefined);
  }

  async setStatus(status: Status): Promise<void> {
    const me = await this.rest.setStatus(status);
    this.store.update((state) => ({ ...state, me }));
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
      this.watchGap(chatId);
      return true;
    } catch (error) {
      if (error instanceof Unreachable || !(error instanceof ApiError)) return false;
      const pause = error.body.retryAfter ?? (error.code === "unavailable" ? 2 : 0);
      if (pause) setTimeout(() => void this.flush(chatId), pause * 1000);
      else this.changeOutgoing(chatId, outgoing.clientId, (one) => ({ ...one, refusal: error.reason }));
      return !pause;
    }
  }

  private keepOutbox(): void {
    const { me } = this.store.get();
    if (!me || this.stopped) return;
    const outbox = { ...this.waiting, ...outboxOf(this.store.get()) };
    const ids = JSON.stringify(Object.values(outbox).map((waiting) => waiting.map((one) => one.clientId)));
    if (ids === this.kept) return;
    this.kept = ids;
    writeOutbox(me.id, outbox);
  }

  private changeOutgoing(chatId: string, clientId: string, change: (one: Outgoing) => Outgoing): void {
    this.store.update((state) =>
      withChat(state, chatId, (chat) => ({
        ...chat,
        outgoing: chat.outgoing.map((one) => (one.clientId === clientId ? change(one) : one)),
      })),
    );
  }

  // --- Events -------------------------------------------------------------------------------------------------------

  private take(event: ServerEvent): void {
    const { store } = this;
    switch (event.name) {
      case "hello":
        void this.resume();
        break;
      case "message:receive":
      case "message:update":
      case "message:delete":
        this.takeMessage(event.data);
        break;
      case "message:read":
      case "message:delivered":
        store.update((state) => applyReceipt(state, event.data));
        break;
      case "user:typing":
        store.update((state) => applyTyping(state, event.data, Date.now()));
        break;
      case "user:status":
        store.update((state) => applyStatus(state, event.data));
        break;
      case "chat:removed":
        store.update((state) => removeChat(state, event.data.chatId));
        break;
      case "sync":
        this.takeSync(event.data);
        break;
      case "sync:done":
        store.update((state) => keepChats(state, Object.keys(event.data.chats)));
        break;
      case "sync:reset":
        this.takeReset(event.data);
        break;
      case "session:end":
        // A socket lives as long as its access token, and ends with it where that was not renewed in time, as in a
        // computer that slept. The session goes on: the next connection brings a new token.
        if (event.data.reason !== "expired") this.end(event.data.reason);
        break;
    }
  }

  /** A connection is there: catch up, show who is there, send what waits. */
  private async resume(): Promise<void> {
    this.renewInTime();
    clearTimeout(this.resumeTimer);
    const cursors: Record<string, number> = {};
    for (const chat of Object.values(this.store.get().chats)) if (chat.loaded) cursors[chat.id] = chat.rev;
    try {
      await this.socket.request("sync", { cursors });
      await this.loadInbox();
      this.store.update((state) => restoreOutbox(state, this.waiting));
      this.waiting = {};
      const { openChatId, chats } = this.store.get();
      if (openChatId && chats[openChatId]?.loaded === false) await this.loadNewest(openChatId);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // A lost socket says hello again; a server that only had no answer just now is asked once more.
      if (this.store.get().connection === "open")
        this.resumeTimer = setTimeout(() => void this.resume(), TRY_AGAIN_MS);
    }
    for (const chatId of Object.keys(this.store.get().chats)) {
      void this.flush(chatId);
      this.noteArrival(chatId);
    }
  }

  /** Gives the socket a new access token before the old one runs out. */
  private renewInTime(): void {
    clearTimeout(this.renewTimer);
    this.renewTimer = setTimeout(async () => {
      try {
        await this.socket.request("session:renew", { accessToken: await this.tokens.fresh() });
        this.renewInTime();
      } catch {
        this.renewTimer = setTimeout(() => this.renewInTime(), 5_000);
      }
    }, this.tokens.dueIn + 1_000);
  }

  private takeMessage(message: Message): void {
    const chat = this.store.get().chats[message.chatId];
    const peopleChanged = message.system?.action === "added";
    if (!chat || peopleChanged) void this.loadInbox().catch(() => undefined);
    this.store.update((state) => applyMessage(state, message, true));
    this.noteArrival(message.chatId);
    this.watchGap(message.chatId);
  }

  private takeSync(data: ServerEvents["sync"]): void {
    const { messages, members, chatId, rev } = data;
    if (!this.store.get().chats[chatId]) {
      // A chat that nobody told of: the event was lost.
      void this.loadInbox().catch(() => undefined);
      return;
    }
    if (messages) {
      this.store.update((state) =>
        applyChanges(state, chatId, { messages, rev, ...(members && { members }) }),
      );
    } else {
      this.store.update((state) =>
        withChat(state, chatId, (chat) => (rev > chat.rev ? { ...chat, ahead: [...chat.ahead, rev] } : chat)),
      );
    }
    this.watchGap(chatId);
  }

  private takeReset({ chatId, reason }: ServerEvents["sync:reset"]): void {
    if (reason === "gone") this.store.update((state) => removeChat(state, chatId));
    else {
      this.store.update((state) => resetChat(state, chatId));
      void this.loadNewest(chatId).catch(() => undefined);
    }
  }

  /** Fetches what is missing if it has not come by itself in a moment. */
  private watchGap(chatId: string): void {
    const chat = this.store.get().chats[chatId];
    if (!chat || !hasGap(chat) || this.gapTimers.has(chatId)) return;
    const timer = setTimeout(() => {
      this.gapTimers.delete(chatId);
      void this.closeGap(chatId).catch(() => undefined);
    }, GAP_PATIENCE_MS);
    this.gapTimers.set(chatId, timer);
  }

  private async closeGap(chatId: string): Promise<void> {
    for (;;) {
      const chat = this.store.get().chats[chatId];
      if (!chat || !hasGap(chat)) return;
      if (!chat.loaded) return this.loadInbox();
      const page = await this.rest.after(chatId, chat.rev);
      const rev = page.hasMore ? (page.messages.at(-1)?.rev ?? page.rev) : page.rev;
      const { messages } = page;
      this.store.update((state) =>
        applyChanges(state, chatId, { messages, rev, members: page.chat.members }),
      );
      if (!page.hasMore) return this.noteArrival(chatId);
    }
  }

  /** Tells senders that their messages are on this device, a moment later and once for each chat. */
  private noteArrival(chatId: string): void {
    this.arrived.add(chatId);
    this.deliveredTimer ??= setTimeout(() => {
      this.deliveredTimer = undefined;
      const { me, chats } = this.store.get();
      for (const id of this.arrived) {
        const chat = chats[id];
        const last = chat?.lastMessage;
        if (!last || last.senderId === me?.id || (this.markOf(chat, me)?.deliveredSeq ?? 0) >= last.seq)
          continue;
        this.socket
          .request<Receipt>("message:delivered", { chatId: id, seq: last.seq })
          .then((receipt) => this.store.update((state) => applyReceipt(state, receipt)))
          .catch(() => undefined);
      }
      this.arrived.clear();
    }, DELIVERED_AFTER_MS);
  }

  private end(reason: string): void {
    const { me } = this.store.get();
    if (me && reason === "logout") writeOutbox(me.id, {});
    this.tokens.forget();
    this.stop();
    this.onEnd(reason);
  }
}

function socketUrl(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

/** A UUID (version 4) where `crypto.randomUUID` is missing: outside of secure contexts. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
