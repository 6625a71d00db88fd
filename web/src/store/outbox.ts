/** Keeps what waits to be sent over a reload of the page, in this tab only. Client ids make a second send harmless. */

import type { Outgoing, State } from "./state";

const keyOf = (userId: string) => `parley.outbox.${userId}`;

export type Outbox = Record<string, Outgoing[]>;

export function readOutbox(userId: string): Outbox {
  const stored = sessionStorage.getItem(keyOf(userId));
  return stored ? (JSON.parse(stored) as Outbox) : {};
}

/** Stores what waits in all chats. A full storage costs only the safety over a reload. */
export function writeOutbox(userId: string, outbox: Outbox): void {
  try {
    if (Object.keys(outbox).length) sessionStorage.setItem(keyOf(userId), JSON.stringify(outbox));
    else sessionStorage.removeItem(keyOf(userId));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
  }
}

export function outboxOf(state: State): Outbox {
  const waiting = Object.values(state.chats).filter((chat) => chat.outgoing.length);
  return Object.fromEntries(waiting.map((chat) => [chat.id, chat.outgoing]));
}

/** Puts back what waited, behind nothing that is there already. */
export function restoreOutbox(state: State, outbox: Outbox): State {
  const chats = { ...state.chats };
  for (const [chatId, waiting] of Object.entries(outbox)) {
    const chat = chats[chatId];
    if (!chat) continue;
    const here = new Set(chat.outgoing.map((one) => one.clientId));
    chats[chatId] = {
      ...chat,
      outgoing: [...waiting.filter((one) => !here.has(one.clientId)), ...chat.outgoing],
    };
  }
  return { ...state, chats };
}
