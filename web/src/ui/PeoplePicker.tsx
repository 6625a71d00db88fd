/** Chooses people by searching for them. */

import { useState } from "react";
import type { Rest } from "../api/rest";
import type { User } from "../api/types";
import { Avatar } from "./Avatar";
import { useSearch } from "./useSearch";

interface Props {
  rest: Rest;
  chosen: User[];
  onChange: (people: User[]) => void;
}

export function PeoplePicker({ rest, chosen, onChange }: Props) {
  const [query, setQuery] = useState("");
  const { people } = useSearch(rest, query);
  const open = people.filter((person) => chosen.every((one) => one.id !== person.id));
  return (
    <div className="stack">
      <input
        type="search"
        className="search"
        aria-label="Add people"
        placeholder="Add people by name"
        value={query}
        onChange={(event) => setQuery(event.target.value)}
      />
      <ul className="picked" aria-label="People chosen">
        {chosen.map((person) => (
          <li key={person.id}>
            <button
              type="button"
              className="chip"
              aria-label={`Remove ${person.username}`}
              onClick={() => onChange(chosen.filter((one) => one !== person))}
            >
              {person.username} ✕
            </button>
          </li>
        ))}
      </ul>
      <ul className="chats" aria-label="People found">
        {open.map((person) => (
          <li key={person.id}>
            <button
              type="button"
              className="row"
              onClick={() => {
                onChange([...chosen, person]);
                setQuery("");
              }}
            >
              <Avatar name={person.username} user={person} />
              <span className="row-title">{person.username}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
