// How often something is repeated: `warmup` times unmeasured, then `rounds` times or until `seconds` are over, but once.

import { performance } from "node:perf_hooks";

export async function repeat({ warmup, rounds, seconds = Number.POSITIVE_INFINITY }, work) {
  const end = performance.now() + seconds * 1000;
  for (let round = 0; round < warmup + rounds; round++) {
    const late = performance.now() > end;
    if (late && round > warmup) return;
    if (late && round < warmup) continue;
    await work(round, round >= warmup);
  }
}
