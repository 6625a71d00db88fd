/** The open chat: its head, its messages, and where one writes. */

import { useEffect, useState } from "react";
import type { Message, User } from "../api/types";
import type { Connection } from "../socket/socketClient";
import type { Session } from "../store/session";
import { type ChatState, others, type State, titleOf } from "../store/state";
import { Avatar } from "./Avatar";
import { Composer } from "./Composer";
import { lastSeen, nameOf } from "./format";
import { GroupInfo } from "./GroupInfo";
import { Icon } from "./Icon";
import { MessageList } from "./MessageList";

interface Props {
  session: Session;
  state: State;
  chat: ChatState;
  me: User;
  onBack: () => void;
}

export function Conversation({ session, state, chat, me, onBack }: Props) {
  const [editing, setEditing] = useState<Message | null>(null);
  const [info, setInfo] = useState(false);
  const title = titleOf(chat, me.id);
  const other = chat.kind === "direct" ? others(chat, me.id)[0]?.user : undefined;
  useMarkRead(session, chat, me, state.connection);

  return (
    <main className="conversation">
      <header className="chat-head">
        <button type="button" className="icon back" aria-label="Back to the list" onClick={onBack}>
          <Icon name="back" />
        </button>
        <Avatar name={title} user={other} status={other?.status} />
        <div className="chat-title">
          <h1 dir="auto">{title}</h1>
          <p className="muted">{other ? presenceOf(other) : `${chat.members.length} members`}</p>
        </div>
        {chat.kind === "group" && (
          <button type="button" className="icon" aria-label="Group members" onClick={() => setInfo(true)}>
            <Icon name="more" />
          </button>
        )}
      </header>
      <MessageList session={session} chat={chat} me={me} onEdit={setEditing} />
      <p className="typing muted" aria-live="polite">
        {typingLine(chat, Object.keys(state.typing[chat.id] ?? {}), me)}
      </p>
      <Composer
        key={editing?.id ?? "new"}
        session={session}
        chatId={chat.id}
        editing={editing}
        onDone={() => setEditing(null)}
        onEditLast={() => setEditing(lastOwn(chat, me))}
      />
      {info && <GroupInfo session={session} chat={chat} me={me} onClose={() => setInfo(false)} />}
    </main>
  );
}

/** What is on the screen of somebody who is looking at it counts as read. */
function useMarkRead(session: Session, chat: ChatState, me: User, connection: Connection) {
  const newest = chat.messages.at(-1)?.seq ?? 0;
  const mark = chat.members.find((member) => member.userId === me.id)?.readSeq ?? 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: each new message, ack and connection counts anew
  useEffect(() => {
    const look = () => {
      if (document.visibilityState === "visible" && document.hasFocus())
        void session.markRead(chat.id).catch(() => undefined);
    };
    look();
    window.addEventListener("focus", look);
    document.addEventListener("visibilitychange", look);
    return () => {
      window.removeEventListener("focus", look);
      document.removeEventListener("visibilitychange", look);
    };
  }, [session, chat.id, newest, mark, connection]);
}

const presenceOf = (user: User): string =>
  user.status === "offline" ? lastSeen(user.lastSeen) : user.status;

function typingLine(chat: ChatState, userIds: string[], me: User): string {
  const names = userIds.map((id) => nameOf(chat, id, me.id));
  if (names.length === 0) return "";
  if (names.length > 2) return "Several people are typing…";
  return `${names.join(" and ")} ${names.length === 1 ? "is" : "are"} typing…`;
}

const lastOwn = (chat: ChatState, me: User): Message | null =>
  chat.messages.findLast((one) => one.senderId === me.id && !one.deletedAt && one.type !== "system") ?? null;
