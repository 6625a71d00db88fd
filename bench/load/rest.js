// HTTP requests one after the other over one kept connection, taking turns, so that each kind sees the same weather.

import { Agent } from "node:http";

import { contentOf } from "./content.js";
import { Histogram } from "./histogram.js";
import { ask } from "./http.js";
import { repeat } from "./repeat.js";

export async function rest(job) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const latencies = Object.fromEntries(job.requests.map(({ name }) => [name, new Histogram()]));
  await repeat(job, async (round, measured) => {
    // The order turns, so that none always follows the same other one.
    for (let turn = 0; turn < job.requests.length; turn++) {
      const { name, chatId, ...one } = job.requests[(round + turn) % job.requests.length];
      const body = chatId && JSON.stringify({ chatId, content: contentOf(round, job.contentLength) });
      const { took } = await ask(job, agent, { ...one, body });
      if (measured) latencies[name].record(took);
    }
  });
  agent.destroy();
  return { latencies: Object.fromEntries(Object.entries(latencies).map(([name, one]) => [name, one.summary()])) };
}
