// XMPP over TCP (RFC 6120, RFC 6121), SASL PLAIN, with the stanza acknowledgements of XEP-0198 as acks.
//
// `<a h='n'/>` says that the server has handled n stanzas, so the oldest n messages of the socket are acked.

import { connect } from "node:net";

import { numberAfter } from "./scan.js";

const DOMAIN = "localhost";
const SM = "urn:xmpp:sm:3";
const STREAM =
  `<?xml version='1.0'?><stream:stream to='${DOMAIN}' version='1.0' xmlns='jabber:client' ` +
  "xmlns:stream='http://etherx.jabber.org/streams'>";
const BIND = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
const READ_BUFFER = Buffer.allocUnsafe(256 * 1024);

export function open({ host, port, account, on }) {
  const socket = connect({
    host,
    port,
    noDelay: true,
    onread: { buffer: READ_BUFFER, callback: (size, buffer) => take(buffer.latin1Slice(0, size)) },
  });
  const unacked = [];
  let acked = 0;
  let received = 0;
  let authenticated = false;
  let ended = false;
  let rest = "";

  const end = (reason) => {
    if (ended) return;
    ended = true;
    socket.destroy();
    on.closed(reason);
  };
  socket.on("connect", () => socket.write(STREAM));
  socket.on("error", (error) => end(error.message));
  socket.on("close", () => end("connection lost"));

  function take(chunk) {
    let text = rest + chunk;
    for (;;) {
      const size = elementSize(text);
      if (size === 0) break;
      element(text.slice(0, size));
      text = text.slice(size);
    }
    rest = text;
    return true;
  }

  function element(text) {
    if (text.startsWith("<message")) {
      received++;
      const mark = text.indexOf("~");
      if (text.includes("type='error'")) on.refused(numberAfter(text, text.indexOf("id='") + 4), text);
      else if (mark >= 0) on.delivered(numberAfter(text, mark + 1));
    } else if (text.startsWith("<a ")) {
      const handled = numberAfter(text, text.indexOf("h='") + 3);
      while (acked < handled && unacked.length) {
        acked++;
        const id = unacked.shift();
        if (id !== null) on.acked(id);
      }
    } else if (text.startsWith("<r ") || text.startsWith("<r>") || text === "<r/>") {
      socket.write(`<a xmlns='${SM}' h='${received}'/>`);
    } else negotiate(text);
  }

  function negotiate(text) {
    if (text.startsWith("<iq") || text.startsWith("<presence")) received++;
    if (text.startsWith("<stream:features") && !authenticated) {
      const plain = Buffer.from(`\0${account.name}\0${account.password}`).toString("base64");
      socket.write(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${plain}</auth>`);
    } else if (text.startsWith("<stream:features")) socket.write(BIND);
    else if (text.startsWith("<success")) {
      authenticated = true;
      socket.write(STREAM);
    } else if (text.startsWith("<iq") && text.includes("id='bind'")) socket.write(`<enable xmlns='${SM}'/>`);
    else if (text.startsWith("<enabled")) {
      received = 0;
      unacked.push(null); // the presence counts as a stanza as well
      socket.write("<presence/>");
      on.ready();
    } else if (/^<(failure|failed|stream:error)/.test(text)) end(text);
  }

  return {
    // A chat is the address of the other person.
    send(id, chat, content) {
      unacked.push(id);
      socket.write(
        `<message type='chat' to='${chat}' id='${id}'><body>${content}</body></message><r xmlns='${SM}'/>`,
      );
    },
    // Without the last ack the server would keep what it sent for the next session.
    close() {
      ended = true;
      socket.end(`<a xmlns='${SM}' h='${received}'/></stream:stream>`);
    },
  };
}

// The length of the first complete element (or stream head) of the text; 0 when there is none yet.
function elementSize(text) {
  const head = text.indexOf(">");
  if (head < 0) return 0;
  const name = /^<([^\s/>]+)/.exec(text)?.[1] ?? "";
  if (name.startsWith("?") || name === "stream:stream" || text.charCodeAt(head - 1) === 47) return head + 1;
  const close = `</${name}>`;
  const end = text.indexOf(close, head);
  return end < 0 ? 0 : end + close.length;
}
