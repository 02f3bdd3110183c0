/** Modal dialogs. The browser's `dialog` element traps the focus and closes on Escape. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "../net/session.ts";
import { ErrorText, ReasonField } from "./form.tsx";

export function Dialog(props: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  class?: string;
}): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    const opener = document.activeElement;
    if (dialog !== null && !dialog.open) dialog.showModal();
    // The keyboard goes on where the dialog was opened.
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={props.class ?? ""}
      aria-label={props.title}
      onClose={props.onClose}
      onClick={(event) => {
        if (event.target === element.current) props.onClose();
      }}
    >
      <header>
        <h2>{props.title}</h2>
        <button type="button" class="plain" aria-label="Close" onClick={props.onClose}>
          ✕
        </button>
      </header>
      {props.children}
    </dialog>
  );
}

/** Asks for confirmation and a reason. The dialog stays open and shows the error when the action fails. */
export function ConfirmDialog(props: {
  title: string;
  text: string;
  action: string;
  danger?: boolean;
  onConfirm: (reason: string) => Promise<void>;
  onClose: () => void;
}): JSX.Element {
  const [reason, setReason] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await props.onConfirm(reason.trim());
      props.onClose();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure.message);
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose} class="narrow">
      <form onSubmit={(event) => void submit(event)}>
        <p>{props.text}</p>
        <ReasonField reason={reason} onInput={setReason} autoFocus />
        <ErrorText text={error} />
        <div class="buttons">
          <button type="button" onClick={props.onClose}>
            Close
          </button>
          <button type="submit" class={props.danger ? "danger" : "primary"} disabled={busy || reason.trim() === ""}>
            {props.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
