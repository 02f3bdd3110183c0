/** A link to a strategy in the view Strategies. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";

/** The strategy that the view Strategies shows; null for the first one. */
export const selectedStrategy = signal<string | null>(null);

export function StrategyLink(props: { name: string }): JSX.Element {
  return (
    <a href="#/strategies" title={`Show the strategy ${props.name}`} onClick={() => (selectedStrategy.value = props.name)}>
      {props.name}
    </a>
  );
}
