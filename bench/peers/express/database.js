// The store of the Express peer: better-sqlite3 with prepared statements, content under AES-256-GCM.

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

import Database from "better-sqlite3";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS chats (id TEXT PRIMARY KEY, kind TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS memberships (
    chatId TEXT NOT NULL REFERENCES chats, userId TEXT NOT NULL REFERENCES users, PRIMARY KEY (chatId, userId)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS memberships_user ON memberships (userId);
  CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    chatId TEXT NOT NULL REFERENCES chats,
    senderId TEXT NOT NULL REFERENCES users,
    receiverId TEXT REFERENCES users,
    content BLOB NOT NULL,
    type TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    read INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX IF NOT EXISTS messages_chat_timestamp ON messages (chatId, timestamp);
`;

export class Refusal extends Error {}

export function openDatabase(path, synchronous) {
  const database = new Database(path);
  database.pragma("journal_mode = WAL");
  database.pragma(`synchronous = ${synchronous}`);
  database.pragma("foreign_keys = ON");
  database.exec(SCHEMA);
  return database;
}

export class Store {
  constructor(database, key) {
    this.key = key;
    this.isMember = database.prepare("SELECT 1 FROM memberships WHERE chatId = ? AND userId = ?").pluck();
    // One statement tells whether somebody may write to a chat, and who else is in a direct one.
    this.target = database.prepare(`
      SELECT c.kind, (SELECT userId FROM memberships o WHERE o.chatId = m.chatId AND o.userId <> m.userId LIMIT 1) AS other
      FROM memberships m JOIN chats c ON c.id = m.chatId WHERE m.chatId = ? AND m.userId = ?
    `);
    this.groupsOf = database
      .prepare("SELECT c.id FROM chats c JOIN memberships m ON m.chatId = c.id WHERE m.userId = ? AND c.kind = 'group'")
      .pluck();
    this.insert = database.prepare(
      "INSERT INTO messages (chatId, senderId, receiverId, content, type, timestamp) VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.page = database.prepare("SELECT * FROM messages WHERE chatId = ? ORDER BY timestamp DESC, id DESC LIMIT ?");
  }

  // Checks, encrypts and stores a message; throws `Refusal`. In a group `receiverId` is null.
  send(senderId, { chatId, content, type = "text" }) {
    if (typeof chatId !== "string" || typeof content !== "string" || !content.trim()) throw new Refusal("invalid");
    const target = this.target.get(chatId, senderId);
    if (!target) throw new Refusal("chat_not_found");
    const receiverId = target.kind === "group" ? null : target.other;
    const timestamp = Date.now();
    const { lastInsertRowid } = this.insert.run(chatId, senderId, receiverId, this.seal(content), type, timestamp);
    return {
      id: Number(lastInsertRowid),
      chatId,
      senderId,
      receiverId,
      content,
      type,
      timestamp: new Date(timestamp).toISOString(),
      read: false,
    };
  }

  // The newest messages of a chat, oldest first; throws `Refusal`.
  history(userId, chatId, limit) {
    if (!this.isMember.get(chatId, userId)) throw new Refusal("chat_not_found");
    return this.page.all(chatId, limit).reverse().map((row) => ({
      ...row,
      content: this.open(row.content),
      timestamp: new Date(row.timestamp).toISOString(),
      read: Boolean(row.read),
    }));
  }

  seal(text) {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.key, nonce);
    return Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
  }

  open(sealed) {
    const decipher = createDecipheriv("aes-256-gcm", this.key, sealed.subarray(0, NONCE_BYTES));
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]).toString("utf8");
  }
}
