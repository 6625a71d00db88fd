// One HTTP request at a time, and how long it took.

import { request } from "node:http";
import { performance } from "node:perf_hooks";

// Resolves to `{took, text}`: milliseconds until the whole answer was there, and its body. Rejects at any other status.
export function ask({ host, port }, agent, { method = "GET", path, token, body, status = 200 }) {
  const headers = { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) };
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const call = request({ host, port, method, path, headers, agent }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        const took = performance.now() - began;
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode === status) resolve({ took, text });
        else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
      });
    });
    call.on("error", reject);
    call.end(body);
  });
}
