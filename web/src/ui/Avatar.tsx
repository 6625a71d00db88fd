/** A person's or group's picture, or initial, with a dot for their presence. */

import type { Status, User } from "../api/types";

const HUES = 12;

function hueOf(text: string): number {
  let sum = 0;
  for (const character of text) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 997;
  return sum % HUES;
}

interface Props {
  name: string;
  user?: User | undefined;
  status?: Status | undefined;
}

export function Avatar({ name, user, status }: Props) {
  const initial = [...name.replace(/^[^\p{L}\p{N}]+/u, "")][0]?.toUpperCase() ?? "?";
  return (
    <span className={`avatar hue-${hueOf(name)}`} aria-hidden="true">
      {user?.profilePic ? <img src={user.profilePic} alt="" referrerPolicy="no-referrer" /> : initial}
      {status && <span className={`dot ${status}`} />}
    </span>
  );
}
