// Fills the Express peer's database and writes the accounts with their tokens to standard output.
//
// node seed.js --database PATH --people N [--group]: pairs with a direct chat each, or one group of all.

import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";

import jwt from "jsonwebtoken";

import { openDatabase } from "./database.js";

const { values } = parseArgs({
  options: { database: { type: "string" }, people: { type: "string" }, group: { type: "boolean", default: false } },
});
const database = openDatabase(values.database, "NORMAL");
const addUser = database.prepare("INSERT INTO users VALUES (?, ?)");
const addChat = database.prepare("INSERT INTO chats VALUES (?, ?)");
const addMember = database.prepare("INSERT INTO memberships VALUES (?, ?)");

const accounts = Array.from({ length: Number(values.people) }, () => ({ id: randomUUID() }));
const chats = [];

function openChat(kind, members) {
  const id = randomUUID();
  addChat.run(id, kind);
  for (const member of members) addMember.run(id, member.id);
  for (const _ of members) chats.push(id);
}

database.transaction(() => {
  accounts.forEach(({ id }, place) => addUser.run(id, `person${place}`));
  if (values.group) openChat("group", accounts);
  else for (let place = 0; place + 1 < accounts.length; place += 2) openChat("direct", accounts.slice(place, place + 2));
})();
for (const account of accounts) {
  account.token = jwt.sign({ sub: account.id }, process.env.BENCH_SECRET, { expiresIn: "2h" });
}
database.close();
process.stdout.write(JSON.stringify({ accounts, chats }));
