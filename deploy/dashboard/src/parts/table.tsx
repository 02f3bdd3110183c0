/** A table that fits its width: columns that do not fit move into a row of details that the user opens. */
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

import type { ResourceState } from "../net/api.ts";
import { hiddenColumns } from "../pure/columns.ts";
import { EmptyState } from "./panel.tsx";

export interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => ComponentChildren;
  /** Aligns the column to the right. */
  readonly numeric?: boolean;
  /** CSS class of a row's colour: "up", "down", "warn" or "". */
  readonly tone?: (row: T) => string;
  readonly class?: string;
  /** Where the table is too narrow, the columns with the highest `drop` move into the details first. Without it, a column always shows. */
  readonly drop?: number;
}

export interface TableProps<T> {
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
}

export function Table<T>(props: TableProps<T>): JSX.Element {
  const { rows } = props;
  if (rows == null || rows.length === 0) return <EmptyState resource={props.resource} text={props.empty} />;
  return <FilledTable {...props} rows={rows} />;
}

function FilledTable<T>(props: TableProps<T> & { rows: readonly T[] }): JSX.Element {
  const { columns, rows, total, rowKey } = props;
  const region = useRef<HTMLDivElement>(null);
  const dropped = useDroppedCount(region, columns.filter((column) => column.drop !== undefined).length);
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const hidden = hiddenColumns(columns, dropped);
  const shown = columns.filter((column) => !hidden.has(column));
  const details = columns.filter((column) => hidden.has(column));
  const toggle = (key: string): void => {
    const changed = new Set(opened);
    if (!changed.delete(key)) changed.add(key);
    setOpened(changed);
  };
  const cells = (row: T): JSX.Element[] =>
    shown.map((column) => (
      <td key={column.title} class={cellClass(column, row)}>
        {cellContent(column, row)}
      </td>
    ));
  return (
    // Focusable, so that the keyboard can scroll it.
    <div ref={region} class="scroll" tabIndex={0} role="region" aria-label={props.caption} data-columns-dropped={dropped}>
      <table>
        <caption class="visually-hidden">{props.caption}</caption>
        <thead>
          <tr>
            {details.length > 0 && (
              <th scope="col" class="expander">
                <span class="visually-hidden">Details</span>
              </th>
            )}
            {shown.map((column) => (
              <th key={column.title} scope="col" class={column.numeric || column.class === "actions" ? "number" : ""}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.flatMap((row) => {
            const key = rowKey(row);
            const isOpen = details.length > 0 && opened.has(key);
            return [
              <tr key={key} class={key === props.selected ? "selected" : ""} data-row={key}>
                {details.length > 0 && (
                  <td class="expander">
                    <button type="button" class="plain" aria-expanded={isOpen} aria-label={`Details of ${key}`} onClick={() => toggle(key)}>
                      <span aria-hidden="true">{isOpen ? "▾" : "▸"}</span>
                    </button>
                  </td>
                )}
                {cells(row)}
              </tr>,
              isOpen && <DetailsRow key={`${key} details`} row={row} columns={details} span={shown.length + 1} />,
            ];
          })}
        </tbody>
        {total != null && (
          <tfoot>
            <tr>
              {details.length > 0 && <td class="expander" />}
              {cells(total)}
            </tr>
          </tfoot>
        )}
      </table>
    </div>
  );
}

/** The columns that have no place in the table, as a list of names and values. */
function DetailsRow<T>(props: { row: T; columns: readonly Column<T>[]; span: number }): JSX.Element {
  return (
    <tr class="details">
      <td colSpan={props.span}>
        <dl>
          {props.columns.map((column) => (
            <div key={column.title}>
              <dt>{column.title}</dt>
              <dd class={`${column.tone?.(props.row) ?? ""} ${column.class ?? ""}`}>{column.cell(props.row)}</dd>
            </div>
          ))}
        </dl>
      </td>
    </tr>
  );
}

/** In a column of times, a date and its time of day may stand on two lines. A date itself does not break at its hyphens. */
function cellContent<T>(column: Column<T>, row: T): ComponentChildren {
  const content = column.cell(row);
  if (typeof content !== "string" || column.class?.split(" ").includes("time") !== true) return content;
  return content.split(" ").map((part, index) => (
    <>
      {index > 0 && " "}
      <span class="no-break">{part}</span>
    </>
  ));
}

function cellClass<T>(column: Column<T>, row: T): string {
  return `${column.numeric ? "number" : ""} ${column.tone?.(row) ?? ""} ${column.class ?? ""}`;
}

/** How many columns must be dropped so that the table fits its region, `most` at most. A new width is measured anew. */
function useDroppedCount(region: { current: HTMLDivElement | null }, most: number): number {
  const [fit, setFit] = useState({ width: 0, dropped: 0 });
  // Runs after each render and before the next paint, because new rows can be wider than the earlier ones.
  useLayoutEffect(() => {
    const element = region.current;
    if (element !== null && element.scrollWidth > element.clientWidth && fit.dropped < most) {
      setFit({ ...fit, dropped: fit.dropped + 1 });
    }
  });
  useLayoutEffect(() => {
    const element = region.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => {
      // The outer width: a vertical scroll bar must not start a new measurement.
      const width = element.offsetWidth;
      setFit((current) => (current.width === width ? current : { width, dropped: 0 }));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return fit.dropped;
}
