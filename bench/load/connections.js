// Opens a job's sockets, a bounded number of handshakes at a time.

import { dialects } from "./dialects/index.js";

// Resolves to one connection for each account, in their order; rejects when one is refused. `handlersOf(place)` gives
// the handlers of each: acked, refused, delivered, other, closed. `ports` names the port of each when there are several.
export async function openAll(job, handlersOf) {
  const { host, port, ports, accounts, atOnce = 32 } = job;
  const { open } = dialects[job.dialect];
  const connections = new Array(accounts.length);
  let next = 0;

  const openOne = (place) =>
    new Promise((resolve, reject) => {
      const handlers = handlersOf(place);
      const on = {
        ...handlers,
        ready: resolve,
        closed(reason) {
          reject(new Error(`socket ${place} before it was ready: ${reason}`));
          handlers.closed(reason);
        },
      };
      connections[place] = open({ host, port: ports?.[place] ?? port, account: accounts[place], on });
    });

  const worker = async () => {
    while (next < accounts.length) await openOne(next++);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, accounts.length) }, worker));
  return connections;
}
