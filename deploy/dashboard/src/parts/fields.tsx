/** The fields of the order form: a label, a control, and the sentence where it is wrong. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import type { Draft, Mistake } from "../pure/tickets.ts";

/** What every field of the form needs: what was typed, what is wrong with it, and who is told of a change. */
export interface Form {
  readonly draft: Draft;
  readonly mistake: Mistake | null;
  readonly change: (part: Partial<Draft>) => void;
}

/** The fields of a draft that are typed as text. */
export type TextField = { [K in keyof Draft]: Draft[K] extends string ? K : never }[keyof Draft];

export function Text(props: {
  form: Form;
  field: TextField;
  label: string;
  name: string;
  /** A number is asked for. */
  amount?: boolean;
  type?: "text" | "datetime-local";
  list?: string;
}): JSX.Element {
  const { form, field } = props;
  return (
    <label>
      {props.label}
      <input
        name={props.name}
        type={props.type ?? "text"}
        autoComplete="off"
        inputMode={props.amount === true ? "decimal" : "text"}
        list={props.list}
        value={form.draft[field]}
        aria-invalid={form.mistake?.field === field}
        onInput={(event) => form.change({ [field]: event.currentTarget.value })}
      />
      <Wrong form={form} field={field} />
    </label>
  );
}

export function Choice(props: {
  form: Form;
  field: TextField;
  label: string;
  name: string;
  options: readonly (readonly [string, string])[];
}): JSX.Element {
  const { form, field } = props;
  return (
    <label>
      {props.label}
      <select name={props.name} value={form.draft[field]} onChange={(event) => form.change({ [field]: event.currentTarget.value })}>
        {props.options.map(([value, words]) => (
          <option key={value} value={value}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}

function Wrong(props: { form: Form; field: TextField }): JSX.Element | null {
  const { mistake } = props.form;
  if (mistake?.field !== props.field) return null;
  return (
    <span class="failing" role="alert">
      {mistake.message}
    </span>
  );
}

/** Terms that most orders do without: made only while they are shown. What is set stays in sight. */
export function More(props: { title: string; set: boolean; children: () => JSX.Element }): JSX.Element {
  const [open, setOpen] = useState(false);
  const shown = open || props.set;
  return (
    <details class="more" open={shown} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{props.title}</summary>
      {shown && props.children()}
    </details>
  );
}
