/** The forms to log in and to create an account. */

import { type FormEvent, useState } from "react";
import { ApiError } from "../api/errors";
import { login, register, type SignedIn } from "../api/rest";
import { Field } from "./Field";

interface Props {
  notice: string;
  onSignedIn: (answer: SignedIn) => void;
}

export function SignIn({ notice, onSignedIn }: Props) {
  const [creating, setCreating] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const field = (name: string) => String(form.get(name) ?? "");
    setBusy(true);
    setError(null);
    try {
      const password = field("password");
      onSignedIn(
        creating
          ? await register({ username: field("username"), email: field("email"), password })
          : await login(field("name"), password),
      );
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure);
    } finally {
      setBusy(false);
    }
  }

  const shown = creating ? ["username", "email", "password"] : ["name", "password"];
  const problemOf = (field: string) =>
    error?.problemOf(field) ??
    (field === "name" ? (error?.problemOf("username") ?? error?.problemOf("email")) : undefined);
  const general = error && !shown.some(problemOf) ? error.reason : "";
  return (
    <main className="signin">
      <img className="signin-logo" src="/favicon.svg" alt="" width="56" height="56" />
      <h1>Parley</h1>
      <p className="muted">Private conversations on your own server.</p>
      {notice && <p role="status">{notice}</p>}
      <form key={String(creating)} className="card stack" onSubmit={submit}>
        {creating ? (
          <>
            <Field
              label="Username"
              name="username"
              autoComplete="username"
              problem={error?.problemOf("username")}
            />
            <Field
              label="Email"
              name="email"
              type="email"
              autoComplete="email"
              problem={error?.problemOf("email")}
            />
          </>
        ) : (
          <Field label="Username or email" name="name" autoComplete="username" problem={problemOf("name")} />
        )}
        <Field
          label="Password"
          name="password"
          type="password"
          autoComplete={creating ? "new-password" : "current-password"}
          problem={problemOf("password")}
        />
        {general && (
          <p className="problem" role="alert">
            {general}
          </p>
        )}
        <button type="submit" className="primary" disabled={busy}>
          {creating ? "Create account" : "Log in"}
        </button>
      </form>
      <p>
        {creating ? "Have an account? " : "New here? "}
        <button
          type="button"
          className="link"
          onClick={() => {
            setCreating(!creating);
            setError(null);
          }}
        >
          {creating ? "Log in instead" : "Create an account"}
        </button>
      </p>
    </main>
  );
}
