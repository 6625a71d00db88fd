/** Lets one tab at a time do something: by the browser's locks, or where it has none, by a mark in the shared storage. */

const NAME = "parley.refresh";
/** A tab that was closed in the middle of its work holds the others up for no longer than this. */
const LONGEST_MS = 10_000;
/** Two tabs that write their mark at the same moment both see who was last. */
const SETTLE_MS = 50;

interface Mark {
  owner: string;
  until: number;
}

/** Runs `work` while no other tab runs its own. Browsers offer locks on secure origins only, not on plain `http`. */
export function alone<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? (navigator.locks.request(NAME, work) as Promise<T>) : marked(work);
}

async function marked<T>(work: () => Promise<T>): Promise<T> {
  const owner = `${Date.now()}.${Math.random()}`;
  while (!(await taken(owner))) await pause(SETTLE_MS);
  try {
    return await work();
  } finally {
    if (current()?.owner === owner) localStorage.removeItem(NAME);
  }
}

async function taken(owner: string): Promise<boolean> {
  if (current()) return false;
  localStorage.setItem(NAME, JSON.stringify({ owner, until: Date.now() + LONGEST_MS } satisfies Mark));
  await pause(SETTLE_MS);
  return current()?.owner === owner;
}

function current(): Mark | null {
  const stored = localStorage.getItem(NAME);
  const mark = stored ? (JSON.parse(stored) as Mark) : null;
  return mark && mark.until > Date.now() ? mark : null;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
