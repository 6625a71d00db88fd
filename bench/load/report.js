// Speaks to the runner: one JSON object a line.

export function report(object) {
  process.stdout.write(`${JSON.stringify(object)}\n`);
}
