/** Why an order exists or was refused: its lineage, from what came of it back to the bars. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";

import { useResource } from "../net/api.ts";
import { stamp } from "../pure/format.ts";
import { pairs, plain, summary, title, type LineageNode } from "../pure/lineage.ts";
import { Dialog } from "./dialog.tsx";
import { Nothing } from "./panel.tsx";

interface Lineage {
  outcome: string;
  root: LineageNode;
  consequences: LineageNode[];
  note: string;
}

/** The record that is being explained. */
export const asked = signal<string | null>(null);

export function WhyButton(props: { id: string }): JSX.Element {
  return (
    <button type="button" class="small" aria-label={`Why ${props.id}`} onClick={() => (asked.value = props.id)}>
      Why
    </button>
  );
}

export function Why(): JSX.Element | null {
  const id = asked.value;
  return id === null ? null : <Explained key={id} id={id} />;
}

function Explained(props: { id: string }): JSX.Element {
  const known = useResource<Lineage>(`/api/v1/lineage/${encodeURIComponent(props.id)}`).value;
  const lineage = known.data;
  return (
    <Dialog title={`Why ${props.id}`} close={() => (asked.value = null)} class="wide why">
      {lineage === null ? (
        known.error === null ? <Nothing known={known} empty="" /> : <p class="nothing failing">{known.error}</p>
      ) : (
        <>
          <p class="outcome">{lineage.outcome}</p>
          <h3>What it was made from</h3>
          <ul class="tree">
            <Branch node={lineage.root} />
          </ul>
          {lineage.consequences.length > 0 && (
            <>
              <h3>What came of it</h3>
              <ul class="tree">
                {lineage.consequences.map((node) => (
                  <Branch key={node.id} node={node} />
                ))}
              </ul>
            </>
          )}
          {lineage.note !== "" && <p class="note">{lineage.note}</p>}
        </>
      )}
    </Dialog>
  );
}

function Branch(props: { node: LineageNode }): JSX.Element {
  const { node } = props;
  return (
    <li>
      <details>
        <summary>
          <b>{title(node)}</b> <code>{node.id}</code>
          <span>{summary(node)}</span>
        </summary>
        <dl>
          {node.timestamp !== null && <Field name="time (UTC)" value={stamp(node.timestamp)} />}
          {node.place !== null && (
            <Field
              name="place in the log"
              value={`${node.place.topic}, partition ${node.place.partition}, offset ${node.place.offset}`}
            />
          )}
          {Object.entries(node.record ?? {}).map(([name, value]) => (
            <Field key={name} name={name} value={value} />
          ))}
        </dl>
      </details>
      {node.causes.length > 0 && (
        <ul>
          {node.causes.map((cause) => (
            <Branch key={cause.id} node={cause} />
          ))}
        </ul>
      )}
    </li>
  );
}

function Field(props: { name: string; value: unknown }): JSX.Element | null {
  const { value } = props;
  if (value === null || value === "" || props.name === "ts_ns") return null;
  const shown = Array.isArray(value)
    ? value.map((one) => (typeof one === "object" ? pairs(one) : plain(one)))
    : [typeof value === "object" ? pairs(value) : plain(value)];
  if (shown.length === 0) return null;
  return (
    <div>
      <dt>{props.name}</dt>
      {shown.map((line) => (
        <dd key={line}>{line}</dd>
      ))}
    </div>
  );
}
