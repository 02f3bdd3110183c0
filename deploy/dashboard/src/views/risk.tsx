/** How much of each limit is used, and the switches that stop trading. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";

import { call, refresh, useResource, type Known } from "../net/api.ts";
import { now } from "../net/live.ts";
import { may } from "../net/session.ts";
import type { AuditPage, Breaker, LimitUsage, RefusalPage, RiskLimits } from "../net/types.ts";
import { Confirm } from "../parts/dialog.tsx";
import { Nothing, Panel } from "../parts/panel.tsx";
import { Table } from "../parts/table.tsx";
import { say } from "../parts/toasts.tsx";
import { WhyButton } from "../parts/why.tsx";
import { brief, money, percent, quantity, words } from "../pure/format.ts";

type Action = "halt" | "reduce" | "release";

/** What is about to be asked for; without a breaker it is the kill switch. */
interface Wanted {
  readonly action: Action;
  readonly breaker: Breaker | null;
}

export function RiskView(): JSX.Element {
  const [wanted, setWanted] = useState<Wanted | null>(null);
  const limits = useResource<RiskLimits>("/api/v1/risk/limits", 2000).value;
  const usage = useResource<LimitUsage[]>("/api/v1/risk/usage", 3000).value;
  const breakers = useResource<Breaker[]>("/api/v1/risk/breakers", 2000).value;
  const refusals = useResource<RefusalPage>("/api/v1/risk/refusals?limit=50", 3000).value;
  return (
    <div class="risk">
      <KillSwitch known={limits} breakers={breakers.data ?? []} want={setWanted} />
      <Panel title="Circuit breakers" known={breakers} class="breakers">
        <Table
          caption="Circuit breakers"
          known={breakers}
          empty="The settings have no circuit breaker: risk_manager.circuit_breaker_threshold and breakers make some."
          rows={breakers.data}
          rowKey={(one) => `${one.measure} ${one.scope} ${one.key}`}
          columns={[
            { title: "Measure", cell: (one) => words(one.measure) },
            { title: "State", cell: (one) => <State state={one.state} /> },
            { title: "Scope", cell: (one) => (one.key === "" ? words(one.scope) : one.key) },
            { title: "Threshold", number: true, cell: (one) => quantity(one.threshold) },
            { title: "Since", number: true, cell: (one) => brief(one.since, now.value), class: "muted" },
            { title: "By", cell: (one) => one.actor ?? "" },
            { title: "Reason", cell: (one) => one.reason ?? "", class: "text" },
            { title: "", cell: (one) => <Switches breaker={one} want={setWanted} />, class: "actions" },
          ]}
        />
      </Panel>
      <Panel
        title="Exposure against limits"
        known={usage}
        class="usage"
        aside={<span class="note">as of {brief(newest(usage.data), now.value)} UTC</span>}
      >
        <Table
          caption="How much of each limit is used"
          known={usage}
          empty="Risk has not reckoned yet: it does with the first bars."
          rows={usage.data}
          rowKey={(one) => `${one.measure} ${one.scope_key}`}
          columns={[
            { title: "Measure", cell: (one) => words(one.measure) },
            { title: "Symbol", cell: (one) => one.scope_key },
            { title: "Used", number: true, cell: (one) => amount(one.used) },
            { title: "Limit", number: true, cell: (one) => (one.limit === null ? "–" : amount(one.limit)) },
            { title: "Share", number: true, cell: (one) => percent(one.share, 1), tone: (one) => level(one.share) },
            { title: "", cell: (one) => <Meter usage={one} />, class: "meter" },
          ]}
        />
      </Panel>
      <Panel title="Limits" known={limits} class="limits">
        {limits.data === null ? (
          <Nothing known={limits} empty="" />
        ) : (
          <Limits limits={limits.data.limits} />
        )}
      </Panel>
      <Panel title="Refused orders" known={refusals} class="refusals">
        <Table
          caption="Orders that risk refused"
          known={refusals}
          empty="Risk has refused nothing."
          rows={refusals.data?.refusals}
          rowKey={(one) => String(one.seq)}
          columns={[
            { title: "Time", cell: (one) => brief(one.timestamp, now.value), class: "muted" },
            { title: "Symbol", cell: (one) => one.symbol },
            { title: "Side", cell: (one) => one.side, tone: (one) => (one.side === "BUY" ? "buy" : "sell") },
            { title: "Quantity", number: true, cell: (one) => quantity(one.quantity) },
            { title: "Check", cell: (one) => words(one.check) },
            { title: "Reason", cell: (one) => one.message, class: "text" },
            { title: "", cell: (one) => <WhyButton id={`refusal-${one.seq}`} />, class: "actions" },
          ]}
        />
      </Panel>
      {may("AUDIT") && <Asked />}
      {wanted !== null && <Ask wanted={wanted} close={() => setWanted(null)} />}
    </div>
  );
}

function KillSwitch(props: {
  known: Known<RiskLimits>;
  breakers: readonly Breaker[];
  want: (wanted: Wanted) => void;
}): JSX.Element {
  const limits = props.known.data;
  const halted = limits?.state === "HALTED";
  // What holds is the severest of the switch and the portfolio's breakers: each is released by itself.
  const tripped = props.breakers.filter((one) => one.scope === "PORTFOLIO" && one.state !== "ACTIVE");
  return (
    <Panel title="Kill switch" known={props.known} class={`switch ${halted ? "halted" : ""}`}>
      {limits === null ? (
        <Nothing known={props.known} empty="" />
      ) : (
        <>
          <p class="state">
            <State state={limits.state} /> <span>{HOLDS[limits.state] ?? ""}</span>
          </p>
          {tripped.length > 0 && (
            <p class="note warn">
              Tripped: {tripped.map((one) => words(one.measure).toLowerCase()).join(", ")}. A breaker is released where it
              stands.
            </p>
          )}
          <p class="note">
            Epoch {limits.epoch}
            {limits.since !== null && `, since ${brief(limits.since, now.value)} UTC`}
            {limits.reason !== null && limits.reason !== "" && `: ${limits.reason}`}
          </p>
          {may("BREAKER") ? (
            <button
              type="button"
              class={halted ? "primary" : "danger"}
              onClick={() => props.want({ action: halted ? "release" : "halt", breaker: null })}
            >
              {halted ? "Release trading…" : "Halt all trading…"}
            </button>
          ) : (
            <p class="note">The roles risk and admin can set it.</p>
          )}
        </>
      )}
    </Panel>
  );
}

const HOLDS: Readonly<Record<string, string>> = {
  ACTIVE: "Orders that pass every check are sent.",
  REDUCING: "Only orders that reduce a position get through.",
  HALTED: "No order gets through, working ones are cancelled.",
};

function Switches(props: { breaker: Breaker; want: (wanted: Wanted) => void }): JSX.Element | null {
  if (!may("BREAKER")) return null;
  const { breaker } = props;
  const actions: readonly Action[] = breaker.state === "ACTIVE" ? ["halt", "reduce"] : ["release"];
  return (
    <>
      {actions.map((action) => (
        <button
          key={action}
          type="button"
          class={`small ${action === "halt" ? "danger" : ""}`}
          aria-label={`${words(action)} ${breaker.measure} ${breaker.key}`.trim()}
          onClick={() => props.want({ action, breaker })}
        >
          {words(action)}…
        </button>
      ))}
    </>
  );
}

const MEANS: Readonly<Record<Action, string>> = {
  halt: "No order gets through until it is released.",
  reduce: "Only orders that reduce a position get through until it is released.",
  release: "Orders that pass every check are sent again.",
};

function Ask(props: { wanted: Wanted; close: () => void }): JSX.Element {
  const { action, breaker } = props.wanted;
  const what = breaker === null ? "all trading" : `${words(breaker.measure).toLowerCase()}${breaker.key === "" ? "" : ` of ${breaker.key}`}`;
  const title = breaker === null ? `${words(action)} all trading` : `${words(action)} the breaker ${what}`;
  const act = async (reason: string): Promise<void> => {
    const which = breaker === null ? {} : { measure: breaker.measure, scope: breaker.scope, key: breaker.key };
    await call("POST", "/api/v1/risk/circuit-breaker", { action, reason, ...which });
    say(`${title}: in force at the next tick.`);
    for (const ms of [300, 1200, 3000]) setTimeout(() => refresh("/api/v1/risk"), ms);
  };
  return (
    <Confirm
      title={title}
      text={`${MEANS[action]}${breaker === null && action === "halt" ? " Working orders are cancelled." : ""} It takes effect at the next tick.`}
      action={title}
      danger={action !== "release"}
      act={act}
      close={props.close}
    />
  );
}

function State(props: { state: string }): JSX.Element {
  const kind = props.state === "ACTIVE" ? "good" : props.state === "HALTED" ? "bad" : "warn";
  return <b class={`badge ${kind}`}>{props.state}</b>;
}

/** Only what changed is written anew: the newest line says when risk last reckoned. */
function newest(usage: readonly LimitUsage[] | null): string | null {
  return (usage ?? []).reduce<string | null>((last, one) => (last === null || one.timestamp > last ? one.timestamp : last), null);
}

function Meter(props: { usage: LimitUsage }): JSX.Element | null {
  const { share, measure, scope_key: key } = props.usage;
  if (share === null) return null;
  return (
    <meter
      min={0}
      max={1}
      low={0.7}
      high={0.9}
      optimum={0}
      value={Math.min(1, share)}
      aria-label={`${words(measure)} ${key}: ${percent(share, 1)} of the limit`}
    />
  );
}

function level(share: number | null): string {
  return share === null || share < 0.7 ? "" : share < 0.9 ? "warn" : "down";
}

function amount(value: number): string {
  return Math.abs(value) >= 1000 ? money(value) : quantity(Math.round(value * 1e4) / 1e4);
}

/** Those that are set, and in one sentence those that are not. */
function Limits(props: { limits: RiskLimits["limits"] }): JSX.Element {
  const entries = Object.entries(props.limits);
  const unlimited = entries.filter(([, value]) => value === "unlimited").map(([name]) => words(name).toLowerCase());
  return (
    <>
      <dl class="pairs">
        {entries
          .filter(([, value]) => value !== "unlimited")
          .map(([name, value]) => (
            <div key={name}>
              <dt>{words(name)}</dt>
              <dd class={value === null && name.startsWith("max_") ? "down" : ""}>{limit(name, value)}</dd>
            </div>
          ))}
      </dl>
      {unlimited.length > 0 && <p class="note rest">Unlimited: {unlimited.join(", ")}.</p>}
    </>
  );
}

function limit(name: string, value: boolean | number | string | null): string {
  // A limit that nobody has set refuses every order; other settings may be left out.
  if (value === null) return name.startsWith("max_") ? "not set: refuses" : "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? quantity(value) : value;
}

/** Who asked for what: for those who may read the audit. */
function Asked(): JSX.Element {
  const audit = useResource<AuditPage>("/api/v1/audit?limit=30", 5000).value;
  return (
    <Panel title="Commands" known={audit} class="audit">
      <Table
        caption="Commands of people, newest first"
        known={audit}
        empty="Nobody has asked for anything."
        rows={audit.data?.commands}
        rowKey={(one) => one.command_id}
        columns={[
          { title: "Time", cell: (one) => brief(one.timestamp, now.value), class: "muted" },
          { title: "Who", cell: (one) => one.actor },
          { title: "Command", cell: (one) => words(one.kind) },
          { title: "Reason", cell: (one) => one.reason, class: "text" },
          { title: "Outcome", cell: (one) => one.outcomes.join(", ") || "–", class: "text" },
        ]}
      />
    </Panel>
  );
}
