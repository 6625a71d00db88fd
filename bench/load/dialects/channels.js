// The textbook Channels peer: bench/peers/channels/consumers.py. Python's `json` writes a space behind each colon.

import { WebSocketClient } from "../websocket.js";
import { numberAfter } from "./scan.js";

const ACK = '{"ack": ';

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
      if (frame.includes('"error"')) on.refused(id, frame);
      else on.acked(id);
      return;
    }
    const mark = frame.indexOf("~");
    if (mark >= 0) on.delivered(numberAfter(frame, mark + 1));
    else on.ready();
  }

  return {
    send(id, chat, content) {
      socket.send(`{"event":"message:send","id":${id},"data":{"chatId":"${chat}","content":"${content}"}}`);
    },
    close: () => socket.close(),
  };
}
