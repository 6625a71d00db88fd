// Reads one job (JSON) from standard input, runs it, and writes events and at last `{"event": "result", ...}`.

import { fanout } from "./fanout.js";
import { idle } from "./idle.js";
import { report } from "./report.js";
import { rest } from "./rest.js";
import { resync } from "./resync.js";
import { storm } from "./storm.js";
import { traffic } from "./traffic.js";

const modes = { fanout, idle, rest, resync, storm, traffic };

async function readJob() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

try {
  const job = await readJob();
  report({ event: "result", ...(await modes[job.mode](job)) });
  process.exit(0);
} catch (error) {
  report({ event: "failed", reason: String(error?.stack ?? error) });
  process.exit(1);
}
