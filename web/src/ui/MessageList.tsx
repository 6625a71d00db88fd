/** The messages of a chat, by day; older ones come as one scrolls up. */

import { Fragment, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { Message, User } from "../api/types";
import type { Session } from "../store/session";
import type { ChatState } from "../store/state";
import { dayOf } from "./format";
import { MessageItem, OutgoingItem } from "./MessageItem";

const NEAR_PX = 120;

interface Props {
  session: Session;
  chat: ChatState;
  me: User;
  onEdit: (message: Message) => void;
}

export function MessageList({ session, chat, me, onEdit }: Props) {
  const list = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const below = useRef(0);
  const height = useRef(0);
  const [missed, setMissed] = useState(false);
  const newest = chat.outgoing.at(-1)?.clientId ?? chat.messages.at(-1)?.id;
  const oldest = chat.messages[0]?.id;

  // Stay at the end when something comes; otherwise say so.
  // biome-ignore lint/correctness/useExhaustiveDependencies: runs when something new is there
  useLayoutEffect(() => {
    const box = list.current;
    if (!box) return;
    if (atEnd.current || chat.outgoing.length) toEnd(box, height);
    else setMissed(true);
  }, [newest]);

  // Keep the view where it is when older messages come in front.
  // biome-ignore lint/correctness/useExhaustiveDependencies: runs when older messages are there
  useLayoutEffect(() => {
    const box = list.current;
    if (box && !atEnd.current) box.scrollTop = box.scrollHeight - below.current;
  }, [oldest]);

  // A picture that comes late, or a box that grows, pushes the end out of sight.
  useEffect(() => {
    const box = list.current;
    if (!box) return;
    const stay = () => {
      if (atEnd.current) toEnd(box, height);
    };
    box.addEventListener("load", stay, true);
    const observer = typeof ResizeObserver === "undefined" ? null : new ResizeObserver(stay);
    observer?.observe(box);
    return () => {
      box.removeEventListener("load", stay, true);
      observer?.disconnect();
    };
  }, []);

  useEffect(() => {
    const box = list.current;
    if (box && chat.hasOlder && box.scrollHeight <= box.clientHeight)
      void session.loadOlder(chat.id).catch(() => undefined);
  }, [session, chat.id, chat.hasOlder]);

  function onScroll() {
    const box = list.current;
    if (!box) return;
    // What moves the view may be a picture that grows, not a person.
    if (atEnd.current && box.scrollHeight !== height.current) return toEnd(box, height);
    below.current = box.scrollHeight - box.scrollTop;
    atEnd.current = below.current - box.clientHeight < NEAR_PX;
    if (atEnd.current) setMissed(false);
    if (box.scrollTop < NEAR_PX && chat.hasOlder) void session.loadOlder(chat.id).catch(() => undefined);
  }

  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: people without a mouse scroll it by keyboard
    <div className="messages" ref={list} role="log" aria-label="Messages" tabIndex={0} onScroll={onScroll}>
      {!chat.loaded && chat.messages.length === 0 && <p className="begin muted">Loading…</p>}
      {chat.loaded && !chat.hasOlder && <p className="begin muted">This is where the conversation begins.</p>}
      {chat.messages.map((message, index) => {
        const before = chat.messages[index - 1];
        const newDay = !before || dayOf(before.timestamp) !== dayOf(message.timestamp);
        return (
          <Fragment key={message.id}>
            {newDay && <h2 className="day">{dayOf(message.timestamp)}</h2>}
            <MessageItem
              session={session}
              chat={chat}
              me={me}
              message={message}
              follows={!newDay && before?.senderId === message.senderId && before.type !== "system"}
              onEdit={onEdit}
            />
          </Fragment>
        );
      })}
      {chat.outgoing.map((outgoing) => (
        <OutgoingItem key={outgoing.clientId} session={session} chatId={chat.id} outgoing={outgoing} />
      ))}
      {missed && (
        <button
          type="button"
          className="to-end"
          onClick={() => list.current?.scrollTo({ top: list.current.scrollHeight, behavior: "smooth" })}
        >
          New messages ↓
        </button>
      )}
    </div>
  );
}

/** Scrolls to the end, and notes how high the content was then. */
function toEnd(box: HTMLElement, height: { current: number }) {
  height.current = box.scrollHeight;
  box.scrollTop = box.scrollHeight;
}
