/** One message, stored or still on its way. */

import { useState } from "react";
import { reasonOf } from "../api/errors";
import type { Message, User } from "../api/types";
import type { Session } from "../store/session";
import { type ChatState, type Outgoing, type Tick, tickOf } from "../store/state";
import { AttachmentView } from "./AttachmentView";
import { clockTime, linkParts, nameOf, systemLine } from "./format";
import { Icon } from "./Icon";

const TICKS: Record<Tick, string> = { sent: "✓", delivered: "✓✓", read: "✓✓" };

interface Props {
  session: Session;
  chat: ChatState;
  me: User;
  message: Message;
  /** Whether the message above is by the same person. */
  follows: boolean;
  onEdit: (message: Message) => void;
}

export function MessageItem({ session, chat, me, message, follows, onEdit }: Props) {
  if (message.type === "system") return <p className="system muted">{systemLine(message, chat, me.id)}</p>;
  const own = message.senderId === me.id;
  const changeable = own && !message.deletedAt && !message.unreadable;
  const tick = own && !message.deletedAt ? tickOf(chat, message) : null;
  return (
    <article className={`message${own ? " own" : ""}${follows ? " follows" : ""}`}>
      {!own && !follows && chat.kind === "group" && (
        <p className="sender">{nameOf(chat, message.senderId, me.id)}</p>
      )}
      <div className="bubble">
        <Body session={session} message={message} />
        <p className="meta">
          {message.editedAt && !message.deletedAt && <span>edited</span>}
          <time dateTime={message.timestamp}>{clockTime(message.timestamp)}</time>
          {tick && (
            <span className={`tick ${tick}`} role="img" aria-label={tick} title={tick}>
              {TICKS[tick]}
            </span>
          )}
        </p>
      </div>
      {changeable && <Actions session={session} message={message} onEdit={onEdit} />}
    </article>
  );
}

function Actions({ session, message, onEdit }: Pick<Props, "session" | "message" | "onEdit">) {
  const [problem, setProblem] = useState("");

  async function remove() {
    if (!confirm("Delete this message for everybody?")) return;
    setProblem("");
    await session.remove(message).catch((error: unknown) => setProblem(reasonOf(error)));
  }

  return (
    <div className={problem ? "actions shown" : "actions"}>
      {problem && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
      <button type="button" className="icon" aria-label="Edit message" onClick={() => onEdit(message)}>
        <Icon name="edit" />
      </button>
      <button type="button" className="icon" aria-label="Delete message" onClick={() => void remove()}>
        <Icon name="trash" />
      </button>
    </div>
  );
}

function Body({ session, message }: { session: Session; message: Message }) {
  if (message.deletedAt) return <p className="gone">This message was deleted.</p>;
  if (message.unreadable) return <p className="gone">This message cannot be read.</p>;
  return (
    <>
      {message.attachment && <AttachmentView session={session} attachment={message.attachment} />}
      {message.content && <Text text={message.content} />}
    </>
  );
}

function Text({ text }: { text: string }) {
  return (
    <p className="text" dir="auto">
      {linkParts(text).map((part, index) =>
        part.href ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text have no other name
          <a key={index} href={part.href} target="_blank" rel="noopener noreferrer nofollow">
            {part.text}
          </a>
        ) : (
          part.text
        ),
      )}
    </p>
  );
}

interface OutgoingProps {
  session: Session;
  chatId: string;
  outgoing: Outgoing;
}

export function OutgoingItem({ session, chatId, outgoing }: OutgoingProps) {
  const { clientId, refusal } = outgoing;
  return (
    <article className={`message own pending${refusal ? " refused" : ""}`}>
      <div className="bubble">
        <Text text={outgoing.content || "Sending a file"} />
        <p className="meta">{refusal ? <span role="alert">{refusal}</span> : <span>sending…</span>}</p>
      </div>
      {refusal && (
        <div className="actions shown">
          <button type="button" className="link" onClick={() => session.retry(chatId, clientId)}>
            Try again
          </button>
          <button type="button" className="link" onClick={() => session.discard(chatId, clientId)}>
            Discard
          </button>
        </div>
      )}
    </article>
  );
}
