/** Getting in, and the change of a one-time password that opens nothing else. */
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";

import { ApiError, changePassword, logIn, logOut, notice } from "../net/session.ts";

export function LogIn(): JSX.Element {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  return (
    <Gate
      title="Trading Platform"
      action="Log in"
      submit={() => logIn(username, password)}
      hint={
        <>
          The first start writes a one-time password for <code>admin</code> into <code>secrets/admin-password</code> of the
          state folder.
        </>
      }
    >
      <label>
        User
        <input
          name="username"
          autoComplete="username"
          autoFocus
          required
          value={username}
          onInput={(event) => setUsername(event.currentTarget.value)}
        />
      </label>
      <label>
        Password
        <input
          name="password"
          type="password"
          autoComplete="current-password"
          required
          value={password}
          onInput={(event) => setPassword(event.currentTarget.value)}
        />
      </label>
    </Gate>
  );
}

export function NewPassword(): JSX.Element {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [again, setAgain] = useState("");
  const submit = async (): Promise<void> => {
    if (next !== again) throw new ApiError(400, "The new password is not the same both times.");
    await changePassword(current, next);
  };
  const fields = [
    ["current", "One-time password", "current-password", current, setCurrent],
    ["next", "New password, 12 characters or more", "new-password", next, setNext],
    ["again", "New password again", "new-password", again, setAgain],
  ] as const;
  return (
    <Gate
      title="Choose a password"
      action="Change password"
      submit={submit}
      hint={
        <button type="button" class="link" onClick={() => void logOut()}>
          Log in as somebody else
        </button>
      }
    >
      {fields.map(([name, label, complete, value, set]) => (
        <label key={name}>
          {label}
          <input
            name={name}
            type="password"
            autoComplete={complete}
            required
            value={value}
            onInput={(event) => set(event.currentTarget.value)}
          />
        </label>
      ))}
    </Gate>
  );
}

function Gate(props: {
  title: string;
  action: string;
  submit: () => Promise<void>;
  hint: ComponentChildren;
  children: ComponentChildren;
}): JSX.Element {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await props.submit();
    } catch (found) {
      if (!(found instanceof ApiError)) throw found;
      setError(found.message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="gate">
      <form class="panel" onSubmit={(event) => void submit(event)}>
        <h1>{props.title}</h1>
        {notice.value !== "" && <p class="note">{notice.value}</p>}
        {props.children}
        {error !== "" && (
          <p class="failing" role="alert">
            {error}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy}>
          {busy ? "…" : props.action}
        </button>
        <p class="note">{props.hint}</p>
      </form>
    </main>
  );
}
