// Keeps latencies in buckets that are at most 1.6 % wide, so that millions of them cost no memory.

const SUB_BUCKETS = 64;
const BUCKETS = SUB_BUCKETS * 28;

export class Histogram {
  constructor() {
    this.counts = new Uint32Array(BUCKETS);
    this.total = 0;
    this.largest = 0;
  }

  record(milliseconds) {
    const us = Math.max(0, Math.round(milliseconds * 1000));
    this.counts[bucketOf(us)] += 1;
    this.total += 1;
    if (us > this.largest) this.largest = us;
  }

  // The latency, in milliseconds, below which `share` (0 to 1) of what was recorded lies.
  percentile(share) {
    const wanted = Math.ceil(this.total * share);
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.counts[bucket];
      if (seen >= wanted && seen > 0) return Math.min(upperEdge(bucket), this.largest) / 1000;
    }
    return null;
  }

  summary() {
    return {
      count: this.total,
      p50: this.percentile(0.5),
      p95: this.percentile(0.95),
      p99: this.percentile(0.99),
      max: this.largest / 1000,
    };
  }
}

function bucketOf(us) {
  if (us < SUB_BUCKETS) return us;
  const shift = 25 - Math.clz32(us); // leaves seven bits, of which the first is always set
  return Math.min(BUCKETS - 1, shift * SUB_BUCKETS + (us >>> shift));
}

function upperEdge(bucket) {
  if (bucket < SUB_BUCKETS) return bucket;
  const shift = Math.floor(bucket / SUB_BUCKETS) - 1;
  return (((bucket % SUB_BUCKETS) + SUB_BUCKETS + 1) << shift) - 1;
}
