/** The login form, and the form that replaces a one-time password. */
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";

import { ApiError, changePassword, logIn, loginNotice, logOut } from "../net/session.ts";
import { ErrorText } from "../parts/form.tsx";

export function Login(): JSX.Element {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [needsCode, setNeedsCode] = useState(false);
  const submit = async (): Promise<void> => {
    try {
      await logIn(username, password, needsCode ? code.trim() : "");
    } catch (failure) {
      if (!(failure instanceof ApiError) || !failure.needsSecondFactor) throw failure;
      setNeedsCode(true);
    }
  };
  return (
    <CredentialForm
      title="Trading Platform"
      action="Log in"
      onSubmit={submit}
      hint={
        <>
          First login: user <code>admin</code>. The one-time password is in <code>secrets/admin-password</code> of the state
          folder.
        </>
      }
    >
      <label>
        Username
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
      {needsCode && (
        <label>
          Code of the authenticator, or a recovery code
          <input
            name="code"
            autoComplete="one-time-code"
            autoFocus
            required
            value={code}
            onInput={(event) => setCode(event.currentTarget.value)}
          />
        </label>
      )}
    </CredentialForm>
  );
}

export function PasswordChange(): JSX.Element {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [repeated, setRepeated] = useState("");
  const submit = async (): Promise<void> => {
    if (next !== repeated) throw new ApiError(400, "The two new passwords differ.");
    await changePassword(current, next);
  };
  const fields = [
    ["current", "One-time password", "current-password", current, setCurrent],
    ["next", "New password (at least 12 characters)", "new-password", next, setNext],
    ["repeated", "Repeat new password", "new-password", repeated, setRepeated],
  ] as const;
  return (
    <CredentialForm
      title="Choose a new password"
      action="Change password"
      onSubmit={submit}
      hint={
        <button type="button" class="link" onClick={() => void logOut()}>
          Log in as another user
        </button>
      }
    >
      {fields.map(([name, label, complete, value, setValue]) => (
        <label key={name}>
          {label}
          <input
            name={name}
            type="password"
            autoComplete={complete}
            required
            value={value}
            onInput={(event) => setValue(event.currentTarget.value)}
          />
        </label>
      ))}
    </CredentialForm>
  );
}

function CredentialForm(props: {
  title: string;
  action: string;
  onSubmit: () => Promise<void>;
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
      await props.onSubmit();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure.message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form class="panel" onSubmit={(event) => void submit(event)}>
        <h1>{props.title}</h1>
        {loginNotice.value !== "" && <p class="note">{loginNotice.value}</p>}
        {props.children}
        <ErrorText text={error} />
        <button type="submit" class="primary" disabled={busy}>
          {busy ? "…" : props.action}
        </button>
        <p class="note">{props.hint}</p>
      </form>
    </main>
  );
}
