/** Connection, alert and health warnings above every view. */
import type { JSX } from "preact";

import { useResource } from "../net/api.ts";
import { marketStream, now, portfolioStream } from "../net/live.ts";
import type { Alert, Health } from "../net/types.ts";
import { warnings, type SystemState } from "../pure/banner.ts";
import { timeOfDay, withZone } from "../pure/format.ts";

export function Banner(): JSX.Element {
  const health = useResource<Health>("/health", 5000).value;
  const alerts = useResource<readonly Alert[]>("/api/v1/alerts?limit=500", 5000).value;
  const system = useResource<SystemState>("/api/v1/system", 5000).value;
  const statuses = [marketStream, portfolioStream].map((stream) => stream.status.value);
  const disconnected = statuses.filter((status) => status.state === "disconnected");
  const isStale = statuses.some((status) => status.state === "stale") && system.data?.feed.state !== "finished";
  const first = disconnected[0];
  const retryIn = first?.retryAt == null ? 0 : Math.max(0, Math.ceil((first.retryAt - now.value) / 1000));
  const lastMessageAt = disconnected.map((status) => status.lastMessageAt).find((time) => time !== null) ?? null;
  return (
    <div class="warnings" role="status">
      {first !== undefined && (
        <p class="bad" id="connection-lost">
          Connection lost{first.reason === "" ? "" : `: ${first.reason.replace(/\.$/, "")}`}.{" "}
          {lastMessageAt !== null && `Data as of ${withZone(timeOfDay(lastMessageAt))}. `}
          {retryIn > 0 ? `Reconnecting in ${retryIn} s.` : "Reconnecting…"}
        </p>
      )}
      {warnings(alerts.data ?? [], system.data).map((line) => (
        <p key={line.id} class={line.tone} id={line.id}>
          {line.text} <a href="#/system">System</a>
        </p>
      ))}
      {isStale && <p class="warn">Connected, but no updates are arriving. The data may be stale.</p>}
      {health.data?.degraded && <p class="warn">Degraded: {health.data.degraded_reasons.join("; ")}</p>}
    </div>
  );
}
