// HTTP requests one after the other over one kept connection, taking turns, so that each kind sees the same weather.

import { Agent, request } from "node:http";
import { performance } from "node:perf_hooks";

import { contentOf } from "./content.js";
import { Histogram } from "./histogram.js";

export async function rest(job) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const latencies = Object.fromEntries(job.requests.map(({ name }) => [name, new Histogram()]));
  for (let round = 0; round < job.warmup + job.rounds; round++) {
    // The order turns, so that none always follows the same other one.
    for (let turn = 0; turn < job.requests.length; turn++) {
      const one = job.requests[(round + turn) % job.requests.length];
      const took = await timed(job, agent, one, round);
      if (round >= job.warmup) latencies[one.name].record(took);
    }
  }
  agent.destroy();
  return { latencies: Object.fromEntries(Object.entries(latencies).map(([name, one]) => [name, one.summary()])) };
}

function timed({ host, port, contentLength }, agent, { method, path, token, chatId, status }, round) {
  const body = chatId ? JSON.stringify({ chatId, content: contentOf(round, contentLength) }) : undefined;
  const headers = { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) };
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const call = request({ host, port, method, path, headers, agent }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        if (response.statusCode === status) resolve(performance.now() - began);
        else reject(new Error(`${method} ${path}: ${response.statusCode} ${Buffer.concat(chunks)}`));
      });
    });
    call.on("error", reject);
    call.end(body);
  });
}
