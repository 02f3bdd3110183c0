/** Explains an order, execution or rejection: its causes back to the bars, and what resulted from it. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";

import { useResource } from "../net/api.ts";
import type { OrderDetail } from "../net/types.ts";
import { dateTime, withZone } from "../pure/format.ts";
import { formatFields, formatValue, nodeSummary, nodeTitle, type LineageNode } from "../pure/lineage.ts";
import { Dialog } from "./dialog.tsx";
import { OrderStatus } from "./order-actions.tsx";
import { EmptyState } from "./panel.tsx";

interface Lineage {
  outcome: string;
  root: LineageNode;
  consequences: LineageNode[];
  note: string;
}

/** The id of the record shown in the dialog. */
const selectedId = signal<string | null>(null);

export function ExplainButton(props: { id: string }): JSX.Element {
  return (
    <button
      type="button"
      class="small"
      title="Show the signals, features and bars behind this record"
      aria-label={`Explain ${props.id}`}
      onClick={() => (selectedId.value = props.id)}
    >
      Explain
    </button>
  );
}

/** The dialog that the Explain buttons open. */
export function LineageDialog(): JSX.Element | null {
  const id = selectedId.value;
  return id === null ? null : <LineageView key={id} id={id} />;
}

function LineageView(props: { id: string }): JSX.Element {
  const resource = useResource<Lineage>(`/api/v1/lineage/${encodeURIComponent(props.id)}`).value;
  const lineage = resource.data;
  return (
    <Dialog title={`Explanation of ${props.id}`} onClose={() => (selectedId.value = null)} class="wide lineage">
      {lineage === null ? (
        resource.error === null ? <EmptyState resource={resource} text="" /> : <p class="empty-state error">{resource.error}</p>
      ) : (
        <>
          <p class="outcome">{lineage.outcome}</p>
          {props.id.startsWith("ord-") && <OrderState id={props.id} />}
          <h3>Causes</h3>
          <ul class="tree">
            <TreeNode node={lineage.root} />
          </ul>
          {lineage.consequences.length > 0 && (
            <>
              <h3>Results</h3>
              <ul class="tree">
                {lineage.consequences.map((node) => (
                  <TreeNode key={node.id} node={node} />
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

/** The current status of an order, and what it waits for. */
function OrderState(props: { id: string }): JSX.Element | null {
  const order = useResource<OrderDetail>(`/api/v1/orders/${encodeURIComponent(props.id)}`, 2000).value.data;
  return order === null ? null : (
    <p>
      <OrderStatus order={order} />
    </p>
  );
}

function TreeNode(props: { node: LineageNode }): JSX.Element {
  const { node } = props;
  return (
    <li>
      <details>
        <summary>
          <b>{nodeTitle(node)}</b> <code>{node.id}</code>
          <span>{nodeSummary(node)}</span>
        </summary>
        <dl>
          {node.timestamp !== null && <RecordField name="time" value={withZone(dateTime(node.timestamp))} />}
          {node.place !== null && (
            <RecordField
              name="log position"
              value={`${node.place.topic}, partition ${node.place.partition}, offset ${node.place.offset}`}
            />
          )}
          {Object.entries(node.record ?? {}).map(([name, value]) => (
            <RecordField key={name} name={name} value={value} />
          ))}
        </dl>
      </details>
      {node.causes.length > 0 && (
        <ul>
          {node.causes.map((cause) => (
            <TreeNode key={cause.id} node={cause} />
          ))}
        </ul>
      )}
    </li>
  );
}

function RecordField(props: { name: string; value: unknown }): JSX.Element | null {
  const { value } = props;
  if (value === null || value === "" || props.name === "ts_ns") return null;
  const lines = Array.isArray(value)
    ? value.map((item) => (typeof item === "object" ? formatFields(item) : formatValue(item)))
    : [typeof value === "object" ? formatFields(value) : formatValue(value)];
  if (lines.length === 0) return null;
  return (
    <div>
      <dt>{props.name}</dt>
      {lines.map((line) => (
        <dd key={line}>{line}</dd>
      ))}
    </div>
  );
}
