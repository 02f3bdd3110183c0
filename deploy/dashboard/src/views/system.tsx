/** Whether the platform works: each service by a real question, and how far behind each dataflow is. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { market, now, portfolio } from "../net/live.ts";
import type { Stream } from "../net/streams.ts";
import type { Health, Part } from "../net/types.ts";
import { Figures } from "../parts/figures.tsx";
import { Panel } from "../parts/panel.tsx";
import { Table } from "../parts/table.tsx";
import { count, money, span, stamp } from "../pure/format.ts";

interface Row extends Part {
  readonly name: string;
  /** Seconds of event time behind the feed. */
  readonly lag: number | null;
  /** Records out a second, since the last answer. */
  readonly rate: number | null;
}

const FEED = "market_data";

export function SystemView(): JSX.Element {
  const known = useResource<Health>("/health", 2000).value;
  const rates = useRates(known.data, known.at);
  const health = known.data;
  const parts = Object.entries(health?.parts ?? {}).map(([name, part]) => ({ ...part, name }));
  const feed = health?.dataflows[FEED]?.last_tick_ns;
  const flows: Row[] = Object.entries(health?.dataflows ?? {}).map(([name, part]) => ({
    ...part,
    name,
    lag: feed === undefined || !keepsTime(part) ? null : Math.max(0, (feed - (part.last_tick_ns ?? 0)) / 1e9),
    rate: rates.get(name) ?? null,
  }));
  const ill = [...parts, ...flows].filter((part) => part.status !== "ok").length;
  const lost = flows.reduce((sum, flow) => sum + (flow.dead_letters ?? 0), 0);
  const lag = Math.max(0, ...flows.map((flow) => flow.lag ?? 0));
  return (
    <div class="system">
      <Figures
        label="System"
        figures={[
          {
            name: "Platform",
            value: known.error !== null ? "no answer" : health === null ? "–" : ill === 0 ? "all healthy" : `${ill} failing`,
            tone: known.error !== null || ill > 0 ? "down" : health === null ? "" : "up",
          },
          { name: "Degraded", value: health === null ? "–" : health.degraded ? "yes" : "no", tone: health?.degraded ? "warn" : "", note: health?.degraded_reasons.join("; ") ?? "" },
          { name: "Largest lag", value: span(lag), tone: lag > 10 ? "warn" : "", note: "of event time, behind the feed" },
          { name: "Event time", value: feed === undefined ? "–" : stamp(feed / 1e6).slice(11), note: feed === undefined ? "" : `${stamp(feed / 1e6).slice(0, 10)} UTC` },
          { name: "Dead letters", value: count(lost), tone: lost > 0 ? "warn" : "" },
          { name: "Records out", value: `${money([...rates.values()].reduce((sum, rate) => sum + rate, 0), 1)} /s` },
        ]}
      />
      <Panel title="Dataflows" known={known} class="flows">
        <Table
          caption="Dataflows"
          known={known}
          empty="No dataflow owns a topic."
          rows={flows}
          rowKey={(one) => one.name}
          columns={[
            { title: "Dataflow", cell: (one) => one.name },
            { title: "Status", cell: (one) => <Standing status={one.status} /> },
            { title: "Lag", number: true, cell: (one) => span(one.lag), tone: (one) => ((one.lag ?? 0) > 10 ? "warn" : "") },
            { title: "Clock (UTC)", number: true, cell: (one) => stamp(keepsTime(one) ? (one.last_tick_ns ?? 0) / 1e6 : null) },
            { title: "In", number: true, cell: (one) => count(one.records_in) },
            { title: "Out", number: true, cell: (one) => count(one.records_out) },
            { title: "Out /s", number: true, cell: (one) => money(one.rate, 1) },
            { title: "Dead", number: true, cell: (one) => count(one.dead_letters), tone: bad("dead_letters") },
            { title: "Late", number: true, cell: (one) => count(one.late_records), tone: bad("late_records") },
            { title: "Repeats", number: true, cell: (one) => count(one.duplicates) },
            { title: "Gaps", number: true, cell: (one) => count(one.seq_gaps), tone: bad("seq_gaps") },
            { title: "Up", number: true, cell: (one) => span(one.started_at === undefined ? null : now.value / 1000 - one.started_at) },
            { title: "Reported", number: true, cell: (one) => (one.age_s === undefined ? "–" : `${span(one.age_s)} ago`), class: "muted" },
          ]}
        />
      </Panel>
      <Panel title="Services" known={known} class="services">
        <Table
          caption="Services"
          known={known}
          empty=""
          rows={parts}
          rowKey={(one) => one.name}
          columns={[
            { title: "Service", cell: (one) => one.name },
            { title: "Status", cell: (one) => <Standing status={one.status} /> },
            { title: "Answered in", number: true, cell: (one) => (one.latency_ms === undefined ? "–" : `${money(one.latency_ms, 1)} ms`) },
          ]}
        />
      </Panel>
      <Panel title="This screen" class="streams">
        <Table
          caption="Streams of this screen"
          known={{ data: [], error: null, at: null }}
          empty=""
          rows={[
            { name: "market stream", stream: market as Stream<never> },
            { name: "portfolio stream", stream: portfolio as Stream<never> },
          ]}
          rowKey={(one) => one.name}
          columns={[
            { title: "Stream", cell: (one) => one.name },
            { title: "State", cell: (one) => <Standing status={one.stream.standing.value.state === "live" ? "ok" : one.stream.standing.value.state} /> },
            { title: "Last message", number: true, cell: (one) => ago(one.stream.standing.value.at) },
          ]}
        />
      </Panel>
    </div>
  );
}

/** An edge that only writes (news, for instance) has no clock that it could have come to. */
function keepsTime(part: Part): boolean {
  return (part.last_tick_ns ?? 0) > 0;
}

function ago(at: number | null): string {
  return at === null ? "–" : `${span(Math.max(0, now.value - at) / 1000)} ago`;
}

function bad(name: "dead_letters" | "late_records" | "seq_gaps"): (row: Row) => string {
  return (row) => ((row[name] ?? 0) > 0 ? "warn" : "");
}

function Standing(props: { status: string }): JSX.Element {
  const ok = props.status === "ok";
  return (
    <>
      <b class={`badge ${ok ? "good" : "bad"}`}>{ok ? "healthy" : "failing"}</b>
      {!ok && <span class="reason"> {props.status}</span>}
    </>
  );
}

/** Records out a second of each dataflow, from two answers that lie apart. */
function useRates(health: Health | null, at: number | null): ReadonlyMap<string, number> {
  const before = useRef<{ at: number; out: Map<string, number> } | null>(null);
  const [rates, setRates] = useState<ReadonlyMap<string, number>>(new Map());
  useEffect(() => {
    if (health === null || at === null) return;
    const out = new Map(Object.entries(health.dataflows).map(([name, part]) => [name, part.records_out ?? 0]));
    const last = before.current;
    if (last !== null && at - last.at < 1500) return;
    before.current = { at, out };
    if (last === null) return;
    const seconds = (at - last.at) / 1000;
    // A restart begins to count anew.
    setRates(new Map([...out].map(([name, value]) => [name, Math.max(0, value - (last.out.get(name) ?? value)) / seconds])));
  }, [health, at]);
  return rates;
}
