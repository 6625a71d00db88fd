/** The main flows as a person sees them, against a server faked at fetch and WebSocket. */

import { act, cleanup, render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TokenKeeper } from "../src/auth/tokens";
import { Session } from "../src/store/session";
import { App } from "../src/ui/App";
import { FakeServer, failure } from "./fakeServer";
import { ADA, BOB, entry, message } from "./fixtures";

const CHAT = "018f0000-0000-7000-8000-000000000001";
const tokens = { accessToken: "a", refreshToken: "r", expiresIn: 600 };
const chat = entry({ id: CHAT, rev: 1, lastMessage: message(1, { chatId: CHAT }), unreadCount: 1 });
const page = { chat, messages: [message(1, { chatId: CHAT })], hasMore: false, rev: 1 };
let server: FakeServer;

beforeEach(() => {
  localStorage.clear();
  sessionStorage.clear();
  location.hash = "";
  server = new FakeServer()
    .on("POST /auth/login", { user: ADA, ...tokens })
    .on("POST /auth/logout", () => ({ status: 204 }))
    .on("GET /user/me", ADA)
    .on("GET /user/search", { users: [BOB] })
    .on("GET /chat", { chats: [chat], nextCursor: null })
    .on("POST /chat", chat)
    .on(`GET /chat/${CHAT}`, page);
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

async function signIn() {
  const person = userEvent.setup();
  render(<App />);
  await person.type(screen.getByLabelText("Username or email"), "ada");
  await person.type(screen.getByLabelText("Password"), "quiet purple harbour");
  await person.click(screen.getByRole("button", { name: "Log in" }));
  await waitFor(() => expect(server.sockets).toHaveLength(1));
  await connect();
  return person;
}

async function connect() {
  await act(async () => server.socket.accept());
  await act(async () => void server.socket.ack("sync", {}));
}

async function signInAndOpen() {
  const person = await signIn();
  await person.click(await screen.findByRole("button", { name: /bob/ }));
  await screen.findByText("message 1", { selector: ".text" });
  return person;
}

describe("signing in", () => {
  it("shows what is wrong with a login", async () => {
    server.on("POST /auth/login", () => ({ status: 401, body: failure("invalid_credentials") }));
    const person = userEvent.setup();
    render(<App />);
    await person.type(screen.getByLabelText("Username or email"), "ada@example.org");
    await person.type(screen.getByLabelText("Password"), "wrong");
    await person.click(screen.getByRole("button", { name: "Log in" }));
    expect(await screen.findByRole("alert")).toHaveProperty("textContent", "It failed: invalid_credentials.");
    expect(server.calls[0]?.body).toEqual({ email: "ada@example.org", password: "wrong" });
  });

  it("shows the problem of a field beside it", async () => {
    const taken = { username: [{ code: "taken", message: "This name is taken." }] };
    server.on("POST /auth/register", () => ({ status: 400, body: failure("invalid", taken) }));
    const person = userEvent.setup();
    render(<App />);
    await person.click(screen.getByRole("button", { name: "Create an account" }));
    await person.type(screen.getByLabelText("Username"), "ada");
    await person.type(screen.getByLabelText("Email"), "ada@example.org");
    await person.type(screen.getByLabelText("Password"), "quiet purple harbour");
    await person.click(screen.getByRole("button", { name: "Create account" }));
    expect((await screen.findByRole("alert")).textContent).toBe("This name is taken.");
  });

  it("shows what is wrong with an address to log in with", async () => {
    const wrong = { email: [{ code: "invalid", message: "This is no e-mail address." }] };
    server.on("POST /auth/login", () => ({ status: 400, body: failure("invalid", wrong) }));
    const person = userEvent.setup();
    render(<App />);
    await person.type(screen.getByLabelText("Username or email"), "ada@");
    await person.type(screen.getByLabelText("Password"), "wrong");
    await person.click(screen.getByRole("button", { name: "Log in" }));
    expect((await screen.findByRole("alert")).textContent).toBe("This is no e-mail address.");
  });

  it("goes back to the form when the session ends elsewhere", async () => {
    await signIn();
    await act(async () => server.socket.push("session:end", { reason: "revoked" }));
    expect(await screen.findByText(/ended from another device/)).toBeTruthy();
    expect(localStorage.getItem("parley.tokens")).toBeNull();
  });
});

describe("staying signed in", () => {
  it("comes back with a new token when the old one has run out, as after a sleep", async () => {
    const renewed = { accessToken: "b", refreshToken: "s", expiresIn: 600 };
    server.on("POST /auth/refresh", renewed);
    await signIn();
    await act(async () => {
      server.socket.push("session:end", { reason: "expired" });
      server.socket.close(4401);
    });
    await waitFor(() => expect(server.sockets).toHaveLength(2), { timeout: 3_000 });
    expect(server.socket.protocols).toEqual(["parley.v1", "bearer.b"]);
    expect(screen.queryByLabelText("Username or email")).toBeNull();
  });

  it("opens no socket for somebody who signed out meanwhile", async () => {
    const keeper = new TokenKeeper(vi.fn());
    keeper.keep(tokens);
    const session = new Session(keeper, vi.fn());
    const started = session.start();
    session.stop();
    await started;
    await act(async () => undefined);
    expect(server.sockets).toEqual([]);
  });
});

describe("talking", () => {
  it("shows unread messages, and marks them as read when they are looked at", async () => {
    vi.spyOn(document, "hasFocus").mockReturnValue(true);
    await signInAndOpen();
    await waitFor(() => expect(server.socket.waitsFor("message:read")).toBe(true));
    expect(server.socket.ack("message:read", {})).toEqual({ chatId: CHAT, seq: 1 });
    expect(screen.queryByText("unread")).toBeNull();
  });

  it("shows a message at once, and as sent when it is acked", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea?{Enter}");
    expect(screen.getByText("sending…")).toBeTruthy();
    await act(async () => {
      const sent = server.socket.sent.find((frame) => frame.event === "message:send")?.data;
      const stored = message(2, {
        chatId: CHAT,
        senderId: "ada",
        content: "Tea?",
        clientId: String(sent?.clientId),
      });
      server.socket.ack("message:send", { message: stored, duplicate: false });
    });
    expect(screen.queryByText("sending…")).toBeNull();
    expect(screen.getByRole("img", { name: "sent" })).toBeTruthy();
  });

  it("sends what waits again under the same client id after a break", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea?{Enter}");
    const first = server.socket.sent.find((frame) => frame.event === "message:send")?.data.clientId;
    await act(async () => server.socket.close(1006));
    await waitFor(() => expect(server.sockets).toHaveLength(2), { timeout: 3_000 });
    await connect();
    await waitFor(() => expect(server.socket.waitsFor("message:send")).toBe(true));
    const again = server.socket.sent.find((frame) => frame.event === "message:send")?.data.clientId;
    expect(first).toBeTruthy();
    expect(again).toBe(first);
  });

  it("sends again by itself once the maintenance is over", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea?{Enter}");
    const first = server.socket.sent.find((frame) => frame.event === "message:send")?.data;
    const { error } = failure("maintenance");
    await act(async () => server.socket.refuse("message:send", { ...error, retryAfter: 0.05 }));
    expect(screen.queryByText("It failed: maintenance.")).toBeNull();
    expect(server.socket.waitsFor("message:send")).toBe(false);
    await waitFor(() => expect(server.socket.waitsFor("message:send")).toBe(true));
    expect(server.socket.sent.find((frame) => frame.event === "message:send")?.data).toEqual(first);
  });

  it("keeps the session when it cannot be renewed for the maintenance", async () => {
    await signInAndOpen();
    const keeper = new TokenKeeper(() => {
      throw new Error("The session is over.");
    });
    server.on("POST /auth/refresh", () => ({ status: 503, body: failure("maintenance") }));
    await expect(keeper.renew("a")).rejects.toMatchObject({ code: "maintenance" });
    expect(keeper.signedIn).toBe(true);
  });

  it("keeps a refused message with its reason", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea?{Enter}");
    await act(async () => server.socket.refuse("message:send", failure("invalid").error));
    expect(screen.getByText("It failed: invalid.")).toBeTruthy();
    await person.click(screen.getByRole("button", { name: "Discard" }));
    expect(screen.queryByText("Tea?")).toBeNull();
  });

  it("says what is wrong with a message, not only that something is", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea?{Enter}");
    const fields = { content: [{ code: "too_long", message: "At most 16 KiB." }] };
    await act(async () => server.socket.refuse("message:send", failure("invalid", fields).error));
    expect(screen.getByText("At most 16 KiB.")).toBeTruthy();
  });

  it("sends what waited when the page was left, once it is back", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea?{Enter}");
    const first = server.socket.sent.find((frame) => frame.event === "message:send")?.data;
    cleanup();
    render(<App />);
    await waitFor(() => expect(server.sockets).toHaveLength(2));
    await connect();
    await waitFor(() => expect(server.socket.waitsFor("message:send")).toBe(true));
    expect(server.socket.ack("message:send", {})).toEqual(first);
  });

  it("forgets what waits when one logs out", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea?{Enter}");
    expect(sessionStorage.length).toBe(1);
    await person.click(screen.getByRole("button", { name: "Your profile and settings" }));
    await person.click(screen.getByText("Log out"));
    await screen.findByLabelText("Username or email");
    expect(sessionStorage.length).toBe(0);
  });

  it("keeps what was begun to be written while one looks elsewhere", async () => {
    const person = await signInAndOpen();
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Tea at");
    await person.click(screen.getByRole("button", { name: "Back to the list" }));
    await waitFor(() => expect(screen.queryByRole("textbox", { name: "Message" })).toBeNull());
    await person.click(screen.getByRole("button", { name: /bob/ }));
    expect(await screen.findByRole("textbox", { name: "Message" })).toHaveProperty("value", "Tea at");
  });

  it("keeps the caption when a file cannot be sent, and says why", async () => {
    const person = await signInAndOpen();
    const file = new File(["x"], "film.bin");
    Object.defineProperty(file, "size", { value: 26 * 1024 * 1024 });
    await person.type(screen.getByRole("textbox", { name: "Message" }), "Our film");
    await person.upload(screen.getByLabelText("File to attach"), file);
    expect(await screen.findByText("A file has at most 25 MB.")).toBeTruthy();
    expect(screen.getByRole("textbox", { name: "Message" })).toHaveProperty("value", "Our film");
    expect(server.calls.some((call) => call.path === "/attachment")).toBe(false);
  });

  it("says when a message could not be deleted", async () => {
    vi.stubGlobal("confirm", () => true);
    const own = message(2, { chatId: CHAT, senderId: "ada" });
    const person = await signInAndOpen();
    await act(async () => server.socket.push("message:receive", own));
    await person.click(screen.getByRole("button", { name: "Delete message" }));
    await act(async () => server.socket.refuse("message:delete", failure("unavailable").error));
    expect(screen.getByText("It failed: unavailable.")).toBeTruthy();
  });

  it("gives the focus back when a dialog is closed", async () => {
    const person = await signIn();
    const opener = screen.getByRole("button", { name: "New group" });
    await person.click(opener);
    await person.click(screen.getByLabelText("Close"));
    expect(document.activeElement).toBe(opener);
  });

  it("fetches what is missing between two messages", async () => {
    await signInAndOpen();
    const missing = [2, 3].map((seq) => message(seq, { chatId: CHAT }));
    server.on(`GET /chat/${CHAT}?limit=100&after=1`, { ...page, messages: missing, rev: 3 });
    await act(async () => server.socket.push("message:receive", missing[1]));
    expect(await screen.findByText("message 2", { selector: ".text" })).toBeTruthy();
  });

  it("shows text as text, with its links", async () => {
    await signInAndOpen();
    const content = "<b>look</b> https://example.org/a.";
    await act(async () => server.socket.push("message:receive", message(2, { chatId: CHAT, content })));
    const log = screen.getByRole("log");
    expect(within(log).getByText(/<b>look<\/b>/)).toBeTruthy();
    expect(within(log).getByRole("link").getAttribute("href")).toBe("https://example.org/a");
  });

  it("tells who is typing, and takes it back", async () => {
    await signInAndOpen();
    const sign = { chatId: CHAT, rev: 1, userId: "bob", typing: true, expiresIn: 6 };
    await act(async () => server.socket.push("user:typing", sign));
    expect(screen.getByText("bob is typing…")).toBeTruthy();
    await act(async () => server.socket.push("user:typing", { ...sign, typing: false }));
    expect(screen.queryByText("bob is typing…")).toBeNull();
  });

  it("opens the chat with a person that was found", async () => {
    const person = await signIn();
    await person.type(screen.getByLabelText("Find a person"), "bo");
    const found = await screen.findByRole("list", { name: "People found" });
    await person.click(await within(found).findByRole("button"));
    expect(await screen.findByRole("textbox", { name: "Message" })).toBeTruthy();
    expect(server.calls.find((call) => call.method === "POST" && call.path === "/chat")?.body).toEqual({
      participantIds: ["bob"],
    });
  });
});

describe("keeping up", () => {
  it("marks as read again what a broken connection did not tell", async () => {
    vi.spyOn(document, "hasFocus").mockReturnValue(true);
    await signInAndOpen();
    await waitFor(() => expect(server.socket.waitsFor("message:read")).toBe(true));
    await act(async () => server.socket.close(1006));
    await waitFor(() => expect(server.sockets).toHaveLength(2), { timeout: 3_000 });
    await connect();
    await waitFor(() => expect(server.socket.waitsFor("message:read")).toBe(true));
  });

  it("marks a message that came while it marked another", async () => {
    vi.spyOn(document, "hasFocus").mockReturnValue(true);
    await signInAndOpen();
    await waitFor(() => expect(server.socket.waitsFor("message:read")).toBe(true));
    await act(async () => server.socket.push("message:receive", message(2, { chatId: CHAT })));
    const receipt = { chatId: CHAT, userId: "ada", deliveredSeq: 1, readSeq: 1 };
    await act(async () => void server.socket.ack("message:read", receipt));
    await waitFor(() => expect(server.socket.waitsFor("message:read")).toBe(true));
    expect(server.socket.ack("message:read", {})).toEqual({ chatId: CHAT, seq: 2 });
  });

  it("tells senders that what waited in the inbox is here", async () => {
    await signIn();
    await waitFor(() => expect(server.socket.waitsFor("message:delivered")).toBe(true));
    expect(server.socket.ack("message:delivered", {})).toEqual({ chatId: CHAT, seq: 1 });
  });

  it("drops a chat that one was removed from while away", async () => {
    await signIn();
    await screen.findByRole("button", { name: /bob/ });
    server.on("GET /chat", { chats: [], nextCursor: null });
    await act(async () => server.socket.close(1006));
    await waitFor(() => expect(server.sockets).toHaveLength(2), { timeout: 3_000 });
    await act(async () => server.socket.accept());
    await act(async () => {
      server.socket.push("sync:done", { chats: {} });
      server.socket.ack("sync", {});
    });
    await waitFor(() => expect(screen.queryByRole("button", { name: /bob/ })).toBeNull());
  });

  it("finds a chat whose first event was lost", async () => {
    server.on("GET /chat", { chats: [], nextCursor: null });
    await signIn();
    await screen.findByText("No conversations yet.");
    server.on("GET /chat", { chats: [chat], nextCursor: null });
    await act(async () => server.socket.push("sync", { chatId: CHAT, rev: 1 }));
    expect(await screen.findByRole("button", { name: /bob/ })).toBeTruthy();
  });

  it("loads a chat anew when too much was missed, without losing what comes meanwhile", async () => {
    await signInAndOpen();
    const newest = [message(400, { chatId: CHAT })];
    server.on(`GET /chat/${CHAT}`, { ...page, messages: newest, hasMore: true, rev: 400 });
    server.on(`GET /chat/${CHAT}?limit=100&after=400`, {
      ...page,
      messages: [message(401, { chatId: CHAT })],
      rev: 401,
    });
    await act(async () => {
      server.socket.push("sync:reset", { chatId: CHAT, rev: 400, reason: "too_far" });
      server.socket.push("message:receive", message(401, { chatId: CHAT }));
    });
    expect(await screen.findByText("message 401", { selector: ".text" })).toBeTruthy();
    expect(screen.getByText("message 400", { selector: ".text" })).toBeTruthy();
  });

  it("asks again when the server had no answer for the inbox, and loses nothing that waited", async () => {
    const waiting = { clientId: "c", content: "Tea?", type: "text" };
    sessionStorage.setItem("parley.outbox.ada", JSON.stringify({ [CHAT]: [waiting] }));
    server.on("GET /chat", () => ({ status: 503, body: failure("unavailable") }));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"], shouldAdvanceTime: true });
    try {
      await signIn();
      server.on("GET /chat", { chats: [chat], nextCursor: null });
      await act(() => vi.advanceTimersByTimeAsync(5_000));
      await act(async () => void server.socket.ack("sync", {}));
      expect(await screen.findByRole("button", { name: /bob/ })).toBeTruthy();
      await waitFor(() => expect(server.socket.waitsFor("message:send")).toBe(true));
      expect(server.socket.ack("message:send", {})).toEqual({ chatId: CHAT, ...waiting });
    } finally {
      vi.useRealTimers();
    }
  });
});
