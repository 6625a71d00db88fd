/** A group's members and what one may change about it. */

import { type FormEvent, useState } from "react";
import type { User } from "../api/types";
import type { Session } from "../store/session";
import type { ChatState } from "../store/state";
import { Avatar } from "./Avatar";
import { Dialog } from "./Dialog";
import { Field } from "./Field";
import { PeoplePicker } from "./PeoplePicker";
import { useAttempt } from "./useAttempt";

interface Props {
  session: Session;
  chat: ChatState;
  me: User;
  onClose: () => void;
}

export function GroupInfo({ session, chat, me, onClose }: Props) {
  const [title, setTitle] = useState(chat.title ?? "");
  const [chosen, setChosen] = useState<User[]>([]);
  const { problem, attempt } = useAttempt();
  const role = chat.members.find((member) => member.userId === me.id)?.role ?? "member";
  const manages = role !== "member";

  function rename(event: FormEvent) {
    event.preventDefault();
    void attempt(() => session.rest.renameChat(chat.id, title.trim()));
  }

  const add = () =>
    attempt(async () => {
      await session.rest.addMembers(
        chat.id,
        chosen.map((user) => user.id),
      );
      setChosen([]);
    });

  return (
    <Dialog title="Group" onClose={onClose}>
      <div className="stack">
        {manages && (
          <form className="inline" onSubmit={rename}>
            <Field
              label="Group name"
              maxLength={100}
              value={title}
              onChange={(event) => setTitle(event.target.value)}
            />
            <button type="submit" disabled={!title.trim() || title === chat.title}>
              Rename
            </button>
          </form>
        )}
        <ul className="members" aria-label="Members">
          {chat.members.map((member) => (
            <li key={member.userId}>
              <Avatar name={member.user.username} user={member.user} status={member.user.status} />
              <span>{member.user.username}</span>
              <span className="muted">{member.role}</span>
              {member.userId !== me.id && (role === "owner" || (manages && member.role === "member")) && (
                <button
                  type="button"
                  className="link"
                  onClick={() => void attempt(() => session.rest.removeMember(chat.id, member.userId))}
                >
                  Remove<span className="visually-hidden"> {member.user.username}</span>
                </button>
              )}
            </li>
          ))}
        </ul>
        {manages && (
          <>
            <PeoplePicker rest={session.rest} chosen={chosen} onChange={setChosen} />
            {chosen.length > 0 && (
              <button type="button" className="primary" onClick={() => void add()}>
                Add to the group
              </button>
            )}
          </>
        )}
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <button
          type="button"
          className="danger"
          onClick={() => void attempt(() => session.rest.removeMember(chat.id, me.id))}
        >
          Leave the group
        </button>
      </div>
    </Dialog>
  );
}
