/** People, chats and messages to test with. */

import type { InboxEntry, Member, Message, User } from "../src/api/types";

export const ADA: User = {
  id: "ada",
  username: "ada",
  email: "ada@example.org",
  profilePic: null,
  status: "online",
  lastSeen: null,
};
export const BOB: User = { id: "bob", username: "bob", profilePic: null, status: "offline", lastSeen: null };

export const member = (user: User, readSeq = 0, deliveredSeq = readSeq): Member => ({
  userId: user.id,
  role: "member",
  deliveredSeq,
  readSeq,
  joinedAt: "2026-01-31T12:00:00.000Z",
  user,
});

export const message = (seq: number, changes: Partial<Message> = {}): Message => ({
  id: `m${String(seq).padStart(4, "0")}`,
  chatId: "chat",
  senderId: "bob",
  receiverId: "ada",
  content: `message ${seq}`,
  type: "text",
  timestamp: `2026-01-31T12:00:${String(seq % 60).padStart(2, "0")}.000Z`,
  read: false,
  seq,
  rev: seq,
  clientId: `client-${seq}`,
  editedAt: null,
  deletedAt: null,
  attachment: null,
  system: null,
  unreadable: false,
  ...changes,
});

export const entry = (changes: Partial<InboxEntry> = {}): InboxEntry => ({
  id: "chat",
  kind: "direct",
  title: null,
  createdAt: "2026-01-31T12:00:00.000Z",
  rev: 0,
  members: [member(ADA), member(BOB)],
  lastMessage: null,
  unreadCount: 0,
  ...changes,
});
