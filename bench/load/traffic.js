// Messages between pairs of sockets: in a closed loop (each socket keeps `inFlight` messages under way) or at a rate.
//
// A message is complete once it is both acked to its sender and delivered to the other person. Its number is the id of
// its frame and stands at the head of its content, so that nothing has to be looked up by text.

import { performance } from "node:perf_hooks";

import { openAll } from "./connections.js";
import { contentOf } from "./content.js";
import { Histogram } from "./histogram.js";
import { sleep } from "./pause.js";
import { report } from "./report.js";

const RING = 1 << 20; // more messages than are ever under way
const ACKED = 1;
const DELIVERED = 2;
const COMPLETE = ACKED | DELIVERED;
const STALLED_SECONDS = 20; // without any progress, what is still under way at the end counts as lost
const REFUSED_PAUSE_MS = 20;

export async function traffic(job) {
  const run = new Run(job);
  await run.connect();
  report({ event: "connected", sockets: job.accounts.length });
  await run.go();
  return run.result();
}

class Run {
  constructor(job) {
    this.job = job;
    this.sentAt = new Float64Array(RING);
    this.state = new Uint8Array(RING);
    this.owner = new Uint32Array(RING);
    this.ack = new Histogram();
    this.delivery = new Histogram();
    this.counts = { sent: 0, acked: 0, delivered: 0, completed: 0, refused: 0, twice: 0, astray: 0, closed: 0 };
    this.outstanding = 0;
    this.measured = 0;
    this.measuring = false;
    this.sending = false;
    this.firstTrouble = null;
  }

  async connect() {
    this.connections = await openAll(this.job, (place) => ({
      acked: (id) => this.acked(id, place),
      refused: (id, text) => this.refused(id, text),
      delivered: (id) => this.delivered(id, place),
      closed: (reason) => this.closed(reason),
    }));
  }

  async go() {
    this.sending = true;
    const { warmup, seconds, rate } = this.job;
    if (rate) this.sendAtRate(rate);
    else for (let i = 0; i < this.job.inFlight; i++) this.connections.forEach((_, place) => this.send(place));
    await sleep(warmup);
    const cpu = process.cpuUsage();
    const began = performance.now();
    report({ event: "measuring" });
    this.measuring = true;
    await sleep(seconds);
    this.measuring = false;
    report({ event: "measured" });
    this.seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    this.cpuShare = (user + system) / 1e6 / this.seconds;
    this.sending = false;
    await this.drain();
    for (const connection of this.connections) connection.close();
  }

  async drain() {
    let left = this.outstanding;
    let deadline = performance.now() + STALLED_SECONDS * 1000;
    while (this.outstanding > 0 && performance.now() < deadline) {
      await sleep(0.02);
      if (this.outstanding !== left) {
        left = this.outstanding;
        deadline = performance.now() + STALLED_SECONDS * 1000;
      }
    }
  }

  send(place, at = performance.now()) {
    const id = this.counts.sent++;
    const slot = id % RING;
    this.sentAt[slot] = at;
    this.state[slot] = 0;
    this.owner[slot] = place;
    this.outstanding++;
    this.connections[place].send(id, this.job.chats[place], contentOf(id, this.job.contentLength));
  }

  // Latencies count from the moment at which a message was due, so that a server that stalls cannot hide it.
  sendAtRate(rate) {
    const began = performance.now();
    let issued = 0;
    const tick = () => {
      if (!this.sending) return;
      const due = Math.floor(((performance.now() - began) / 1000) * rate);
      for (; issued < due; issued++) this.send(issued % this.connections.length, began + (issued / rate) * 1000);
      setTimeout(tick, 1);
    };
    tick();
  }

  acked(id, place) {
    const slot = id % RING;
    if (this.owner[slot] !== place) this.trouble("astray", `ack ${id} at socket ${place}`);
    else if (this.passed(slot, ACKED, this.ack)) this.counts.acked++;
  }

  delivered(id, place) {
    const slot = id % RING;
    if (this.job.peers[this.owner[slot]] !== place) this.trouble("astray", `message ${id} at socket ${place}`);
    else if (this.passed(slot, DELIVERED, this.delivery)) this.counts.delivered++;
  }

  passed(slot, step, histogram) {
    if (this.state[slot] & step) {
      this.trouble("twice", `slot ${slot}, step ${step}`);
      return false;
    }
    this.state[slot] |= step;
    if (this.measuring) histogram.record(performance.now() - this.sentAt[slot]);
    if (this.state[slot] === COMPLETE) {
      this.counts.completed++;
      if (this.measuring) this.measured++;
      this.next(this.owner[slot]);
    }
    return true;
  }

  next(place) {
    this.outstanding--;
    if (this.sending && !this.job.rate) this.send(place);
  }

  refused(id, text) {
    this.trouble("refused", text);
    setTimeout(() => this.next(this.owner[id % RING]), REFUSED_PAUSE_MS);
  }

  closed(reason) {
    this.trouble("closed", reason);
  }

  trouble(kind, text) {
    this.counts[kind]++;
    this.firstTrouble ??= `${kind}: ${text.slice(0, 300)}`;
  }

  result() {
    return {
      seconds: this.seconds,
      messages: this.measured,
      perSecond: this.measured / this.seconds,
      ack: this.ack.summary(),
      delivery: this.delivery.summary(),
      loadCpu: this.cpuShare,
      counts: { ...this.counts, lost: this.outstanding },
      trouble: this.firstTrouble,
    };
  }
}
