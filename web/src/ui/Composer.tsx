/** Where one writes: Enter sends, Shift+Enter breaks the line, Arrow up edits the last message, Escape lets it be. */

import { type ChangeEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { reasonOf } from "../api/errors";
import type { Message } from "../api/types";
import type { Session } from "../store/session";
import { Icon } from "./Icon";

interface Props {
  session: Session;
  chatId: string;
  editing: Message | null;
  onDone: () => void;
  onEditLast: () => void;
}

export function Composer({ session, chatId, editing, onDone, onEditLast }: Props) {
  const [text, setText] = useState(editing?.content ?? session.drafts.get(chatId) ?? "");
  const [problem, setProblem] = useState("");
  const [uploading, setUploading] = useState(false);
  const box = useRef<HTMLTextAreaElement>(null);
  const file = useRef<HTMLInputElement>(null);

  useEffect(() => {
    box.current?.focus();
    return () => session.typing(chatId, false);
  }, [session, chatId]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the box grows with its text
  useEffect(() => {
    const area = box.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [text]);

  /** What is written to a chat stays there while one looks at others. */
  function write(written: string) {
    setText(written);
    if (!editing) session.drafts.set(chatId, written);
  }

  function change(event: ChangeEvent<HTMLTextAreaElement>) {
    write(event.target.value);
    if (!editing) session.typing(chatId, event.target.value.trim() !== "");
  }

  async function submit() {
    if (!text.trim()) return;
    setProblem("");
    if (!editing) {
      session.send(chatId, { content: text, type: "text" });
      write("");
      return;
    }
    try {
      if (text !== editing.content) await session.edit(editing, text);
      onDone();
    } catch (error) {
      setProblem(reasonOf(error));
    }
  }

  async function upload(chosen: File | undefined) {
    if (!chosen) return;
    setProblem("");
    setUploading(true);
    const caption = text;
    write("");
    try {
      await session.sendFile(chatId, chosen, caption);
    } catch (error) {
      write(session.drafts.get(chatId) || caption);
      setProblem(reasonOf(error));
    } finally {
      setUploading(false);
      if (file.current) file.current.value = "";
    }
  }

  function onKey(event: KeyboardEvent) {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      void submit();
    } else if (event.key === "Escape" && editing) onDone();
    else if (event.key === "ArrowUp" && text === "" && !editing) onEditLast();
  }

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      {editing && (
        <p className="editing muted">
          Editing a message{" "}
          <button type="button" className="link" onClick={onDone}>
            Cancel
          </button>
        </p>
      )}
      {(problem || uploading) && <p className={problem ? "problem" : "muted"}>{problem || "Uploading…"}</p>}
      <div className="composer-row">
        {!editing && (
          <>
            <button
              type="button"
              className="icon"
              aria-label="Attach a file"
              onClick={() => file.current?.click()}
            >
              <Icon name="clip" />
            </button>
            <input
              ref={file}
              type="file"
              hidden
              aria-label="File to attach"
              onChange={(event) => void upload(event.target.files?.[0])}
            />
          </>
        )}
        <textarea
          ref={box}
          rows={1}
          aria-label="Message"
          placeholder="Write a message"
          dir="auto"
          value={text}
          onChange={change}
          onKeyDown={onKey}
          onBlur={() => session.typing(chatId, false)}
        />
        <button type="submit" className="primary send" disabled={!text.trim()}>
          {editing ? "Save" : "Send"}
        </button>
      </div>
    </form>
  );
}
