/** Tokens: one exchange at a time, and none twice. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TokenKeeper } from "../src/auth/tokens";
import { FakeServer, failure } from "./fakeServer";

const old = { accessToken: "old", refreshToken: "r1", expiresIn: 10 };
const fresh = { accessToken: "new", refreshToken: "r2", expiresIn: 600 };
let server: FakeServer;

beforeEach(() => {
  localStorage.clear();
  server = new FakeServer();
});
afterEach(() => vi.unstubAllGlobals());

describe("TokenKeeper", () => {
  it("keeps a token that holds for a while", async () => {
    const keeper = new TokenKeeper(vi.fn());
    keeper.keep({ ...old, expiresIn: 600 });
    expect(await keeper.fresh()).toBe("old");
    expect(server.calls).toEqual([]);
  });

  it("exchanges the refresh token once for all who ask at the same time", async () => {
    server.on("POST /auth/refresh", fresh);
    const keeper = new TokenKeeper(vi.fn());
    keeper.keep(old);
    expect(await Promise.all([keeper.fresh(), keeper.fresh()])).toEqual(["new", "new"]);
    expect(server.calls).toEqual([{ method: "POST", path: "/auth/refresh", body: { refreshToken: "r1" } }]);
  });

  it("takes what another tab has stored instead of using a token twice", async () => {
    const keeper = new TokenKeeper(vi.fn());
    keeper.keep(old);
    const elsewhere = new TokenKeeper(vi.fn());
    elsewhere.keep(fresh);
    expect(await keeper.renew("old")).toBe("new");
    expect(server.calls).toEqual([]);
  });

  it("exchanges once for two tabs, also where the browser has no locks", async () => {
    server.on("POST /auth/refresh", fresh);
    const tabs = [new TokenKeeper(vi.fn()), new TokenKeeper(vi.fn())];
    tabs[0]?.keep(old);
    expect(await Promise.all(tabs.map((tab) => tab.fresh()))).toEqual(["new", "new"]);
    expect(server.calls).toHaveLength(1);
  });

  it("goes on when a tab was closed in the middle of its exchange", async () => {
    server.on("POST /auth/refresh", fresh);
    localStorage.setItem("parley.refresh", JSON.stringify({ owner: "gone", until: Date.now() + 200 }));
    const keeper = new TokenKeeper(vi.fn());
    keeper.keep(old);
    expect(await keeper.fresh()).toBe("new");
  });

  it("takes another call's exchange for no end of the session", async () => {
    server.on("POST /auth/refresh", () => ({ status: 401, body: failure("refresh_in_progress") }));
    const onEnd = vi.fn();
    const keeper = new TokenKeeper(onEnd);
    keeper.keep(old);
    await expect(keeper.fresh()).rejects.toMatchObject({ code: "unreachable" });
    expect(onEnd).not.toHaveBeenCalled();
    expect(keeper.signedIn).toBe(true);
  });

  it("forgets the tokens and says so when the session is over", async () => {
    server.on("POST /auth/refresh", () => ({ status: 401, body: failure("refresh_token_reused") }));
    const onEnd = vi.fn();
    const keeper = new TokenKeeper(onEnd);
    keeper.keep(old);
    await expect(keeper.fresh()).rejects.toMatchObject({ code: "refresh_token_reused" });
    expect(onEnd).toHaveBeenCalledOnce();
    expect(keeper.signedIn).toBe(false);
  });

  it("keeps the tokens when the server is away", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed")));
    const keeper = new TokenKeeper(vi.fn());
    keeper.keep(old);
    await expect(keeper.fresh()).rejects.toMatchObject({ code: "unreachable" });
    expect(keeper.signedIn).toBe(true);
  });
});
