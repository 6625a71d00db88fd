/** The objects of docs/protocol.md. */

export type Status = "online" | "away" | "offline";
export type Role = "owner" | "admin" | "member";

export interface User {
  id: string;
  username: string;
  email?: string;
  profilePic: string | null;
  status: Status;
  lastSeen: string | null;
}

export interface Tokens {
  accessToken: string;
  refreshToken: string;
  expiresIn: number;
}

export interface Attachment {
  id: string;
  name: string;
  mediaType: string;
  size: number;
  url: string;
}

export interface SystemChange {
  action: "created" | "renamed" | "added" | "removed" | "left" | "role";
  userId: string | null;
  title: string | null;
  role: Role | null;
}

export interface Message {
  id: string;
  chatId: string;
  senderId: string;
  receiverId: string | null;
  content: string | null;
  type: "text" | "image" | "file" | "system";
  timestamp: string;
  read: boolean;
  seq: number;
  rev: number;
  clientId: string;
  editedAt: string | null;
  deletedAt: string | null;
  attachment: Attachment | null;
  system: SystemChange | null;
  unreadable: boolean;
}

export interface Member {
  userId: string;
  role: Role;
  deliveredSeq: number;
  readSeq: number;
  joinedAt: string;
  user: User;
}

export interface Chat {
  id: string;
  kind: "direct" | "group";
  title: string | null;
  createdAt: string;
  rev: number;
  members: Member[];
}

export interface InboxEntry extends Chat {
  lastMessage: Message | null;
  unreadCount: number;
}

export interface ChatPage {
  chat: Chat;
  messages: Message[];
  hasMore: boolean;
  rev: number;
}

export interface Receipt {
  chatId: string;
  userId: string;
  deliveredSeq: number;
  readSeq: number;
}

export interface Session {
  id: string;
  createdAt: string;
  lastUsedAt: string;
  userAgent: string;
  ipAddress: string;
  current: boolean;
}

export interface SendData {
  chatId: string;
  content: string;
  type: "text" | "image" | "file";
  clientId: string;
  attachmentId?: string;
}

/** What the server sends unasked, by event name. */
export interface ServerEvents {
  hello: { userId: string; sessionId: string; expiresIn: number; heartbeat: number };
  "message:receive": Message;
  "message:update": Message;
  "message:delete": Message;
  "message:read": Receipt & { rev: number };
  "message:delivered": Receipt & { rev: number };
  "user:typing": { chatId: string; rev: number; userId: string; typing: boolean; expiresIn: number };
  "user:status": { userId: string; status: Status; lastSeen: string | null };
  "chat:removed": { chatId: string; rev: number };
  sync: {
    chatId: string;
    rev: number;
    marks?: number;
    messages?: Message[];
    members?: Member[];
    hasMore?: boolean;
  };
  "sync:done": { chats: Record<string, number> };
  "sync:reset": { chatId: string; rev: number; reason: "too_far" | "gone" };
  "session:end": { reason: string };
  restarting: { reconnectInMs: number };
  error: { code: string; message: string };
}

export type EventName = keyof ServerEvents;
export type ServerEvent = { [N in EventName]: { name: N; data: ServerEvents[N] } }[EventName];
