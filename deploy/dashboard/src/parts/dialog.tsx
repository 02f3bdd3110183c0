/** The browser's own modal dialog: it keeps the focus inside and closes on Escape. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "../net/session.ts";

export function Dialog(props: {
  title: string;
  close: () => void;
  children: ComponentChildren;
  class?: string;
}): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    if (dialog !== null && !dialog.open) dialog.showModal();
  }, []);
  return (
    <dialog
      ref={element}
      class={props.class ?? ""}
      aria-label={props.title}
      onClose={props.close}
      onClick={(event) => {
        if (event.target === element.current) props.close();
      }}
    >
      <header>
        <h2>{props.title}</h2>
        <button type="button" class="quiet" aria-label="Close" onClick={props.close}>
          ✕
        </button>
      </header>
      {props.children}
    </dialog>
  );
}

/** Asks for a reason and whether it is really wanted; stays open with the sentence where it was refused. */
export function Confirm(props: {
  title: string;
  text: string;
  action: string;
  danger?: boolean;
  act: (reason: string) => Promise<void>;
  close: () => void;
}): JSX.Element {
  const [reason, setReason] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await props.act(reason.trim());
      props.close();
    } catch (found) {
      if (!(found instanceof ApiError)) throw found;
      setError(found.message);
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} close={props.close} class="narrow">
      <form onSubmit={(event) => void submit(event)}>
        <p>{props.text}</p>
        <label>
          Reason
          <input
            required
            autoFocus
            maxLength={200}
            value={reason}
            onInput={(event) => setReason(event.currentTarget.value)}
            placeholder="It is kept in the log with your name"
          />
        </label>
        {error !== "" && (
          <p class="failing" role="alert">
            {error}
          </p>
        )}
        <div class="buttons">
          <button type="button" onClick={props.close}>
            Cancel
          </button>
          <button type="submit" class={props.danger ? "danger" : "primary"} disabled={busy || reason.trim() === ""}>
            {props.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
