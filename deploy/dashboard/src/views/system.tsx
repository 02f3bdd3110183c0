/** The health of each service, the lag of each dataflow, and the streams of this page. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { marketStream, now, portfolioStream } from "../net/live.ts";
import type { Stream } from "../net/streams.ts";
import type { Alert, ComponentHealth, Health, SuspendedStrategy } from "../net/types.ts";
import { KeyFigures } from "../parts/key-figures.tsx";
import { Panel } from "../parts/panel.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { checkResultText, isFailed, worstFirst, type CheckState, type ProcessState, type SystemState } from "../pure/banner.ts";
import { count, dateTime, duration, money, NO_VALUE, sentenceCase, timeOfDay, withZone } from "../pure/format.ts";
import { sourcePosition } from "../pure/trading-strategies.ts";

interface DataflowRow extends ComponentHealth {
  readonly name: string;
  /** How far its event time is behind the feed, in seconds; null for sources. */
  readonly lag: number | null;
  /** Records written per second since the previous response. */
  readonly rate: number | null;
}

const FEED = "market_data";
/** Sources write when they receive input, so their event time does not follow the feed. */
const SOURCES = new Set(["news", "fundamentals"]);
const LAG_WARN_S = 10;
const RATE_INTERVAL_MIN_MS = 1500;

export function SystemView(): JSX.Element {
  const resource = useResource<Health>("/health", 2000).value;
  const suspended = useResource<readonly SuspendedStrategy[]>("/api/v1/strategies/suspended", 5000).value;
  const alerts = useResource<readonly Alert[]>("/api/v1/alerts?limit=500", 5000).value;
  const system = useResource<SystemState>("/api/v1/system", 5000).value;
  const rates = useRates(resource.data, resource.loadedAt);
  const health = resource.data;
  const services = Object.entries(health?.parts ?? {}).map(([name, part]) => ({ ...part, name }));
  const feedTime = health?.dataflows[FEED]?.last_tick_ns;
  const dataflows: DataflowRow[] = Object.entries(health?.dataflows ?? {}).map(([name, part]) => ({
    ...part,
    name,
    lag: feedTime === undefined || SOURCES.has(name) || !hasEventTime(part) ? null : Math.max(0, (feedTime - (part.last_tick_ns ?? 0)) / 1e9),
    rate: rates.get(name) ?? null,
  }));
  const unhealthy = [...services, ...dataflows].filter((part) => part.status !== "ok").length;
  const deadLetters = dataflows.reduce((sum, dataflow) => sum + (dataflow.dead_letters ?? 0), 0);
  const maxLag = Math.max(0, ...dataflows.map((dataflow) => dataflow.lag ?? 0));
  return (
    <div class="system">
      <KeyFigures
        label="System"
        figures={[
          {
            name: "Platform",
            value: resource.error !== null ? "No response" : health === null ? NO_VALUE : unhealthy === 0 ? "Healthy" : `${unhealthy} unhealthy`,
            tone: resource.error !== null || unhealthy > 0 ? "down" : health === null ? "" : "up",
          },
          { name: "Degraded", value: health === null ? NO_VALUE : health.degraded ? "Yes" : "No", tone: health?.degraded ? "warn" : "", note: health?.degraded_reasons.join("; ") ?? "" },
          { name: "Max lag", value: health === null ? NO_VALUE : duration(maxLag), tone: maxLag > LAG_WARN_S ? "warn" : "", note: "event time behind the feed" },
          { name: "Event time", value: feedTime === undefined ? NO_VALUE : timeOfDay(feedTime / 1e6), note: feedTime === undefined ? "" : withZone(dateTime(feedTime / 1e6).slice(0, 10)) },
          { name: "Dead letters", value: health === null ? NO_VALUE : count(deadLetters), tone: deadLetters > 0 ? "warn" : "", note: "malformed or rejected input" },
          { name: "Throughput", value: `${money([...rates.values()].reduce((sum, rate) => sum + rate, 0), 1)} /s`, note: "records written" },
        ]}
      />
      <Panel title="Open alerts" resource={alerts} class="alerts">
        <Table
          caption="Open alerts, worst first"
          resource={alerts}
          empty="No open alerts"
          rows={alerts.data === null ? null : worstFirst(alerts.data)}
          rowKey={(row) => row.key}
          columns={ALERT_COLUMNS}
        />
      </Panel>
      <Panel title="Checks" resource={system} class="checks">
        <Table
          caption="Scheduled checks and nightly jobs"
          resource={system}
          empty="No checks are scheduled. Set platform.checks."
          rows={system.data?.checks}
          rowKey={(row) => row.name}
          columns={CHECK_COLUMNS}
        />
      </Panel>
      {(suspended.data?.length ?? 0) > 0 && (
        <Panel title="Suspended strategies" resource={suspended} class="suspended">
          <Table
            caption="Table of suspended strategies"
            resource={suspended}
            empty="No suspended strategies"
            rows={suspended.data ?? []}
            rowKey={(row) => row.strategy}
            columns={[
              { title: "Strategy", cell: (row) => row.strategy },
              { title: "Since", numeric: true, cell: (row) => dateTime(row.since), class: "time", drop: 2 },
              { title: "Symbol", cell: (row) => row.symbol, drop: 3 },
              { title: "Error", cell: (row) => `${row.error}: ${row.message}`, class: "text" },
              { title: "File", cell: sourcePosition, drop: 4 },
            ]}
          />
        </Panel>
      )}
      <Panel title="Dataflows" resource={resource} class="dataflows">
        <Table
          caption="Table of dataflows"
          resource={resource}
          empty="No dataflows"
          rows={dataflows}
          rowKey={(row) => row.name}
          columns={[
            { title: "Dataflow", cell: (row) => row.name },
            { title: "Status", cell: (row) => <HealthStatus status={row.status} /> },
            { title: "Lag", numeric: true, cell: (row) => duration(row.lag), tone: (row) => ((row.lag ?? 0) > LAG_WARN_S ? "warn" : ""), drop: 1 },
            { title: "Event time", numeric: true, cell: (row) => dateTime(hasEventTime(row) ? (row.last_tick_ns ?? 0) / 1e6 : null), class: "time", drop: 5 },
            { title: "In", numeric: true, cell: (row) => count(row.records_in), drop: 6 },
            { title: "Out", numeric: true, cell: (row) => count(row.records_out), drop: 6 },
            { title: "Out /s", numeric: true, cell: (row) => money(row.rate, 1), drop: 4 },
            { title: "Dead letters", numeric: true, cell: (row) => count(row.dead_letters), tone: warnIfPositive("dead_letters"), drop: 2 },
            { title: "Late", numeric: true, cell: (row) => count(row.late_records), tone: warnIfPositive("late_records"), drop: 7 },
            { title: "Duplicates", numeric: true, cell: (row) => count(row.duplicates), drop: 8 },
            { title: "Gaps", numeric: true, cell: (row) => count(row.seq_gaps), tone: warnIfPositive("seq_gaps"), drop: 3 },
            { title: "Uptime", numeric: true, cell: (row) => duration(row.started_at === undefined ? null : now.value / 1000 - row.started_at), drop: 9 },
            { title: "Last report", numeric: true, cell: (row) => (row.age_s === undefined ? NO_VALUE : `${duration(row.age_s)} ago`), class: "muted", drop: 4 },
          ]}
        />
      </Panel>
      <Panel title="Processes" resource={system} class="processes">
        <Table
          caption="Processes that the supervisor runs"
          resource={system}
          empty="No supervisor reports processes"
          rows={system.data?.processes}
          rowKey={(row) => row.name}
          columns={PROCESS_COLUMNS}
        />
      </Panel>
      <Panel title="Services" resource={resource} class="services">
        <Table
          caption="Table of services"
          resource={resource}
          empty="No services"
          rows={services}
          rowKey={(row) => row.name}
          columns={[
            { title: "Service", cell: (row) => row.name },
            { title: "Status", cell: (row) => <HealthStatus status={row.status} /> },
            { title: "Response time", numeric: true, cell: (row) => (row.latency_ms === undefined ? NO_VALUE : `${money(row.latency_ms, 1)} ms`) },
          ]}
        />
      </Panel>
      <Panel title="Live streams" class="streams">
        <Table
          caption="Live streams of this page"
          resource={{ data: [], error: null, loadedAt: null }}
          empty="No streams"
          rows={[
            { name: "Market data", stream: marketStream as Stream<never> },
            { name: "Portfolio", stream: portfolioStream as Stream<never> },
          ]}
          rowKey={(row) => row.name}
          columns={[
            { title: "Stream", cell: (row) => row.name },
            { title: "Status", cell: (row) => <HealthStatus status={row.stream.status.value.state === "live" ? "ok" : row.stream.status.value.state} /> },
            { title: "Last message", numeric: true, cell: (row) => timeSince(row.stream.status.value.lastMessageAt) },
          ]}
        />
      </Panel>
    </div>
  );
}

const ALERT_COLUMNS: readonly Column<Alert>[] = [
  { title: "Severity", cell: (row) => <b class={`badge ${row.severity === "critical" ? "bad" : "warn"}`}>{row.severity}</b> },
  { title: "Alert", cell: (row) => sentenceCase(row.name), drop: 3 },
  { title: "Summary", cell: (row) => row.summary, class: "text" },
  { title: "Since", numeric: true, cell: (row) => dateTime(row.opened_at), class: "muted time", drop: 1 },
  { title: "Messages", numeric: true, cell: (row) => messagesText(row), tone: (row) => (row.messages_waiting > 0 ? "warn" : ""), drop: 4 },
];

function messagesText(alert: Alert): string {
  return alert.messages_waiting === 0 ? `${count(alert.messages_sent)} sent` : `${count(alert.messages_waiting)} waiting`;
}

const CHECK_COLUMNS: readonly Column<CheckState>[] = [
  { title: "Name", cell: (row) => row.name },
  { title: "Result", cell: (row) => <CheckResult check={row} />, class: "text" },
  { title: "Last run", numeric: true, cell: (row) => dateTime(row.finished_at), class: "muted time", drop: 2 },
  { title: "Counts", cell: (row) => Object.entries(row.counts).filter(([name]) => name !== "findings").map(([name, value]) => `${count(value)} ${name}`).join(", ") || NO_VALUE, drop: 3 },
  { title: "Duration", numeric: true, cell: (row) => duration(row.duration_s), drop: 4 },
];

function CheckResult(props: { check: CheckState }): JSX.Element {
  const { check } = props;
  const tone = isFailed(check) ? "bad" : check.overdue_s > 0 ? "warn" : check.result === "passed" ? "good" : "";
  return (
    <>
      <b class={`badge ${tone}`}>{isFailed(check) ? "failed" : check.overdue_s > 0 ? "overdue" : check.result === "passed" ? "passed" : "waiting"}</b>{" "}
      {check.result !== "passed" && <span class="reason">{checkResultText(check)}</span>}
      {check.overdue_s > 0 && <span class="reason warn"> It should have finished {duration(check.overdue_s)} ago.</span>}
    </>
  );
}

const PROCESS_COLUMNS: readonly Column<ProcessState>[] = [
  { title: "Process", cell: (row) => row.name },
  {
    title: "Status",
    cell: (row) => (
      <>
        <b class={`badge ${row.status === "healthy" ? "good" : row.crash_loop || row.status === "unhealthy" ? "bad" : "warn"}`}>{row.crash_loop ? "crash loop" : row.status}</b>
        {row.status !== "healthy" && row.reason !== null && <span class="reason"> {row.reason}</span>}
      </>
    ),
    class: "text",
  },
  { title: "Restarts", numeric: true, cell: (row) => count(row.restarts), tone: (row) => (row.restarts > 0 ? "warn" : "") },
];

/** False for a dataflow that has not processed any record yet. */
function hasEventTime(part: ComponentHealth): boolean {
  return (part.last_tick_ns ?? 0) > 0;
}

function timeSince(time: number | null): string {
  return time === null ? NO_VALUE : `${duration(Math.max(0, now.value - time) / 1000)} ago`;
}

function warnIfPositive(field: "dead_letters" | "late_records" | "seq_gaps"): (row: DataflowRow) => string {
  return (row) => ((row[field] ?? 0) > 0 ? "warn" : "");
}

function HealthStatus(props: { status: string }): JSX.Element {
  const healthy = props.status === "ok";
  return (
    <>
      <b class={`badge ${healthy ? "good" : "bad"}`}>{healthy ? "healthy" : "unhealthy"}</b>
      {!healthy && <span class="reason bad"> {props.status}</span>}
    </>
  );
}

/** Records written per second by each dataflow, from two successive responses. */
function useRates(health: Health | null, loadedAt: number | null): ReadonlyMap<string, number> {
  const previous = useRef<{ loadedAt: number; counts: Map<string, number> } | null>(null);
  const [rates, setRates] = useState<ReadonlyMap<string, number>>(new Map());
  useEffect(() => {
    if (health === null || loadedAt === null) return;
    const counts = new Map(Object.entries(health.dataflows).map(([name, part]) => [name, part.records_out ?? 0]));
    const last = previous.current;
    if (last !== null && loadedAt - last.loadedAt < RATE_INTERVAL_MIN_MS) return;
    previous.current = { loadedAt, counts };
    if (last === null) return;
    const seconds = (loadedAt - last.loadedAt) / 1000;
    // A restart resets the counts, hence the minimum of 0.
    setRates(new Map([...counts].map(([name, value]) => [name, Math.max(0, value - (last.counts.get(name) ?? value)) / seconds])));
  }, [health, loadedAt]);
  return rates;
}
