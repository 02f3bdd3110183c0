/** A titled box with the state of what it shows: loading, empty, failed, or old. */
import type { ComponentChildren, JSX } from "preact";

import type { Known } from "../net/api.ts";
import { clock } from "../pure/format.ts";

export function Panel(props: {
  title: string;
  children: ComponentChildren;
  known?: Known<unknown>;
  aside?: ComponentChildren;
  class?: string;
}): JSX.Element {
  const { known } = props;
  return (
    <section class={`panel ${props.class ?? ""}`} aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        {known?.error != null && (
          <span class="failing" role="status">
            {known.error}
            {known.at !== null && ` Shown as of ${clock(known.at)} UTC.`}
          </span>
        )}
        {props.aside !== undefined && <div class="aside">{props.aside}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** What stands in a panel before there is anything to show. */
export function Nothing(props: { known: Known<unknown>; empty: string }): JSX.Element {
  if (props.known.data !== null) return <p class="nothing">{props.empty}</p>;
  if (props.known.error !== null) return <p class="nothing failing">Nothing could be loaded yet. It is tried again by itself.</p>;
  return (
    <p class="nothing" role="status">
      Loading…
    </p>
  );
}
