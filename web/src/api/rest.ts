/** The REST door. Every call carries the access token, and is repeated once when that has just run out. */

import type { TokenKeeper } from "../auth/tokens";
import { type Call, call } from "./call";
import { ApiError } from "./errors";
import type { Attachment, ChatPage, InboxEntry, Role, Session, Status, Tokens, User } from "./types";

export interface SignedIn extends Tokens {
  user: User;
}

export const register = async (body: { username: string; email: string; password: string }) =>
  (await (await call("/auth/register", { method: "POST", body })).json()) as SignedIn;

export const login = async (name: string, password: string) => {
  const body = name.includes("@") ? { email: name, password } : { username: name, password };
  return (await (await call("/auth/login", { method: "POST", body })).json()) as SignedIn;
};

export class Rest {
  constructor(private readonly tokens: TokenKeeper) {}

  me = () => this.json<User>("/user/me");
  updateMe = (body: { username?: string; email?: string }) =>
    this.json<User>("/user/me", { method: "PATCH", body });
  setPicture = (file: File) => this.json<User>("/user/me/picture", { method: "PUT", form: formOf({ file }) });
  setStatus = (status: Status) => this.json<User>("/user/status", { method: "PUT", body: { status } });
  search = (q: string, signal: AbortSignal) =>
    this.json<{ users: User[] }>(`/user/search?q=${encodeURIComponent(q)}`, { signal });

  inbox = (cursor?: string) =>
    this.json<{ chats: InboxEntry[]; nextCursor: string | null }>(
      `/chat?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`,
    );
  openChat = (participantIds: string[], title?: string) =>
    this.json<InboxEntry>("/chat", {
      method: "POST",
      body: title ? { participantIds, title } : { participantIds },
    });
  newest = (chatId: string) => this.json<ChatPage>(`/chat/${chatId}?limit=50`);
  before = (chatId: string, seq: number) => this.json<ChatPage>(`/chat/${chatId}?limit=50&before=${seq}`);
  after = (chatId: string, rev: number) => this.json<ChatPage>(`/chat/${chatId}?limit=100&after=${rev}`);

  renameChat = (chatId: string, title: string) =>
    this.json<InboxEntry>(`/chat/${chatId}`, { method: "PATCH", body: { title } });
  addMembers = (chatId: string, userIds: string[]) =>
    this.json<InboxEntry>(`/chat/${chatId}/member`, { method: "POST", body: { userIds } });
  changeRole = (chatId: string, userId: string, role: Role) =>
    this.json<InboxEntry>(`/chat/${chatId}/member/${userId}`, { method: "PATCH", body: { role } });
  removeMember = (chatId: string, userId: string) =>
    this.send(`/chat/${chatId}/member/${userId}`, { method: "DELETE" });

  upload = (chatId: string, file: File) =>
    this.json<Attachment>("/attachment", { method: "POST", form: formOf({ chatId, file }) });
  download = async (url: string, signal: AbortSignal) => (await this.send(url, { signal })).blob();

  changePassword = async (currentPassword: string, newPassword: string) => {
    const body = { currentPassword, newPassword };
    this.tokens.keep(await this.json<Tokens>("/auth/password", { method: "POST", body }));
  };
  sessions = () => this.json<{ sessions: Session[] }>("/auth/sessions");
  endSession = (id: string) => this.send(`/auth/sessions/${id}`, { method: "DELETE" });
  logout = () => this.send("/auth/logout", { method: "POST" });

  private async json<T>(path: string, options?: Call): Promise<T> {
    return (await (await this.send(path, options)).json()) as T;
  }

  private async send(path: string, options?: Call): Promise<Response> {
    const token = await this.tokens.fresh();
    try {
      return await call(path, options, token);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "token_expired") throw error;
      return call(path, options, await this.tokens.renew(token));
    }
  }
}

function formOf(fields: Record<string, string | File>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return form;
}
