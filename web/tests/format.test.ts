/** How things read: links, devices, sizes, names of the day. */

import { describe, expect, it } from "vitest";
import { applyInbox, initialState } from "../src/store/state";
import { deviceName, fileSize, linkParts, preview, shortTime, systemLine } from "../src/ui/format";
import { ADA, BOB, entry, member, message } from "./fixtures";

const group = applyInbox(initialState, [entry({ kind: "group", members: [member(ADA), member(BOB)] })]).chats
  .chat;
if (!group) throw new Error("no chat");

describe("linkParts", () => {
  it("finds web addresses without the stop behind them", () => {
    expect(linkParts("see https://example.org/a?b=1, now")).toEqual([
      { text: "see " },
      { text: "https://example.org/a?b=1", href: "https://example.org/a?b=1" },
      { text: ", now" },
    ]);
  });

  it.each(["javascript:alert(1)", "data:text/html,x", "ftp://example.org", "http:// "])(
    "makes no link of %s",
    (text) => expect(linkParts(text)).toEqual([{ text }]),
  );

  it("gives back every character of the text", () => {
    const text = 'a https://example.org/(b)?c). שלום <b>http://x.y/"z"';
    expect(
      linkParts(text)
        .map((part) => part.text)
        .join(""),
    ).toBe(text);
  });
});

describe("deviceName", () => {
  it.each([
    ["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "Chrome on Linux"],
    [
      "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
      "Edge on Windows",
    ],
    ["Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"],
    ["parley-bot/2", "parley-bot/2"],
    ["", "Unknown device"],
  ])("calls %s %s", (userAgent, name) => expect(deviceName(userAgent)).toBe(name));
});

describe("lines", () => {
  it("tells what a system message is about", () => {
    const system = { action: "added", userId: "bob", title: null, role: null } as const;
    expect(systemLine(message(1, { senderId: "ada", type: "system", system }), group, "ada")).toBe(
      "You added bob",
    );
  });

  it("shows no content of deleted and unreadable messages", () => {
    const deletedAt = "2026-01-31T12:00:00.000Z";
    expect(preview(message(1, { deletedAt }), group, "ada")).toBe("Message deleted");
    expect(preview(message(1, { unreadable: true, content: null }), group, "ada")).toBe(
      "Message cannot be read",
    );
  });

  it.each([
    [0, "0 bytes"],
    [1536, "1.5 KB"],
    [26_214_400, "25.0 MB"],
  ])("writes %i bytes as %s", (bytes, text) => expect(fileSize(bytes)).toBe(text));

  it("names the day of what is a few days old", () => {
    const now = Date.parse("2026-01-31T12:00:00.000Z");
    expect(shortTime("2026-01-28T12:00:00.000Z", now)).toBe("Wed");
  });
});
