/** Searches for people while somebody types. */

import { useEffect, useState } from "react";
import type { Rest } from "../api/rest";
import type { User } from "../api/types";

const PAUSE_MS = 250;
const SHORTEST = 2;

export function useSearch(rest: Rest, query: string): { people: User[]; searched: boolean } {
  const [people, setPeople] = useState<User[]>([]);
  const [searched, setSearched] = useState(false);
  useEffect(() => {
    setSearched(false);
    if (query.trim().length < SHORTEST) {
      setPeople([]);
      return;
    }
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setPeople((await rest.search(query.trim(), abort.signal)).users);
        setSearched(true);
      } catch {
        if (!abort.signal.aborted) setPeople([]);
      }
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [rest, query]);
  return { people, searched };
}
