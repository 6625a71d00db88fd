/** One's own profile: picture, status, password, sessions, light or dark. */

import { type FormEvent, useEffect, useState } from "react";
import { ApiError } from "../api/errors";
import type { Session as Device, Status, User } from "../api/types";
import type { Session } from "../store/session";
import { Avatar } from "./Avatar";
import { Dialog } from "./Dialog";
import { Field } from "./Field";
import { deviceName, shortTime } from "./format";
import { chooseTheme, chosenTheme, type Theme } from "./theme";
import { useAttempt } from "./useAttempt";

interface Props {
  session: Session;
  me: User;
  onClose: () => void;
}

export function Settings({ session, me, onClose }: Props) {
  const { problem, attempt } = useAttempt();
  const [theme, setTheme] = useState<Theme>(chosenTheme());

  async function setPicture(file: File | undefined) {
    if (!file) return;
    const changed = await session.rest.setPicture(file);
    session.store.update((state) => ({ ...state, me: changed }));
  }

  return (
    <Dialog title="You" onClose={onClose}>
      <div className="stack">
        <div className="inline">
          <Avatar name={me.username} user={me} />
          <div>
            <strong>{me.username}</strong>
            <p className="muted">{me.email}</p>
          </div>
        </div>
        <label className="field">
          Picture
          <input
            type="file"
            accept="image/png,image/jpeg,image/webp,image/gif"
            onChange={(event) => void attempt(() => setPicture(event.target.files?.[0]))}
          />
        </label>
        <label className="field">
          Status
          <select
            value={me.status}
            onChange={(event) => void attempt(() => session.setStatus(event.target.value as Status))}
          >
            <option value="online">Online</option>
            <option value="away">Away</option>
            <option value="offline">Invisible</option>
          </select>
        </label>
        <label className="field">
          Appearance
          <select
            value={theme}
            onChange={(event) => {
              chooseTheme(event.target.value as Theme);
              setTheme(event.target.value as Theme);
            }}
          >
            <option value="system">As the system</option>
            <option value="light">Light</option>
            <option value="dark">Dark</option>
          </select>
        </label>
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <PasswordForm session={session} />
        <Devices session={session} />
        <button type="button" className="danger" onClick={() => void session.logOut()}>
          Log out
        </button>
      </div>
    </Dialog>
  );
}

function PasswordForm({ session }: { session: Session }) {
  const [error, setError] = useState<ApiError | null>(null);
  const [done, setDone] = useState(false);

  async function change(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const data = new FormData(form);
    setError(null);
    setDone(false);
    try {
      await session.rest.changePassword(String(data.get("current")), String(data.get("new")));
      form.reset();
      setDone(true);
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure);
    }
  }

  return (
    <details>
      <summary>Change password</summary>
      <form className="stack" onSubmit={change}>
        <Field
          label="Current password"
          name="current"
          type="password"
          autoComplete="current-password"
          problem={error?.problemOf("currentPassword")}
        />
        <Field
          label="New password"
          name="new"
          type="password"
          autoComplete="new-password"
          problem={error?.problemOf("newPassword")}
        />
        {error && Object.keys(error.body.fields).length === 0 && <p className="problem">{error.message}</p>}
        {done && <p role="status">The password is changed. Your other sessions have ended.</p>}
        <button type="submit">Change password</button>
      </form>
    </details>
  );
}

function Devices({ session }: { session: Session }) {
  const [devices, setDevices] = useState<Device[]>([]);
  useEffect(() => {
    session.rest.sessions().then(
      (answer) => setDevices(answer.sessions),
      () => undefined,
    );
  }, [session]);

  async function end(id: string) {
    await session.rest.endSession(id);
    setDevices((all) => all.filter((one) => one.id !== id));
  }

  return (
    <details>
      <summary>Where you are signed in</summary>
      <ul className="members">
        {devices.map((device) => (
          <li key={device.id}>
            <span className="device" title={device.userAgent}>
              {deviceName(device.userAgent)}
            </span>
            <span className="muted nowrap">{device.current ? "this one" : shortTime(device.lastUsedAt)}</span>
            {!device.current && (
              <button type="button" className="link" onClick={() => void end(device.id)}>
                End
              </button>
            )}
          </li>
        ))}
      </ul>
    </details>
  );
}
