/**
 * What this tab knows, and the pure functions that change it.
 *
 * Truth is the server's numbers: a chat holds everything up to `rev`. Changes that came early are applied and remembered
 * in `ahead`; `rev` moves on as soon as the ones between are there. As long as it is below `latest`, something is missing.
 */

import type {
  ChatPage,
  InboxEntry,
  Member,
  Message,
  Receipt,
  ServerEvents,
  Status,
  User,
} from "../api/types";
import type { Connection } from "../socket/socketClient";

export interface Outgoing {
  clientId: string;
  content: string;
  type: "text" | "image" | "file";
  attachmentId?: string;
  /** Why it was refused; without it the message is on its way, however long that takes. */
  refusal?: string;
}

export interface ChatState {
  id: string;
  kind: "direct" | "group";
  title: string | null;
  members: Member[];
  rev: number;
  /** Revs above `rev` that are held all the same. */
  ahead: number[];
  /** The highest rev that was heard of, held or not. */
  latest: number;
  /** The highest sum of the members' watermarks that was heard of since the members came; more than theirs: one was lost. */
  marks: number;
  messages: Message[];
  /** Whether `messages` is the newest part of the history without holes. */
  loaded: boolean;
  hasOlder: boolean;
  lastMessage: Message | null;
  unread: number;
  outgoing: Outgoing[];
}

export interface State {
  me: User | null;
  connection: Connection;
  chats: Record<string, ChatState>;
  inboxLoaded: boolean;
  openChatId: string | null;
  /** Until when (ms) somebody is shown as typing, by chat and person. */
  typing: Record<string, Record<string, number>>;
}

export const UNREAD_CAP = 999;

export const initialState: State = {
  me: null,
  connection: "closed",
  chats: {},
  inboxLoaded: false,
  openChatId: null,
  typing: {},
};

const emptyChat = (id: string): ChatState => ({
  id,
  kind: "direct",
  title: null,
  members: [],
  rev: 0,
  ahead: [],
  latest: 0,
  marks: 0,
  messages: [],
  loaded: false,
  hasOlder: false,
  lastMessage: null,
  unread: 0,
  outgoing: [],
});

/** Replaces one chat by what `change` makes of it; an unknown chat stays unknown. */
export function withChat(state: State, chatId: string, change: (chat: ChatState) => ChatState): State {
  const chat = state.chats[chatId];
  return chat ? { ...state, chats: { ...state.chats, [chatId]: change(chat) } } : state;
}

/** Puts messages into their places; of two states of one message the later one stays. Sorted by seq. */
export function mergeMessages(held: Message[], coming: Message[]): Message[] {
  const byId = new Map(held.map((message) => [message.id, message]));
  for (const message of coming) {
    const known = byId.get(message.id);
    if (!known || known.rev <= message.rev) byId.set(message.id, message);
  }
  return [...byId.values()].sort((one, other) => one.seq - other.seq);
}

/** Moves the rev over what is held without a hole. */
export function advance(rev: number, ahead: number[]): { rev: number; ahead: number[] } {
  const rest = [...new Set(ahead)].filter((one) => one > rev).sort((one, other) => one - other);
  let next = rev;
  while (rest[0] === next + 1) next = rest.shift() as number;
  return { rev: next, ahead: rest };
}

/** Whether something is missing: a number, or a receipt, which has none. */
export const hasGap = (chat: ChatState): boolean =>
  chat.latest > chat.rev ||
  chat.members.reduce((sum, one) => sum + one.deliveredSeq + one.readSeq, 0) < chat.marks;

const newer = (one: Message | null, other: Message): Message =>
  one && (one.seq > other.seq || (one.seq === other.seq && one.rev > other.rev)) ? one : other;

const withoutSent = (outgoing: Outgoing[], messages: Message[]): Outgoing[] => {
  const sent = new Set(messages.map((message) => message.clientId));
  return outgoing.some((one) => sent.has(one.clientId))
    ? outgoing.filter((one) => !sent.has(one.clientId))
    : outgoing;
};

/** Whether a message belongs to the held part of the history; older ones come with their page. */
const within = (chat: ChatState, message: Message): boolean =>
  chat.loaded && (!chat.hasOlder || message.seq >= (chat.messages[0]?.seq ?? 0));

/** Applies a message as it is now: new, edited or deleted. */
export function applyMessage(state: State, message: Message, live: boolean): State {
  const next = withChat(state, message.chatId, (chat) => ({
    ...chat,
    ...advance(chat.rev, [...chat.ahead, message.rev]),
    latest: Math.max(chat.latest, message.rev),
    ...applySystem(chat, message),
    messages: within(chat, message) ? mergeMessages(chat.messages, [message]) : chat.messages,
    lastMessage: newer(chat.lastMessage, message),
    unread: live ? unreadAfter(chat, message, state.me?.id) : chat.unread,
    outgoing: withoutSent(chat.outgoing, [message]),
  }));
  return live ? stopTyping(next, message.chatId, message.senderId) : next;
}

/** The count of unread messages once `message` is there; it is counted once, and while it is not deleted. */
function unreadAfter(chat: ChatState, message: Message, meId: string | undefined): number {
  if (message.senderId === meId || message.type === "system") return chat.unread;
  if (message.seq <= (chat.members.find((member) => member.userId === meId)?.readSeq ?? 0))
    return chat.unread;
  const held = [...chat.messages, chat.lastMessage].find((one) => one?.id === message.id);
  if (held) return chat.unread - (message.deletedAt && !held.deletedAt && chat.unread ? 1 : 0);
  const isNew = chat.loaded ? within(chat, message) : message.seq > (chat.lastMessage?.seq ?? 0);
  return isNew && !message.deletedAt ? Math.min(UNREAD_CAP, chat.unread + 1) : chat.unread;
}

/** What a system message changes in the chat itself. New members come with the inbox: their person is not known here. */
function applySystem(chat: ChatState, { system }: Message): Partial<ChatState> {
  if (system?.action === "renamed") return { title: system.title };
  if (system?.action === "removed" || system?.action === "left")
    return { members: chat.members.filter((member) => member.userId !== system.userId), marks: 0 };
  if (system?.action === "role")
    return {
      members: chat.members.map((member) =>
        member.userId === system.userId ? { ...member, role: system.role ?? member.role } : member,
      ),
    };
  return {};
}

/**
 * Takes the inbox in. Chats whose messages are loaded keep their own rev: what they miss comes by it. Events may have
 * been faster than the answer, so what is held already is not taken back.
 */
export function applyInbox(state: State, entries: InboxEntry[], openChatId = state.openChatId): State {
  const chats = { ...state.chats };
  for (const entry of entries) {
    const known = chats[entry.id] ?? emptyChat(entry.id);
    const overtaken = known.latest > entry.rev;
    chats[entry.id] = {
      ...known,
      kind: entry.kind,
      title: overtaken ? known.title : entry.title,
      members: mergeMembers(known.members, entry.members),
      marks: 0,
      lastMessage: overtaken ? known.lastMessage : entry.lastMessage,
      unread: overtaken ? known.unread : entry.unreadCount,
      latest: Math.max(known.latest, entry.rev),
      ...(known.loaded || overtaken ? {} : { rev: entry.rev, ahead: [] }),
    };
  }
  return { ...state, chats, openChatId, inboxLoaded: true };
}

/** The members as they come, with the higher of both watermarks. */
function mergeMembers(held: Member[], coming: Member[]): Member[] {
  const marks = new Map(held.map((member) => [member.userId, member]));
  return coming.map((member) => {
    const known = marks.get(member.userId);
    return known ? { ...member, ...higher(known, member) } : member;
  });
}

type Marks = Pick<Member, "deliveredSeq" | "readSeq">;

const higher = (one: Marks, other: Marks): Marks => ({
  deliveredSeq: Math.max(one.deliveredSeq, other.deliveredSeq),
  readSeq: Math.max(one.readSeq, other.readSeq),
});

/** Forgets how far a chat is known: its newest page is to come, and counts whatever its numbers are. */
export const resetChat = (state: State, chatId: string): State =>
  withChat(state, chatId, (chat) => ({
    ...chat,
    loaded: false,
    rev: 0,
    ahead: [],
    latest: 0,
    lastMessage: null,
  }));

/** Takes the newest page. Whatever was told meanwhile and is not in it counts as missed. */
export function applyNewest(state: State, page: ChatPage): State {
  return withChat(state, page.chat.id, (chat) => {
    const last = page.messages.at(-1);
    return {
      ...chat,
      title: page.chat.title,
      members: mergeMembers(chat.members, page.chat.members),
      marks: 0,
      messages: mergeMessages([], page.messages),
      loaded: true,
      hasOlder: page.hasMore,
      lastMessage: last ? newer(chat.lastMessage, last) : chat.lastMessage,
      outgoing: withoutSent(chat.outgoing, page.messages),
      rev: page.rev,
      ahead: [],
      latest: Math.max(chat.latest, page.rev),
    };
  });
}

/** Puts an older page in front. */
export function applyOlder(state: State, page: ChatPage): State {
  return withChat(state, page.chat.id, (chat) => ({
    ...chat,
    messages: mergeMessages(chat.messages, page.messages),
    hasOlder: page.hasMore,
  }));
}

/** Takes what changed after the held rev: `rev` is how far the answer is complete. */
export function applyChanges(
  state: State,
  chatId: string,
  changes: { messages: Message[]; rev: number; members?: Member[] },
): State {
  let next = state;
  for (const message of changes.messages) next = applyMessage(next, message, true);
  return withChat(next, chatId, (chat) => ({
    ...chat,
    ...(changes.members && { members: mergeMembers(chat.members, changes.members), marks: 0 }),
    ...advance(Math.max(chat.rev, changes.rev), chat.ahead),
    latest: Math.max(chat.latest, changes.rev),
  }));
}

/** Moves somebody's watermarks; they only grow. One's own read mark clears the unread count. */
export function applyReceipt(state: State, receipt: Receipt): State {
  return withChat(state, receipt.chatId, (chat) => ({
    ...chat,
    unread:
      receipt.userId === state.me?.id && receipt.readSeq >= (chat.lastMessage?.seq ?? 0) ? 0 : chat.unread,
    members: chat.members.map((member) =>
      member.userId === receipt.userId ? { ...member, ...higher(member, receipt) } : member,
    ),
  }));
}

export function applyStatus(state: State, { userId, status, lastSeen }: ServerEvents["user:status"]): State {
  if (userId === state.me?.id) return { ...state, me: { ...state.me, status } };
  const chats: State["chats"] = {};
  for (const [id, chat] of Object.entries(state.chats)) {
    const concerned = chat.members.some((member) => member.userId === userId);
    const members = concerned
      ? chat.members.map((one) => showing(one, userId, status, lastSeen))
      : chat.members;
    chats[id] = concerned ? { ...chat, members } : chat;
  }
  return { ...state, chats };
}

/** Of two statuses, the one that was seen later holds: events of two processes can cross on the way. */
const showing = (member: Member, userId: string, status: Status, lastSeen: string | null): Member =>
  member.userId === userId && (lastSeen ?? "") >= (member.user.lastSeen ?? "")
    ? { ...member, user: { ...member.user, status, lastSeen } }
    : member;

export function applyTyping(state: State, event: ServerEvents["user:typing"], now: number): State {
  if (!event.typing) return stopTyping(state, event.chatId, event.userId);
  const chat = { ...state.typing[event.chatId], [event.userId]: now + event.expiresIn * 1000 };
  return { ...state, typing: { ...state.typing, [event.chatId]: chat } };
}

function stopTyping(state: State, chatId: string, userId: string): State {
  if (!state.typing[chatId]?.[userId]) return state;
  const { [userId]: _, ...others } = state.typing[chatId];
  return { ...state, typing: { ...state.typing, [chatId]: others } };
}

/** Drops the signs of typing that have run out. */
export function expireTyping(state: State, now: number): State {
  const typing: State["typing"] = {};
  let changed = false;
  for (const [chatId, people] of Object.entries(state.typing)) {
    const left = Object.entries(people).filter(([, until]) => until > now);
    changed ||= left.length < Object.keys(people).length;
    if (left.length) typing[chatId] = Object.fromEntries(left);
  }
  return changed ? { ...state, typing } : state;
}

export function removeChat(state: State, chatId: string): State {
  const { [chatId]: _, ...chats } = state.chats;
  return { ...state, chats, openChatId: state.openChatId === chatId ? null : state.openChatId };
}

/** Keeps the chats that the server names; one is no longer in the others. */
export function keepChats(state: State, chatIds: string[]): State {
  const named = new Set(chatIds);
  const gone = Object.keys(state.chats).filter((id) => !named.has(id));
  return gone.reduce(removeChat, state);
}

// --- What the page shows --------------------------------------------------------------------------------------------

/** The chats, the one with the newest message first (ids sort by the time they were made). */
export function chatsInOrder(state: State): ChatState[] {
  const key = (chat: ChatState) => chat.lastMessage?.id ?? chat.id;
  return Object.values(state.chats).sort((one, other) => (key(one) < key(other) ? 1 : -1));
}

export const others = (chat: ChatState, meId: string | undefined): Member[] =>
  chat.members.filter((member) => member.userId !== meId);

export function titleOf(chat: ChatState, meId: string | undefined): string {
  if (chat.title) return chat.title;
  const names = others(chat, meId).map((member) => member.user.username);
  return names.length ? names.join(", ") : "Only you";
}

export type Tick = "sent" | "delivered" | "read";

/** How far one's own message has come: with everybody, or not yet. */
export function tickOf(chat: ChatState, message: Message): Tick {
  const marks = others(chat, message.senderId);
  if (marks.length && marks.every((member) => member.readSeq >= message.seq)) return "read";
  if (marks.length && marks.every((member) => member.deliveredSeq >= message.seq)) return "delivered";
  return "sent";
}

export const totalUnread = (state: State): number =>
  Object.values(state.chats).reduce((sum, chat) => sum + chat.unread, 0);
