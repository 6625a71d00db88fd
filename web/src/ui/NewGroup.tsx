/** Starts a group. */

import { type FormEvent, useState } from "react";
import { reasonOf } from "../api/errors";
import type { User } from "../api/types";
import type { Session } from "../store/session";
import { Dialog } from "./Dialog";
import { Field } from "./Field";
import { PeoplePicker } from "./PeoplePicker";

interface Props {
  session: Session;
  onOpen: (chatId: string) => void;
  onClose: () => void;
}

export function NewGroup({ session, onOpen, onClose }: Props) {
  const [title, setTitle] = useState("");
  const [chosen, setChosen] = useState<User[]>([]);
  const [problem, setProblem] = useState("");

  async function create(event: FormEvent) {
    event.preventDefault();
    try {
      const ids = chosen.map((user) => user.id);
      onOpen(await session.openGroup(ids, title.trim()));
      onClose();
    } catch (error) {
      setProblem(reasonOf(error));
    }
  }

  return (
    <Dialog title="New group" onClose={onClose}>
      <form className="stack" onSubmit={create}>
        <Field
          label="Group name"
          maxLength={100}
          value={title}
          onChange={(event) => setTitle(event.target.value)}
        />
        <PeoplePicker rest={session.rest} chosen={chosen} onChange={setChosen} />
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <button type="submit" className="primary" disabled={!title.trim() || chosen.length === 0}>
          Create group
        </button>
      </form>
    </Dialog>
  );
}
