// The peer: Express and Socket.IO as their documentation teaches them, with the Redis adapter and better-sqlite3.
//
// node server.js --port N --database PATH --synchronous FULL|NORMAL --redis URL; BENCH_SECRET signs tokens, BENCH_KEY
// (hex) encrypts.

import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { createAdapter } from "@socket.io/redis-adapter";
import express from "express";
import { Redis } from "ioredis";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

import { Refusal, Store, openDatabase } from "./database.js";

const PAGE = 50;

const { values } = parseArgs({
  options: Object.fromEntries(["port", "database", "synchronous", "redis"].map((name) => [name, { type: "string" }])),
});
const secret = process.env.BENCH_SECRET;
const store = new Store(openDatabase(values.database, values.synchronous), Buffer.from(process.env.BENCH_KEY, "hex"));

const publisher = new Redis(values.redis);
const subscriber = publisher.duplicate();

const app = express();
const server = createServer(app);
const io = new Server(server, { adapter: createAdapter(publisher, subscriber) });

// A direct message goes to the other person's devices, a group message to the chat's room but its sender's socket.
function announce(message, from = io) {
  const room = message.receiverId ? `user:${message.receiverId}` : `chat:${message.chatId}`;
  from.to(room).emit("message:receive", message);
}

io.use((socket, next) => {
  try {
    socket.data.userId = jwt.verify(socket.handshake.auth.token, secret).sub;
    next();
  } catch {
    next(new Error("not_authenticated"));
  }
});

io.on("connection", (socket) => {
  const { userId } = socket.data;
  socket.join(`user:${userId}`);
  socket.join(store.groupsOf.all(userId).map((id) => `chat:${id}`));

  socket.on("message:send", (data, ack) => {
    try {
      const message = store.send(userId, data);
      ack({ message });
      announce(message, socket);
    } catch (error) {
      ack({ error: { code: error instanceof Refusal ? error.message : "internal_error" } });
    }
  });
});

app.use(express.json());
app.get("/healthz", (request, response) => response.json({ status: "ok" }));
app.use((request, response, next) => {
  try {
    request.userId = jwt.verify((request.get("authorization") ?? "").replace(/^Bearer /, ""), secret).sub;
    next();
  } catch {
    response.status(401).json({ error: { code: "not_authenticated" } });
  }
});
app.post("/chat/message", (request, response) => {
  const message = store.send(request.userId, request.body);
  announce(message);
  response.status(201).json(message);
});
app.get("/chat/:id", (request, response) => {
  response.json({ messages: store.history(request.userId, request.params.id, PAGE) });
});
app.use((error, request, response, next) => {
  if (!(error instanceof Refusal)) return next(error);
  response.status(error.message === "invalid" ? 400 : 404).json({ error: { code: error.message } });
});

server.listen(Number(values.port), "127.0.0.1", 4096);
