/** The pure functions of the store: numbers, gaps, receipts. */

import { describe, expect, it } from "vitest";
import {
  advance,
  applyChanges,
  applyInbox,
  applyMessage,
  applyNewest,
  applyOlder,
  applyReceipt,
  applyStatus,
  applyTyping,
  chatsInOrder,
  expireTyping,
  hasGap,
  initialState,
  keepChats,
  mergeMessages,
  removeChat,
  resetChat,
  type State,
  tickOf,
  titleOf,
  withChat,
} from "../src/store/state";
import { ADA, BOB, entry, member, message } from "./fixtures";

const signedIn: State = { ...initialState, me: ADA };
const chatOf = (state: State) => {
  const chat = state.chats.chat;
  if (!chat) throw new Error("no chat");
  return chat;
};

/** A state with an open chat that holds the messages 1 to `count`. */
function loaded(count: number): State {
  const messages = Array.from({ length: count }, (_, index) => message(index + 1));
  const state = applyInbox(signedIn, [entry({ rev: count })]);
  return applyNewest(state, { chat: entry(), messages, hasMore: false, rev: count });
}

describe("advance", () => {
  it("moves over what is held without a hole", () => {
    expect(advance(3, [4, 5, 7])).toEqual({ rev: 5, ahead: [7] });
  });

  it("forgets what is behind and what comes twice", () => {
    expect(advance(3, [2, 4, 4])).toEqual({ rev: 4, ahead: [] });
  });
});

describe("mergeMessages", () => {
  it("keeps the later state of a message whichever comes first", () => {
    const edited = message(1, { rev: 5, content: "edited" });
    expect(mergeMessages([edited], [message(1)])).toEqual([edited]);
    expect(mergeMessages([message(1)], [edited])).toEqual([edited]);
  });

  it("sorts by seq", () => {
    const merged = mergeMessages([message(3)], [message(1), message(2)]);
    expect(merged.map((one) => one.seq)).toEqual([1, 2, 3]);
  });
});

describe("applyMessage", () => {
  it("takes the next message and counts it as unread", () => {
    const chat = chatOf(applyMessage(loaded(2), message(3), true));
    expect([chat.rev, chat.unread, chat.messages.length, hasGap(chat)]).toEqual([3, 1, 3, false]);
  });

  it("shows a message that came too early, and knows of the gap until it closes", () => {
    const early = applyMessage(loaded(2), message(4), true);
    expect(hasGap(chatOf(early))).toBe(true);
    expect(chatOf(early).rev).toBe(2);
    const closed = chatOf(applyMessage(early, message(3), true));
    expect([closed.rev, hasGap(closed)]).toEqual([4, false]);
    expect(closed.messages.map((one) => one.seq)).toEqual([1, 2, 3, 4]);
  });

  it("counts unread messages whichever order they come in", () => {
    const early = applyMessage(loaded(2), message(4), true);
    expect(chatOf(applyMessage(early, message(3), true)).unread).toBe(2);
  });

  it("counts an unread message that is deleted no longer", () => {
    const deleted = message(3, { rev: 4, content: "", deletedAt: "2026-01-31T13:00:00.000Z" });
    const state = applyMessage(loaded(2), message(3), true);
    expect(chatOf(applyMessage(state, deleted, true)).unread).toBe(0);
    expect(chatOf(applyMessage(loaded(2), deleted, true)).unread).toBe(0);
  });

  it("tears no hole into the history when a message above it changes", () => {
    const page = {
      chat: entry(),
      messages: [message(50), message(51)],
      hasMore: true,
      rev: 51,
    };
    const state = applyNewest(applyInbox(signedIn, [entry({ rev: 51 })]), page);
    const chat = chatOf(applyMessage(state, message(3, { rev: 52, content: "edited" }), true));
    expect(chat.messages.map((one) => one.seq)).toEqual([50, 51]);
    expect(chat.rev).toBe(52);
  });

  it("counts neither one's own messages, nor edits, nor system messages as unread", () => {
    let state = applyMessage(loaded(2), message(3, { senderId: "ada" }), true);
    state = applyMessage(state, message(1, { rev: 4 }), true);
    state = applyMessage(state, message(5, { type: "system" }), true);
    expect(chatOf(state).unread).toBe(0);
  });

  it("replaces the outgoing message that it is the ack of", () => {
    const outgoing = [{ clientId: "client-3", content: "x", type: "text" as const }];
    const state = withChat(loaded(2), "chat", (chat) => ({ ...chat, outgoing }));
    expect(chatOf(applyMessage(state, message(3, { senderId: "ada" }), false)).outgoing).toEqual([]);
  });

  it("takes a new title and a lost member from a system message", () => {
    const told = { userId: null, role: null };
    let state = applyMessage(
      loaded(0),
      message(1, { system: { ...told, action: "renamed", title: "Tea" } }),
      true,
    );
    state = applyMessage(
      state,
      message(2, { system: { ...told, action: "left", userId: "bob", title: null } }),
      true,
    );
    expect(chatOf(state).title).toBe("Tea");
    expect(chatOf(state).members.map((one) => one.userId)).toEqual(["ada"]);
  });

  it("ends the sender's sign of typing", () => {
    const event = { chatId: "chat", rev: 2, userId: "bob", typing: true, expiresIn: 6 };
    const state = applyTyping(loaded(2), event, 0);
    expect(applyMessage(state, message(3), true).typing.chat).toEqual({});
  });
});

describe("pages", () => {
  it("puts older messages in front without moving the rev", () => {
    const state = applyNewest(applyInbox(signedIn, [entry()]), {
      chat: entry(),
      messages: [message(3)],
      hasMore: true,
      rev: 3,
    });
    const page = { chat: entry(), messages: [message(1), message(2)], hasMore: false, rev: 9 };
    const chat = chatOf(applyOlder(state, page));
    expect([chat.rev, chat.hasOlder, chat.messages.length]).toEqual([3, false, 3]);
  });

  it("equals the fresh state after the changes that were missed", () => {
    const missed = [message(2, { rev: 4, deletedAt: "2026-01-31T13:00:00.000Z", content: "" }), message(5)];
    const changed = chatOf(applyChanges(loaded(3), "chat", { messages: missed, rev: 5 }));
    expect([changed.rev, changed.ahead]).toEqual([5, []]);
    expect(changed.messages.map((one) => one.rev)).toEqual([1, 4, 3, 5]);
  });

  it("knows that it misses what came while the newest page was on its way", () => {
    const waiting = applyInbox(signedIn, [entry({ rev: 5 })]);
    const meanwhile = applyMessage(waiting, message(6), true);
    const page = { chat: entry(), messages: [message(5)], hasMore: false, rev: 5 };
    const chat = chatOf(applyNewest(meanwhile, page));
    expect([chat.rev, hasGap(chat)]).toEqual([5, true]);
    expect(chat.lastMessage?.seq).toBe(6);
    const closed = chatOf(
      applyChanges(applyNewest(meanwhile, page), "chat", { messages: [message(6)], rev: 6 }),
    );
    expect([closed.rev, hasGap(closed)]).toEqual([6, false]);
    expect(closed.messages.map((one) => one.seq)).toEqual([5, 6]);
  });

  it("loses nothing that came while a chat was loaded anew", () => {
    const meanwhile = applyMessage(resetChat(loaded(3), "chat"), message(401), true);
    const page = { chat: entry(), messages: [message(400)], hasMore: true, rev: 400 };
    const chat = chatOf(applyNewest(meanwhile, page));
    expect([chat.rev, hasGap(chat)]).toEqual([400, true]);
  });

  it("takes the server's numbers after a reset, also when they are lower", () => {
    const page = { chat: entry(), messages: [message(1)], hasMore: false, rev: 1 };
    const chat = chatOf(applyNewest(resetChat(loaded(3), "chat"), page));
    expect([chat.rev, hasGap(chat), chat.lastMessage?.seq]).toEqual([1, false, 1]);
  });

  it("keeps what is newer than the inbox that comes", () => {
    const before = entry({ rev: 2, lastMessage: message(2), unreadCount: 0 });
    let state = applyMessage(applyInbox(signedIn, [before]), message(3), true);
    state = applyReceipt(state, { chatId: "chat", userId: "bob", deliveredSeq: 2, readSeq: 2 });
    const chat = chatOf(applyInbox(state, [before]));
    expect([chat.rev, chat.lastMessage?.seq, chat.unread]).toEqual([3, 3, 1]);
    expect(chat.members[1]?.readSeq).toBe(2);
  });

  it("drops the chats that the server no longer names", () => {
    const two = applyInbox(signedIn, [entry({ id: "left" }), entry()]);
    expect(Object.keys(keepChats(two, ["chat"]).chats)).toEqual(["chat"]);
  });

  it("keeps the rev of a loaded chat when the inbox comes", () => {
    expect(chatOf(applyInbox(loaded(3), [entry({ rev: 9 })])).rev).toBe(3);
  });
});

describe("what came while a page was loading", () => {
  const page = { chat: entry(), messages: [], hasMore: false, rev: 0 };

  it("counts as missing, also when the next message follows it", () => {
    const before = applyMessage(applyInbox(signedIn, [entry()]), message(1), true);
    const opened = applyNewest(before, page);
    const next = applyMessage(opened, message(2), true);
    expect(hasGap(chatOf(opened))).toBe(true);
    expect([chatOf(next).rev, hasGap(chatOf(next))]).toEqual([0, true]);
    const closed = chatOf(applyChanges(next, "chat", { messages: [message(1), message(2)], rev: 2 }));
    expect([closed.rev, hasGap(closed), closed.messages.length]).toEqual([2, false, 2]);
  });

  it("counts as missing when only its number is known", () => {
    const told = withChat(loaded(3), "chat", (chat) => ({ ...chat, latest: 5 }));
    const next = applyMessage(told, message(4), true);
    expect([chatOf(next).rev, hasGap(chatOf(next))]).toEqual([4, true]);
  });
});

describe("receipts and presence", () => {
  it("only lets watermarks grow", () => {
    let state = applyReceipt(loaded(3), { chatId: "chat", userId: "bob", deliveredSeq: 3, readSeq: 2 });
    state = applyReceipt(state, { chatId: "chat", userId: "bob", deliveredSeq: 1, readSeq: 1 });
    expect(chatOf(state).members[1]).toMatchObject({ deliveredSeq: 3, readSeq: 2 });
  });

  it("clears the unread count when one has read everything, on whatever device", () => {
    const state = applyMessage(loaded(2), message(3), true);
    const receipt = { chatId: "chat", userId: "ada", deliveredSeq: 3, readSeq: 3 };
    expect(chatOf(applyReceipt(state, receipt)).unread).toBe(0);
  });

  it.each([
    [0, 0, "sent"],
    [0, 2, "delivered"],
    [2, 2, "read"],
  ])("shows read %i and delivered %i as %s", (readSeq, deliveredSeq, tick) => {
    const chat = { ...chatOf(loaded(2)), members: [member(ADA), member(BOB, readSeq, deliveredSeq)] };
    expect(tickOf(chat, message(2, { senderId: "ada" }))).toBe(tick);
  });

  it("shows somebody's status in every chat with them", () => {
    const state = applyStatus(loaded(1), { userId: "bob", status: "away", lastSeen: null });
    expect(chatOf(state).members[1]?.user.status).toBe("away");
  });

  it("notices a lost receipt by the sum of the watermarks, until the members come", () => {
    const told = withChat(loaded(3), "chat", (chat) => ({ ...chat, marks: 6 }));
    expect(hasGap(chatOf(told))).toBe(true);
    const receipt = { chatId: "chat", userId: "bob", deliveredSeq: 3, readSeq: 3 };
    expect(hasGap(chatOf(applyReceipt(told, receipt)))).toBe(false);
    const members = [member(ADA), member(BOB, 2)];
    const asked = chatOf(applyChanges(told, "chat", { messages: [], rev: 3, members }));
    expect([hasGap(asked), asked.members[1]?.readSeq]).toEqual([false, 2]);
  });

  it("keeps the later of two statuses that crossed", () => {
    const [earlier, later] = ["2026-01-31T12:00:00.000Z", "2026-01-31T12:00:01.000Z"];
    let state = applyStatus(loaded(1), { userId: "bob", status: "offline", lastSeen: later });
    state = applyStatus(state, { userId: "bob", status: "away", lastSeen: earlier });
    expect(chatOf(state).members[1]?.user.status).toBe("offline");
  });

  it("drops a sign of typing when its time is over", () => {
    const event = { chatId: "chat", rev: 1, userId: "bob", typing: true, expiresIn: 6 };
    const state = applyTyping(loaded(1), event, 1_000);
    expect(expireTyping(state, 6_999)).toBe(state);
    expect(expireTyping(state, 7_001).typing).toEqual({});
  });
});

describe("what is shown", () => {
  it("puts the chat with the newest message first", () => {
    const chats = [
      entry({ id: "quiet", lastMessage: message(1) }),
      entry({ id: "lively", lastMessage: message(2) }),
    ];
    expect(chatsInOrder(applyInbox(signedIn, chats)).map((chat) => chat.id)).toEqual(["lively", "quiet"]);
  });

  it("names a direct chat after the other person", () => {
    expect(titleOf(chatOf(loaded(0)), "ada")).toBe("bob");
  });

  it("closes the open chat when it is removed", () => {
    expect(removeChat({ ...loaded(1), openChatId: "chat" }, "chat")).toMatchObject({
      chats: {},
      openChatId: null,
    });
  });
});
