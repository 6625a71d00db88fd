// All clients lose their sockets and come back at once, each with its cursors: how long until everybody is up to date.

import { performance } from "node:perf_hooks";

import { openAll } from "./connections.js";
import { dialects } from "./dialects/index.js";
import { Histogram } from "./histogram.js";
import { sleep } from "./pause.js";
import { report } from "./report.js";

const PATIENCE_SECONDS = 120;

export async function storm(job) {
  const before = await openAll(job, () => ({ acked() {}, refused() {}, delivered() {}, closed() {} }));
  report({ event: "connected" });
  await sleep(1);
  for (const connection of before) connection.close();
  await sleep(job.away);

  const ready = new Histogram();
  const resumed = new Histogram();
  const errors = {};
  let missed = 0;
  const began = performance.now();
  const outcomes = await Promise.all(
    job.accounts.map((account, place) =>
      comeBack(job, account, job.chats[place], {
        ready: () => ready.record(performance.now() - began),
        messages: (count) => (missed += count),
        resumed: () => resumed.record(performance.now() - began),
      }),
    ),
  );
  const seconds = (performance.now() - began) / 1000;
  for (const { connection, error } of outcomes) {
    connection.close();
    if (error) errors[error] = (errors[error] ?? 0) + 1;
  }
  return { clients: job.accounts.length, seconds, ready: ready.summary(), resumed: resumed.summary(), missed, errors };
}

// Resolves to `{connection, error}`; `error` is undefined once everything that was missed has arrived.
function comeBack(job, account, chat, told) {
  return new Promise((resolve) => {
    let connection;
    const end = (error) => {
      clearTimeout(timer);
      resolve({ connection, error });
    };
    const timer = setTimeout(() => end("no answer"), PATIENCE_SECONDS * 1000);
    const frame = (text) => {
      if (text.startsWith('{"event":"sync:done"')) {
        told.resumed();
        end();
      } else if (text.startsWith('{"event":"sync:reset"')) end("reset");
    };
    connection = dialects[job.dialect].open({
      host: job.host,
      port: job.port,
      account,
      on: {
        ready() {
          told.ready();
          connection.sync(1, { [chat]: job.cursor });
        },
        acked() {},
        refused: (id, text) => end(text),
        delivered() {},
        synced: (text) => told.messages(text.split('"content":"~').length - 1),
        other: frame,
        closed: (reason) => end(reason),
      },
    });
  });
}
