// One module a dialect. Each has `open({host, port, account, on})`, which returns `{send(id, chat, content), close()}`
// and calls `on.ready()`, `on.acked(id)`, `on.refused(id, text)`, `on.delivered(id)`, `on.closed(reason)`.

import * as channels from "./channels.js";
import * as parley from "./parley.js";
import * as socketio from "./socketio.js";

export const dialects = { channels, parley, socketio };
