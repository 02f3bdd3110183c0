/** A titled panel. Its header shows an error when its data could not be refreshed. */
import type { ComponentChildren, JSX } from "preact";

import type { ResourceState } from "../net/api.ts";
import { timeOfDay, withZone } from "../pure/format.ts";

export function Panel(props: {
  title: string;
  children: ComponentChildren;
  resource?: ResourceState<unknown>;
  /** Controls at the right of the header. */
  actions?: ComponentChildren;
  class?: string;
}): JSX.Element {
  const { resource } = props;
  return (
    <section class={`panel ${props.class ?? ""}`} aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        {resource?.error != null && (
          <span class="error" role="status">
            {resource.error}
            {resource.loadedAt !== null && ` Data as of ${withZone(timeOfDay(resource.loadedAt))}.`}
          </span>
        )}
        {props.actions !== undefined && <div class="panel-actions">{props.actions}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** Shown in a panel without content: `text` when the data is empty, else the loading state. */
export function EmptyState(props: { resource: ResourceState<unknown>; text: string }): JSX.Element {
  if (props.resource.data !== null) return <p class="empty-state">{props.text}</p>;
  if (props.resource.error !== null) return <p class="empty-state error">Loading failed. Retrying automatically.</p>;
  return (
    <p class="empty-state" role="status">
      Loading…
    </p>
  );
}
