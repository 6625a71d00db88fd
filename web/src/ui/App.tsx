/** Decides between the sign-in form and the chats. */

import { useCallback, useEffect, useMemo, useState } from "react";
import { ApiError } from "../api/errors";
import type { SignedIn } from "../api/rest";
import { TokenKeeper } from "../auth/tokens";
import { Session } from "../store/session";
import { ChatScreen } from "./ChatScreen";
import { SignIn } from "./SignIn";

const REASONS: Record<string, string> = {
  expired: "Your session has ended. Sign in again.",
  revoked: "This session was ended from another device.",
  password_changed: "The password was changed. Sign in again.",
  deactivated: "This account is deactivated.",
  refresh_reused: "This session was ended to protect your account. Sign in again.",
};

export function App() {
  const [notice, setNotice] = useState("");
  const [signedIn, setSignedIn] = useState(0);
  const leave = useCallback((reason: string) => {
    setNotice(REASONS[reason] ?? "");
    setSignedIn((count) => count + 1);
  }, []);
  const tokens = useMemo(() => new TokenKeeper(() => leave("expired")), [leave]);
  const [session, setSession] = useState<Session | null>(null);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a session lives from one sign-in to its end
  useEffect(() => {
    if (!tokens.signedIn) {
      setSession(null);
      return;
    }
    const opened = new Session(tokens, leave);
    setSession(opened);
    let retry: ReturnType<typeof setTimeout> | undefined;
    const start = () =>
      opened.start().catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 401) {
          tokens.forget();
          leave("expired");
        } else retry = setTimeout(start, 2_000);
      });
    void start();
    return () => {
      clearTimeout(retry);
      opened.stop();
    };
  }, [signedIn]);

  // Another tab has signed out, or somebody else in.
  useEffect(() => {
    const onStorage = (event: StorageEvent) => {
      if (event.key === "parley.tokens" && (event.newValue === null || event.oldValue === null))
        setSignedIn((count) => count + 1);
    };
    window.addEventListener("storage", onStorage);
    return () => window.removeEventListener("storage", onStorage);
  }, []);

  function enter(answer: SignedIn) {
    tokens.keep(answer);
    setNotice("");
    setSignedIn((count) => count + 1);
  }

  return session && tokens.signedIn ? (
    <ChatScreen session={session} />
  ) : (
    <SignIn notice={notice} onSignedIn={enter} />
  );
}
