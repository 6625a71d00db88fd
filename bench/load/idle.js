// Sockets that only stay open. The first `warm` of them pay for what a server allocates once; the runner looks at the
// server's memory at the events `warm` and `held`.

import { openAll } from "./connections.js";
import { sleep } from "./pause.js";
import { report } from "./report.js";

export async function idle(job) {
  let closed = 0;
  const ignore = () => ({ acked() {}, refused() {}, delivered() {}, closed: () => closed++ });
  const first = await openAll({ ...job, accounts: job.accounts.slice(0, job.warm) }, ignore);
  await sleep(job.settle);
  report({ event: "warm" });
  const rest = await openAll({ ...job, accounts: job.accounts.slice(job.warm) }, ignore);
  report({ event: "connected" });
  await sleep(job.seconds);
  report({ event: "held" });
  for (const connection of [...first, ...rest]) connection.close();
  return { sockets: rest.length, closed };
}
