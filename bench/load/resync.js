// One client that was away comes back, in the two ways there are: it asks by REST for every message that it missed, page
// by page; or its socket sends the cursors of all of its chats, is told that it is too far behind, and loads the newest
// page of that chat anew, as the web client does. The socket's time begins before its handshake.

import { Agent } from "node:http";
import { performance } from "node:perf_hooks";

import { dialects } from "./dialects/index.js";
import { Histogram } from "./histogram.js";
import { ask } from "./http.js";
import { repeat } from "./repeat.js";

export async function resync(job) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const client = new Client(job, agent);
  await client.learn();
  const pages = new Histogram();
  const socket = new Histogram();
  await repeat(job, async (_, measured) => {
    const { rev } = await client.newest();
    for (const [histogram, comeBack] of [
      [pages, () => client.byPages(rev - job.missed)],
      [socket, () => client.bySocket(rev - job.missed)],
    ]) {
      const began = performance.now();
      await comeBack();
      if (measured) histogram.record(performance.now() - began);
    }
  });
  agent.destroy();
  return { latencies: { pages: pages.summary(), socket: socket.summary() } };
}

class Client {
  constructor(job, agent) {
    this.job = job;
    this.agent = agent;
    this.account = job.accounts[0];
    this.chat = job.chats[0];
  }

  async get(query) {
    const { text } = await ask(this.job, this.agent, { path: `/chat/${this.chat}?${query}`, token: this.account.token });
    return JSON.parse(text);
  }

  newest() {
    return this.get(`limit=${this.job.newest}`);
  }

  async byPages(cursor) {
    let found = 0;
    for (let after = cursor; ; ) {
      const { messages, hasMore, rev } = await this.get(`limit=${this.job.page}&after=${after}`);
      for (const message of messages) {
        if (message.rev <= after) throw new Error(`rev ${message.rev} after ${after}`);
        after = message.rev;
      }
      found += messages.length;
      if (hasMore) continue;
      if (found !== this.job.missed || after !== rev) throw new Error(`${found} messages up to ${after}, not to ${rev}`);
      return;
    }
  }

  // What a client holds that was here a moment ago: the rev of each chat.
  async learn() {
    const { chats } = await this.sync({});
    this.cursors = chats;
  }

  async bySocket(cursor) {
    const { reset } = await this.sync({ ...this.cursors, [this.chat]: cursor });
    if (!reset) throw new Error("the socket was not told to load the long chat anew");
    const { messages, rev } = await this.newest();
    if (messages.at(-1)?.rev !== rev) throw new Error(`the newest page ends before ${rev}`);
  }

  // Resolves to the `chats` of `sync:done`, and whether the long chat was reset.
  sync(cursors) {
    return new Promise((resolve, reject) => {
      let reset = false;
      const other = (text) => {
        if (text.startsWith('{"event":"sync:reset"')) reset ||= text.includes(this.chat);
        if (!text.startsWith('{"event":"sync:done"')) return;
        connection.close();
        resolve({ reset, chats: JSON.parse(text).data.chats });
      };
      const connection = dialects[this.job.dialect].open({
        host: this.job.host,
        port: this.job.port,
        account: this.account,
        on: {
          ready: () => connection.sync(1, cursors),
          acked() {},
          refused: (id, text) => reject(new Error(text)),
          delivered() {},
          synced() {},
          other,
          closed: (reason) => reject(new Error(reason)),
        },
      });
    });
  }
}
