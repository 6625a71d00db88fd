// Messages into a group whose members are all connected, some of them under way at a time: how many deliveries a second.

import { performance } from "node:perf_hooks";

import { openAll } from "./connections.js";
import { contentOf } from "./content.js";
import { Histogram } from "./histogram.js";
import { sleep } from "./pause.js";
import { report } from "./report.js";

const PATIENCE_SECONDS = 30;

export async function fanout(job) {
  const members = job.accounts.length;
  const complete = new Histogram(); // until the last member has the message
  const counts = { messages: 0, deliveries: 0, refused: 0, closed: 0, late: 0 };
  const underWay = new Map(); // by the message's id: who has it, how many do not, and what to do then

  const arrived = (id, place) => {
    const message = underWay.get(id);
    if (message === undefined || message.seen[place]) {
      counts.late++;
      return;
    }
    message.seen[place] = 1;
    counts.deliveries++;
    if (--message.missing === 0) message.done();
  };
  const connections = await openAll(job, (place) => ({
    acked: (id) => arrived(id, place), // the sender's own copy is its ack
    refused: () => counts.refused++,
    delivered: (id) => arrived(id, place),
    closed: () => counts.closed++,
  }));
  report({ event: "connected" });

  const post = async (id, measured) => {
    const began = performance.now();
    const all = new Promise((done) => underWay.set(id, { seen: new Uint8Array(members), missing: members, done }));
    connections[id % members].send(id, job.chats[0], contentOf(id, job.contentLength));
    const timer = setTimeout(() => underWay.get(id).done("late"), PATIENCE_SECONDS * 1000);
    if ((await all) === "late") {
      const { missing } = underWay.get(id);
      throw new Error(`message ${id}: ${missing} of ${members} never arrived, ${counts.closed} sockets were closed`);
    }
    clearTimeout(timer);
    underWay.delete(id);
    if (measured) complete.record(performance.now() - began);
  };

  let id = 0;
  const until = async (seconds, measured) => {
    const end = performance.now() + seconds * 1000;
    const stream = async () => {
      while (performance.now() < end) await post(id++, measured);
    };
    await Promise.all(Array.from({ length: job.inFlight ?? 1 }, stream));
  };
  await until(job.warmup, false);
  counts.deliveries = 0;
  const cpu = process.cpuUsage();
  const began = performance.now();
  report({ event: "measuring" });
  await until(job.seconds, true);
  report({ event: "measured" });
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  counts.messages = complete.total;
  await sleep(0.5);
  for (const connection of connections) connection.close();
  return {
    seconds,
    deliveriesPerSecond: (counts.messages * (members - 1)) / seconds,
    complete: complete.summary(),
    loadCpu: (user + system) / 1e6 / seconds,
    counts,
  };
}
