/** The socket: acks, refusals, silence, and coming back. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError, Unreachable } from "../src/api/errors";
import { SocketClient } from "../src/socket/socketClient";
import { FakeServer, failure } from "./fakeServer";

let server: FakeServer;
const onEvent = vi.fn();
const onConnection = vi.fn();
const onRefused = vi.fn();
const token = vi.fn(async (_refused?: string) => "token");
let client: SocketClient;

beforeEach(async () => {
  vi.useFakeTimers();
  vi.clearAllMocks();
  server = new FakeServer();
  client = new SocketClient({ url: "ws://here/ws", token, onEvent, onConnection, onRefused });
  client.start();
  await vi.advanceTimersByTimeAsync(0);
});

afterEach(() => {
  client.stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("SocketClient", () => {
  it("offers the token as a subprotocol, never in the address", () => {
    expect(server.socket.protocols).toEqual(["parley.v1", "bearer.token"]);
    expect(server.socket.url).toBe("ws://here/ws");
  });

  it("gives each request the data of its own ack", async () => {
    server.socket.accept();
    const first = client.request("a", {});
    const second = client.request("b", {});
    server.socket.ack("b", 2);
    server.socket.ack("a", 1);
    expect(await Promise.all([first, second])).toEqual([1, 2]);
  });

  it("rejects with the server's error", async () => {
    server.socket.accept();
    const request = client.request("a", {});
    server.socket.refuse("a", failure("chat_not_found").error);
    await expect(request).rejects.toMatchObject({ code: "chat_not_found" });
  });

  it("rejects what waits when the connection ends, and comes back by itself", async () => {
    server.socket.accept();
    const request = client.request("a", {});
    const outcome = expect(request).rejects.toBeInstanceOf(Unreachable);
    server.socket.close(1006);
    await outcome;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.sockets).toHaveLength(2);
  });

  it("waits longer after each failure, and never in step with others", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    for (const pause of [500, 1_000, 2_000]) {
      const before = server.sockets.length;
      server.socket.close(1006);
      await vi.advanceTimersByTimeAsync(pause - 1);
      expect(server.sockets).toHaveLength(before);
      await vi.advanceTimersByTimeAsync(1);
      expect(server.sockets).toHaveLength(before + 1);
    }
  });

  it("drops a connection on which nobody answers", async () => {
    server.socket.accept();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(server.socket.waitsFor("ping")).toBe(true);
    await vi.advanceTimersByTimeAsync(10_000);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.sockets).toHaveLength(2);
  });

  it("tries once more with a fresh token when it is refused, then gives up", async () => {
    server.socket.close(4401);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(onRefused).not.toHaveBeenCalled();
    server.socket.close(4401);
    expect(onRefused).toHaveBeenCalledOnce();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.sockets).toHaveLength(2);
  });

  it("lets go of a dead connection at once, even when its close never ends", async () => {
    server.socket.accept();
    server.socket.close = () => undefined;
    await vi.advanceTimersByTimeAsync(31_000);
    expect(server.sockets).toHaveLength(2);
  });

  it("does not wait for ever for a connection that says nothing", async () => {
    await vi.advanceTimersByTimeAsync(11_000);
    expect(server.sockets).toHaveLength(2);
  });

  it("waits longer for an ack while other frames come", async () => {
    server.socket.accept();
    const request = client.request("sync", {});
    for (let second = 0; second < 15; second++) {
      await vi.advanceTimersByTimeAsync(1_000);
      server.socket.push("sync", {});
    }
    server.socket.ack("sync", "done");
    expect(await request).toBe("done");
    expect(server.sockets).toHaveLength(1);
  });

  it("refuses a frame that the server would not take, and keeps the connection", async () => {
    server.socket.accept();
    const content = "é".repeat(40_000);
    await expect(client.request("message:send", { content })).rejects.toMatchObject({
      code: "body_too_large",
    });
    expect(server.socket.sent).toEqual([]);
  });

  it("names the token that was refused, so that it is not offered again", async () => {
    server.socket.close(4401);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(token).toHaveBeenNthCalledWith(1, undefined);
    expect(token).toHaveBeenNthCalledWith(2, "token");
  });

  it("spreads its return when the server restarts", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    server.socket.close(1012);
    await vi.advanceTimersByTimeAsync(3_400);
    expect(server.sockets).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(100);
    expect(server.sockets).toHaveLength(2);
  });

  it("comes back when the restarting server asked it to", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    server.socket.accept();
    server.socket.push("restarting", { reconnectInMs: 9_000 });
    server.socket.close(1012);
    await vi.advanceTimersByTimeAsync(9_400);
    expect(server.sockets).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(100);
    expect(server.sockets).toHaveLength(2);
  });

  it("asks for a sign of life when the page is looked at again", async () => {
    server.socket.accept();
    document.dispatchEvent(new Event("visibilitychange"));
    expect(server.socket.waitsFor("ping")).toBe(true);
  });

  it("stays away when the session is over", async () => {
    token.mockRejectedValueOnce(new ApiError(failure("session_ended").error, 401));
    server.socket.close(1006);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.sockets).toHaveLength(1);
  });
});
