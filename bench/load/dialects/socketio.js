// Socket.IO v5 over Engine.IO v4, websocket transport alone (https://socket.io/docs/v4/engine-io-protocol/).

import { WebSocketClient } from "../websocket.js";
import { numberAfter } from "./scan.js";

export function open({ host, port, account, on }) {
  const socket = new WebSocketClient({
    host,
    port,
    path: "/socket.io/?EIO=4&transport=websocket",
    headers: {},
    handlers: { open() {}, text, closed: on.closed },
  });

  function text(packet) {
    const kind = packet.charCodeAt(0);
    if (kind === 50) socket.send("3"); // ping, pong
    else if (kind === 48) socket.send(`40${JSON.stringify({ token: account.token })}`);
    else if (kind === 52) message(packet);
  }

  function message(packet) {
    const kind = packet.charCodeAt(1);
    if (kind === 51) {
      const id = numberAfter(packet, 2);
      if (packet.includes('"error"')) on.refused(id, packet);
      else on.acked(id);
    } else if (kind === 50) {
      const mark = packet.indexOf("~");
      if (mark >= 0) on.delivered(numberAfter(packet, mark + 1));
      else on.other?.(packet);
    } else if (kind === 48) on.ready();
    else socket.end(`refused: ${packet}`);
  }

  return {
    send(id, chat, content) {
      socket.send(`42${id}["message:send",{"chatId":"${chat}","content":"${content}","type":"text"}]`);
    },
    close: () => socket.close(),
  };
}
