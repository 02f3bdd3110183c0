/** Input fields of the order form, each with its label and validation error. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import type { FieldError, OrderDraft } from "../pure/order-ticket.ts";

/** The state of the order form that its fields share. */
export interface OrderForm {
  readonly draft: OrderDraft;
  readonly fieldError: FieldError | null;
  readonly onChange: (change: Partial<OrderDraft>) => void;
}

/** The draft's text fields. */
export type TextFieldName = { [K in keyof OrderDraft]: OrderDraft[K] extends string ? K : never }[keyof OrderDraft];

export function TextField(props: {
  form: OrderForm;
  field: TextFieldName;
  label: string;
  name: string;
  /** Shows a numeric keyboard on touch screens. */
  numeric?: boolean;
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
        inputMode={props.numeric === true ? "decimal" : "text"}
        list={props.list}
        value={form.draft[field]}
        aria-invalid={form.fieldError?.field === field}
        onInput={(event) => form.onChange({ [field]: event.currentTarget.value })}
      />
      <FieldErrorText form={form} field={field} />
    </label>
  );
}

export function SelectField(props: {
  form: OrderForm;
  field: TextFieldName;
  label: string;
  name: string;
  /** Pairs of value and label. */
  options: readonly (readonly [string, string])[];
}): JSX.Element {
  const { form, field } = props;
  return (
    <label>
      {props.label}
      <select name={props.name} value={form.draft[field]} onChange={(event) => form.onChange({ [field]: event.currentTarget.value })}>
        {props.options.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

function FieldErrorText(props: { form: OrderForm; field: TextFieldName }): JSX.Element | null {
  const { fieldError } = props.form;
  if (fieldError?.field !== props.field) return null;
  return (
    <span class="error" role="alert">
      {fieldError.message}
    </span>
  );
}

/** A group of rarely used fields. It is collapsed at first, and stays open while one of its fields has a value. */
export function OptionalFields(props: { title: string; hasValue: boolean; children: () => JSX.Element }): JSX.Element {
  const [open, setOpen] = useState(false);
  const visible = open || props.hasValue;
  return (
    <details class="optional-fields" open={visible} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{props.title}</summary>
      {visible && props.children()}
    </details>
  );
}
