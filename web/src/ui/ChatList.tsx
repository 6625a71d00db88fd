/** The list of chats, with the search for people above it. */

import { useState } from "react";
import { reasonOf } from "../api/errors";
import type { Message, User } from "../api/types";
import type { Session } from "../store/session";
import { type ChatState, chatsInOrder, others, type State, titleOf } from "../store/state";
import { Avatar } from "./Avatar";
import { nameOf, preview, shortTime } from "./format";
import { Icon } from "./Icon";
import { useSearch } from "./useSearch";

interface Props {
  session: Session;
  state: State;
  me: User;
  onOpen: (chatId: string) => void;
  onSettings: () => void;
  onNewGroup: () => void;
}

export function ChatList({ session, state, me, onOpen, onSettings, onNewGroup }: Props) {
  const [query, setQuery] = useState("");
  const { people, searched } = useSearch(session.rest, query);

  const [problem, setProblem] = useState("");

  async function openPerson(person: User) {
    setProblem("");
    try {
      onOpen(await session.openDirect(person.id));
      setQuery("");
    } catch (error) {
      setProblem(reasonOf(error));
    }
  }

  return (
    <nav className="sidebar" aria-label="Conversations">
      <header className="sidebar-head">
        <button type="button" className="profile" aria-label="Your profile and settings" onClick={onSettings}>
          <Avatar name={me.username} user={me} status={me.status} />
          <span>{me.username}</span>
        </button>
        <button type="button" className="icon" aria-label="New group" title="New group" onClick={onNewGroup}>
          <Icon name="plus" />
        </button>
      </header>
      <input
        type="search"
        className="search"
        aria-label="Find a person"
        placeholder="Find a person"
        value={query}
        onChange={(event) => setQuery(event.target.value)}
        onKeyDown={(event) => event.key === "Escape" && setQuery("")}
      />
      {query ? (
        <ul className="chats" aria-label="People found">
          {people.map((person) => (
            <li key={person.id}>
              <button type="button" className="row" onClick={() => void openPerson(person)}>
                <Avatar name={person.username} user={person} status={person.status} />
                <span className="row-title">{person.username}</span>
              </button>
            </li>
          ))}
          {problem && (
            <li className="problem pad" role="alert">
              {problem}
            </li>
          )}
          {searched && people.length === 0 && <li className="muted pad">Nobody by that name.</li>}
        </ul>
      ) : (
        <ul className="chats" aria-label="Chats">
          {chatsInOrder(state).map((chat) => (
            <li key={chat.id}>
              <ChatRow chat={chat} state={state} me={me} onOpen={onOpen} />
            </li>
          ))}
          {state.inboxLoaded && Object.keys(state.chats).length === 0 && (
            <li className="muted pad">No conversations yet.</li>
          )}
        </ul>
      )}
    </nav>
  );
}

function ChatRow({
  chat,
  state,
  me,
  onOpen,
}: {
  chat: ChatState;
  state: State;
  me: User;
  onOpen: Props["onOpen"];
}) {
  const title = titleOf(chat, me.id);
  const other = chat.kind === "direct" ? others(chat, me.id)[0]?.user : undefined;
  const typing = Object.keys(state.typing[chat.id] ?? {}).length > 0;
  return (
    <button
      type="button"
      className="row"
      aria-current={chat.id === state.openChatId ? "true" : undefined}
      onClick={() => onOpen(chat.id)}
    >
      <Avatar name={title} user={other} status={other?.status} />
      <span className="row-title" dir="auto">
        {title}
      </span>
      <span className="row-time">{chat.lastMessage && shortTime(chat.lastMessage.timestamp)}</span>
      <span className="row-preview" dir="auto">
        {typing ? <em>typing…</em> : lastLine(chat, chat.lastMessage, me)}
      </span>
      {chat.unread > 0 && (
        <span className="badge">
          {chat.unread}
          <span className="visually-hidden"> unread</span>
        </span>
      )}
    </button>
  );
}

function lastLine(chat: ChatState, message: Message | null, me: User): string {
  if (!message) return "";
  const text = preview(message, chat, me.id);
  const named = message.senderId === me.id || chat.kind === "group";
  return named && message.type !== "system" ? `${nameOf(chat, message.senderId, me.id)}: ${text}` : text;
}
