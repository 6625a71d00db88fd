// A WebSocket client (RFC 6455) over `net`, without anything that a load generator does not need.

import { randomBytes } from "node:crypto";
import { connect } from "node:net";

const READ_BUFFER = Buffer.allocUnsafe(512 * 1024); // shared: each chunk is used up before the next one is read
const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

let mask = (Math.random() * 0x100000000) >>> 0;

export class WebSocketClient {
  // `handlers`: open(), text(string), closed(reason). Texts are decoded as Latin-1, which is quick and all we send.
  constructor({ host, port, path, headers, handlers }) {
    this.handlers = handlers;
    this.upgraded = false;
    this.ended = false;
    this.rest = null;
    this.socket = connect({
      host,
      port,
      noDelay: true,
      onread: { buffer: READ_BUFFER, callback: (size, buffer) => this.take(buffer.subarray(0, size)) },
    });
    this.socket.on("connect", () => this.socket.write(handshake({ host, port, path, headers })));
    this.socket.on("error", (error) => this.end(error.message));
    this.socket.on("close", () => this.end("connection lost"));
  }

  send(text) {
    this.socket.write(frame(TEXT, text));
  }

  close() {
    this.ended = true;
    this.socket.destroy();
  }

  end(reason) {
    if (this.ended) return;
    this.ended = true;
    this.socket.destroy();
    this.handlers.closed(reason);
  }

  take(chunk) {
    const data = this.rest === null ? chunk : Buffer.concat([this.rest, chunk]);
    const used = this.upgraded ? this.frames(data, 0) : this.upgrade(data);
    // The shared buffer is overwritten by the next read, so what is left is copied.
    this.rest = used === data.length ? null : Buffer.from(data.subarray(used));
    return true;
  }

  upgrade(data) {
    const end = data.indexOf("\r\n\r\n");
    if (end < 0) return 0;
    const status = data.latin1Slice(9, 12);
    if (status !== "101") {
      this.end(`handshake refused: ${data.latin1Slice(0, Math.min(data.length, 200))}`);
      return data.length;
    }
    this.upgraded = true;
    this.handlers.open();
    return this.frames(data, end + 4);
  }

  frames(data, start) {
    let at = start;
    while (!this.ended && data.length - at >= 2) {
      let size = data[at + 1];
      let body = at + 2;
      if (size === 126) {
        if (data.length < body + 2) break;
        size = data.readUInt16BE(body);
        body += 2;
      } else if (size === 127) {
        if (data.length < body + 8) break;
        size = data.readUInt32BE(body + 4);
        body += 8;
      }
      if (data.length < body + size) break;
      this.frame(data[at], data, body, body + size);
      at = body + size;
    }
    return this.ended ? data.length : at;
  }

  frame(first, data, start, end) {
    const opcode = first & 15;
    if (opcode === TEXT) this.handlers.text(data.latin1Slice(start, end));
    else if (opcode === PING) this.socket.write(frame(PONG, data.latin1Slice(start, end)));
    else if (opcode === CLOSE) {
      this.end(end - start < 2 ? "closed" : `closed: ${data.readUInt16BE(start)} ${data.latin1Slice(start + 2, end)}`);
    }
  }
}

function handshake({ host, port, path, headers }) {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}:${port}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
    "Sec-WebSocket-Version: 13",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

// A masked frame of fewer than 64 KiB.
function frame(opcode, text) {
  const size = text.length;
  const head = size < 126 ? 2 : 4;
  const data = Buffer.allocUnsafe(head + 4 + size);
  data[0] = 0x80 | opcode;
  if (head === 2) data[1] = 0x80 | size;
  else {
    data[1] = 0x80 | 126;
    data.writeUInt16BE(size, 2);
  }
  mask = (Math.imul(mask, 1664525) + 1013904223) >>> 0; // any number will do: the mask protects proxies, not secrets
  data.writeUInt32BE(mask, head);
  data.latin1Write(text, head + 4);
  for (let i = 0, at = head + 4; i < size; i++, at++) data[at] ^= data[head + (i & 3)];
  return data;
}
