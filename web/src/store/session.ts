/** What a signed-in person does: the only place where the socket, REST and the store meet. */

import { ApiError, TooLarge } from "../api/errors";
import { Rest } from "../api/rest";
import type { Message, ServerEvent, ServerEvents, Status } from "../api/types";
import type { TokenKeeper } from "../auth/tokens";
import { SocketClient } from "../socket/socketClient";
import { writeOutbox } from "./outbox";
import { Receipts } from "./receipts";
import { Sender } from "./sender";
import {
  applyChanges,
  applyInbox,
  applyMessage,
  applyNewest,
  applyOlder,
  applyReceipt,
  applyStatus,
  applyTyping,
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
const TRY_AGAIN_MS = 5_000;
const LARGEST_FILE_BYTES = 25 * 1024 * 1024;

export class Session {
  readonly store = new Store();
  readonly rest: Rest;
  /** What was begun to be written, by chat. */
  readonly drafts = new Map<string, string>();
  private readonly socket: SocketClient;
  private readonly sender: Sender;
  private readonly receipts: Receipts;
  private gapTimers = new Map<string, ReturnType<typeof setTimeout>>();
  private renewTimer: ReturnType<typeof setTimeout> | undefined;
  private clock: ReturnType<typeof setInterval> | undefined;
  private typedAt = new Map<string, number>();
  private loadingOlder = new Set<string>();
  private inbox: Promise<void> | null = null;
  private inboxWanted = false;
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
    this.sender = new Sender(this.store, this.socket, (chatId) => this.watchGap(chatId));
    this.receipts = new Receipts(this.store, this.socket);
  }

  async start(): Promise<void> {
    const me = await this.rest.me();
    if (this.stopped) return;
    this.store.update((state) => ({ ...state, me }));
    this.sender.start(me.id);
    this.clock = setInterval(() => this.store.update((state) => expireTyping(state, Date.now())), 1000);
    this.socket.start();
  }

  stop(): void {
    this.stopped = true;
    this.sender.stop();
    this.receipts.stop();
    this.socket.stop();
    clearInterval(this.clock);
    clearTimeout(this.renewTimer);
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

  markRead(chatId: string): Promise<void> {
    return this.receipts.markRead(chatId);
  }

  // --- Messages -----------------------------------------------------------------------------------------------------

  send(chatId: string, message: Omit<Outgoing, "clientId">): void {
    this.typedAt.delete(chatId);
    this.sender.send(chatId, message);
  }

  retry(chatId: string, clientId: string): void {
    this.sender.retry(chatId, clientId);
  }

  discard(chatId: string, clientId: string): void {
    this.sender.discard(chatId, clientId);
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
        // Crossed by the news that one is a member again, it is old.
        if ((store.get().chats[event.data.chatId]?.latest ?? 0) <= event.data.rev)
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
      const { openChatId, chats } = this.store.get();
      if (openChatId && chats[openChatId]?.loaded === false) await this.loadNewest(openChatId);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // A lost socket says hello again; a server that only had no answer just now is asked once more.
      if (this.store.get().connection === "open")
        this.resumeTimer = setTimeout(() => void this.resume(), TRY_AGAIN_MS);
    }
    this.sender.resume();
    for (const chatId of Object.keys(this.store.get().chats)) this.receipts.noteArrival(chatId);
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
    this.receipts.noteArrival(message.chatId);
    this.watchGap(message.chatId);
  }

  private takeSync(data: ServerEvents["sync"]): void {
    const { messages, members, chatId, rev, marks = 0 } = data;
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
        withChat(state, chatId, (chat) => ({
          ...chat,
          latest: Math.max(chat.latest, rev),
          marks: Math.max(chat.marks, marks),
        })),
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
      if (!page.hasMore) return this.receipts.noteArrival(chatId);
    }
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
