/** A table with right-aligned numbers and a caption for screen readers. */
import type { ComponentChildren, JSX } from "preact";

import type { ResourceState } from "../net/api.ts";
import { EmptyState } from "./panel.tsx";

export interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => ComponentChildren;
  /** Aligns the column to the right. */
  readonly numeric?: boolean;
  /** CSS class of a row's colour: "up", "down", "warn" or "". */
  readonly tone?: (row: T) => string;
  readonly class?: string;
}

export function Table<T>(props: {
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[] | null | undefined;
  rowKey: (row: T) => string;
  resource: ResourceState<unknown>;
  /** Text shown when there are no rows. */
  empty: string;
  selected?: string | null;
  /** The row of totals. */
  total?: T | null;
}): JSX.Element {
  const { columns, rows, total } = props;
  const cells = (row: T): JSX.Element[] =>
    columns.map((column) => (
      <td key={column.title} class={`${column.numeric ? "number" : ""} ${column.tone?.(row) ?? ""} ${column.class ?? ""}`}>
        {column.cell(row)}
      </td>
    ));
  if (rows == null || rows.length === 0) return <EmptyState resource={props.resource} text={props.empty} />;
  return (
    // Focusable, so that the keyboard can scroll it.
    <div class="scroll" tabIndex={0} role="region" aria-label={props.caption}>
      <table>
        <caption class="visually-hidden">{props.caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" class={column.numeric ? "number" : ""}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={props.rowKey(row)} class={props.rowKey(row) === props.selected ? "selected" : ""}>
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
