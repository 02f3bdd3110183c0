/** The parts that forms have in common: the reason of a command, and the error of the API. */
import type { JSX } from "preact";

/** The reason of a command. */
export function ReasonField(props: { reason: string; onInput: (reason: string) => void; autoFocus?: boolean }): JSX.Element {
  return (
    <label>
      Reason
      <input
        required
        autoFocus={props.autoFocus === true}
        name="reason"
        maxLength={200}
        value={props.reason}
        onInput={(event) => props.onInput(event.currentTarget.value)}
        placeholder="Recorded in the audit log with your name"
      />
    </label>
  );
}

/** An error of a form. Nothing is shown for "". */
export function ErrorText(props: { text: string }): JSX.Element | null {
  if (props.text === "") return null;
  return (
    <p class="error" role="alert">
      {props.text}
    </p>
  );
}
