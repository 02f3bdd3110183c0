/** A row of the figures that matter most. */
import type { ComponentChildren, JSX } from "preact";

export interface Figure {
  readonly name: string;
  readonly value: ComponentChildren;
  readonly tone?: string;
  readonly note?: ComponentChildren;
}

export function Figures(props: { label: string; figures: readonly Figure[] }): JSX.Element {
  return (
    <dl class="figures" aria-label={props.label}>
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
