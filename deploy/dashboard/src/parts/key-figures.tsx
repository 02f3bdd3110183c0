/** The row of key figures at the top of a view. */
import type { ComponentChildren, JSX } from "preact";

export interface KeyFigure {
  readonly name: string;
  readonly value: ComponentChildren;
  readonly tone?: string;
  readonly note?: ComponentChildren;
}

export function KeyFigures(props: { label: string; figures: readonly KeyFigure[] }): JSX.Element {
  return (
    <dl class="key-figures" aria-label={props.label}>
      {props.figures.map((figure) => (
        <div key={figure.name}>
          <dt>{figure.name}</dt>
          <dd class={figure.tone ?? ""}>{figure.value}</dd>
          {figure.note !== undefined && <dd class="note">{figure.note}</dd>}
        </div>
      ))}
    </dl>
  );
}
