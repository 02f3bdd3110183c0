/** Tables of figures: a caption for screen readers, numbers to the right in digits of one width. */
import type { ComponentChildren, JSX } from "preact";

import type { Known } from "../net/api.ts";
import { Nothing } from "./panel.tsx";

export interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => ComponentChildren;
  /** Numbers stand to the right. */
  readonly number?: boolean;
  /** "up", "down" or "" for a colour. */
  readonly tone?: (row: T) => string;
  readonly class?: string;
}

export function Table<T>(props: {
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[] | null | undefined;
  rowKey: (row: T) => string;
  known: Known<unknown>;
  empty: string;
  chosen?: string | null;
  /** A last row, of all. */
  total?: T | null;
}): JSX.Element {
  const { columns, rows, total } = props;
  const cells = (row: T): JSX.Element[] =>
    columns.map((column) => (
      <td key={column.title} class={`${column.number ? "number" : ""} ${column.tone?.(row) ?? ""} ${column.class ?? ""}`}>
        {column.cell(row)}
      </td>
    ));
  if (rows == null || rows.length === 0) return <Nothing known={props.known} empty={props.empty} />;
  return (
    // Focusable: what scrolls must be reachable without a mouse.
    <div class="scroll" tabIndex={0} role="region" aria-label={props.caption}>
      <table>
        <caption class="unseen">{props.caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" class={column.number ? "number" : ""}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={props.rowKey(row)} class={props.rowKey(row) === props.chosen ? "chosen" : ""}>
              {cells(row)}
            </tr>
          ))}
        </tbody>
        {total != null && (
          <tfoot>
            <tr>{cells(total)}</tr>
          </tfoot>
        )}
      </table>
    </div>
  );
}
