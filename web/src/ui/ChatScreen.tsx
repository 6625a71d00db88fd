/** The two panes: the list of chats and the open one. On a phone one of them at a time. */

import { useCallback, useEffect, useState } from "react";
import type { Session } from "../store/session";
import { totalUnread } from "../store/state";
import { useStore } from "../store/store";
import { ChatList } from "./ChatList";
import { ConnectionBanner } from "./ConnectionBanner";
import { Conversation } from "./Conversation";
import { NewGroup } from "./NewGroup";
import { Settings } from "./Settings";

const HASH = /^#\/chat\/([0-9a-f-]{36})$/;
const chatInAddress = () => HASH.exec(location.hash)?.[1] ?? null;

export function ChatScreen({ session }: { session: Session }) {
  const state = useStore(session.store);
  const [dialog, setDialog] = useState<"settings" | "group" | null>(null);
  const unread = totalUnread(state);
  const open = state.openChatId ? state.chats[state.openChatId] : undefined;

  const show = useCallback((chatId: string | null) => {
    location.hash = chatId ? `#/chat/${chatId}` : "";
  }, []);

  useEffect(() => {
    const follow = () => void session.openChat(chatInAddress()).catch(() => undefined);
    follow();
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, [session]);

  useEffect(() => {
    document.title = unread ? `(${unread}) Parley` : "Parley";
  }, [unread]);

  if (!state.me) return <p className="signin muted">Connecting…</p>;
  return (
    <div className={open ? "screen with-chat" : "screen"}>
      <ConnectionBanner connection={state.connection} />
      <ChatList
        session={session}
        state={state}
        me={state.me}
        onOpen={show}
        onSettings={() => setDialog("settings")}
        onNewGroup={() => setDialog("group")}
      />
      {open ? (
        <Conversation
          key={open.id}
          session={session}
          state={state}
          chat={open}
          me={state.me}
          onBack={() => show(null)}
        />
      ) : (
        <main className="empty muted">
          <p>Choose a conversation, or find a person to start one.</p>
        </main>
      )}
      {dialog === "settings" && <Settings session={session} me={state.me} onClose={() => setDialog(null)} />}
      {dialog === "group" && <NewGroup session={session} onOpen={show} onClose={() => setDialog(null)} />}
    </div>
  );
}
