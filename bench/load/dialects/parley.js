// Parley's own door: docs/protocol.md.

import { uuidv7 } from "../ids.js";
import { WebSocketClient } from "../websocket.js";
import { numberAfter } from "./scan.js";

const ACK = '{"ack":';

export function open({ host, port, account, on }) {
  const socket = new WebSocketClient({
    host,
    port,
    path: "/ws",
    headers: { Authorization: `Bearer ${account.token}` },
    handlers: { open() {}, text, closed: on.closed },
  });

  function text(frame) {
    if (frame.startsWith(ACK)) {
      const id = numberAfter(frame, ACK.length);
      if (frame.startsWith(`,"data"`, ACK.length + String(id).length)) on.acked(id);
      else on.refused(id, frame);
      return;
    }
    if (frame.startsWith('{"event":"sync"')) {
      on.synced?.(frame);
      return;
    }
    const mark = frame.indexOf("~");
    if (mark >= 0) on.delivered(numberAfter(frame, mark + 1));
    else if (frame.startsWith('{"event":"hello"')) on.ready();
    else on.other?.(frame);
  }

  return {
    send(id, chat, content) {
      const data = `{"chatId":"${chat}","content":"${content}","clientId":"${uuidv7()}"}`;
      socket.send(`{"event":"message:send","id":${id},"data":${data}}`);
    },
    // Asks for what was missed since the account's cursors; `on.synced` gets it, `on.other` its end.
    sync(id, cursors) {
      socket.send(`{"event":"sync","id":${id},"data":{"cursors":${JSON.stringify(cursors)}}}`);
    },
    close: () => socket.close(),
  };
}
