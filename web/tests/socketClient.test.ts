/** The socket: acks, refusals, silence, and coming back. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError, Unreachable } from "../src/api/errors";
import { SocketClient } from "../src/socket/socketClient";
import { FakeServer, failure } from "./fakeServer";

let server: FakeServer;
const onEvent = vi.fn();
const onConnection = vi.fn();
const onRefused = vi.fn();
const token = vi.fn(async () => "token");
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

  it("stays away when the session is over", async () => {
    token.mockRejectedValueOnce(new ApiError(failure("session_ended").error, 401));
    server.socket.close(1006);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.sockets).toHaveLength(1);
  });
});
