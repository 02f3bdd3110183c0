/** The usage of each risk limit, the circuit breakers and the kill switch. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";

import { call, refresh, useResource, type ResourceState } from "../net/api.ts";
import { now } from "../net/live.ts";
import { hasPermission } from "../net/session.ts";
import type {
  AuditPage,
  BreakerReceipt,
  CircuitBreaker,
  LimitUsage,
  ReleaseRequest,
  RiskLimits,
  RiskRejectionPage,
} from "../net/types.ts";
import { Approvals } from "../parts/approvals.tsx";
import { ConfigurationHistory, ConfigurationRequests, LimitSettings } from "../parts/configuration.tsx";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { ExplainButton } from "../parts/lineage.tsx";
import { EmptyState, Panel } from "../parts/panel.tsx";
import { Table } from "../parts/table.tsx";
import { showToast } from "../parts/toasts.tsx";
import { NO_VALUE, percent, quantity, sentenceCase, shortTime, withZone } from "../pure/format.ts";
import { checkLabel, isExchangeHalt, measureLabel, measureValue, outcomeText, rejectionText, releaseText } from "../pure/risk.ts";

type Action = "halt" | "reduce" | "release";

/** A switch that the user is about to set. `breaker` is null for the kill switch. */
interface SwitchRequest {
  readonly action: Action;
  readonly breaker: CircuitBreaker | null;
}

export function RiskView(): JSX.Element {
  const [request, setRequest] = useState<SwitchRequest | null>(null);
  const limits = useResource<RiskLimits>("/api/v1/risk/limits", 2000).value;
  const usage = useResource<LimitUsage[]>("/api/v1/risk/usage", 3000).value;
  const breakers = useResource<CircuitBreaker[]>("/api/v1/risk/breakers", 2000).value;
  const rejections = useResource<RiskRejectionPage>("/api/v1/risk/refusals?limit=50", 3000).value;
  return (
    <div class="risk">
      <KillSwitch limits={limits} breakers={breakers.data ?? []} onRequest={setRequest} />
      {hasPermission("BREAKER") && <ReleaseRequests />}
      <Panel title="Circuit breakers" resource={breakers} class="breakers">
        <Table
          caption="Table of circuit breakers"
          resource={breakers}
          empty="No circuit breakers configured. Set risk_manager.circuit_breaker_threshold or risk_manager.breakers."
          rows={breakers.data}
          rowKey={(row) => `${row.measure} ${row.scope} ${row.key}`}
          columns={[
            { title: "Measure", cell: (row) => measureLabel(row.measure) },
            { title: "State", cell: (row) => <TradingState state={row.state} /> },
            { title: "Scope", cell: (row) => (row.key === "" ? sentenceCase(row.scope) : row.key), drop: 4 },
            { title: "Threshold", numeric: true, cell: (row) => measureValue(row.measure, isExchangeHalt(row.measure) ? null : row.threshold), drop: 2 },
            { title: "Since", numeric: true, cell: (row) => shortTime(row.since, now.value), class: "muted time", drop: 3 },
            { title: "Set by", cell: (row) => row.actor ?? "", drop: 6 },
            { title: "Reason", cell: (row) => row.reason ?? "", class: "text", drop: 5 },
            { title: "Actions", cell: (row) => <BreakerButtons breaker={row} onRequest={setRequest} />, class: "actions" },
          ]}
        />
      </Panel>
      <ConfigurationRequests />
      <Panel
        title="Limit usage"
        resource={usage}
        class="usage"
        actions={<span class="note">as of {withZone(shortTime(latestTime(usage.data), now.value))}</span>}
      >
        <Table
          caption="Usage of each limit"
          resource={usage}
          empty="Waiting for first prices"
          rows={usage.data}
          rowKey={(row) => `${row.measure} ${row.scope_key}`}
          columns={[
            { title: "Measure", cell: (row) => measureLabel(row.measure) },
            { title: "Symbol", cell: (row) => row.scope_key },
            { title: "Current", numeric: true, cell: (row) => measureValue(row.measure, row.used), drop: 2 },
            { title: "Limit", numeric: true, cell: (row) => measureValue(row.measure, row.limit), drop: 3 },
            { title: "% used", numeric: true, cell: (row) => percent(row.share, 1), tone: (row) => usageTone(row.share) },
            { title: "Usage", cell: (row) => <UsageMeter usage={row} />, class: "meter", drop: 4 },
          ]}
        />
      </Panel>
      <LimitSettings limits={limits} usage={usage.data ?? []} />
      <Panel title="Risk rejections" resource={rejections} class="rejections">
        <Table
          caption="Orders rejected by risk, newest first"
          resource={rejections}
          empty="No rejected orders yet"
          rows={rejections.data?.refusals}
          rowKey={(row) => String(row.seq)}
          columns={[
            { title: "Time", cell: (row) => shortTime(row.timestamp, now.value), class: "muted time", drop: 1 },
            { title: "Symbol", cell: (row) => row.symbol },
            { title: "Side", cell: (row) => row.side, tone: (row) => (row.side === "BUY" ? "buy" : "sell") },
            { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity), drop: 2 },
            { title: "Check", cell: (row) => checkLabel(row.check), drop: 4 },
            { title: "Reason", cell: (row) => rejectionText(row.message, row.symbol), class: "text" },
            { title: "Actions", cell: (row) => <ExplainButton id={`refusal-${row.seq}`} />, class: "actions", drop: 3 },
          ]}
        />
      </Panel>
      <ConfigurationHistory />
      {hasPermission("AUDIT") && <CommandLog />}
      {request !== null && <SwitchDialog request={request} onClose={() => setRequest(null)} />}
    </div>
  );
}

/** Releases, and positions and cash to take over, that wait for a second person. */
function ReleaseRequests(): JSX.Element {
  return (
    <Approvals<ReleaseRequest>
      path="/api/v1/risk/releases"
      permission="BREAKER"
      title="Releases waiting for approval"
      noun="Release"
      subject={(request) => releaseText(request.arguments)}
      onAnswer={refreshRiskSoon}
    />
  );
}

const STATE_TEXTS: Readonly<Record<string, string>> = {
  ACTIVE: "Orders that pass all risk checks are sent.",
  REDUCING: "Only orders that reduce a position are sent.",
  HALTED: "All new orders are rejected. Open orders are cancelled.",
};

function KillSwitch(props: {
  limits: ResourceState<RiskLimits>;
  breakers: readonly CircuitBreaker[];
  onRequest: (request: SwitchRequest) => void;
}): JSX.Element {
  const limits = props.limits.data;
  const halted = limits?.state === "HALTED";
  // The effective state is the most restrictive of the kill switch and the portfolio's breakers. Each is released separately.
  const tripped = props.breakers.filter((breaker) => breaker.scope === "PORTFOLIO" && breaker.state !== "ACTIVE");
  return (
    <Panel title="Kill switch" resource={props.limits} class={`kill-switch ${halted ? "halted" : ""}`}>
      {limits === null ? (
        <EmptyState resource={props.limits} text="" />
      ) : (
        <>
          <p class="state">
            <TradingState state={limits.state} /> <span>{STATE_TEXTS[limits.state] ?? ""}</span>
          </p>
          {tripped.length > 0 && (
            <p class="note warn">
              Tripped: {tripped.map((breaker) => measureLabel(breaker.measure)).join(", ")}. Release each tripped breaker in
              the Circuit breakers table.
            </p>
          )}
          {limits.since === null ? (
            <p class="note">Trading has never been halted.</p>
          ) : (
            <p class="note">
              Last change: {withZone(shortTime(limits.since, now.value))} (epoch {limits.epoch})
              {limits.reason !== null && limits.reason !== "" && `, reason: ${limits.reason}`}
            </p>
          )}
          {hasPermission("BREAKER") ? (
            <button
              type="button"
              class={halted ? "primary" : "danger"}
              onClick={() => props.onRequest({ action: halted ? "release" : "halt", breaker: null })}
            >
              {halted ? "Resume all trading…" : "Halt all trading…"}
            </button>
          ) : (
            <p class="note">Requires the role risk or admin.</p>
          )}
        </>
      )}
    </Panel>
  );
}

function BreakerButtons(props: { breaker: CircuitBreaker; onRequest: (request: SwitchRequest) => void }): JSX.Element | null {
  const { breaker } = props;
  if (!hasPermission("BREAKER") || isExchangeHalt(breaker.measure)) return null;
  const actions: readonly Action[] = breaker.state === "ACTIVE" ? ["halt", "reduce"] : ["release"];
  return (
    <>
      {actions.map((action) => (
        <button
          key={action}
          type="button"
          class={`small ${action === "halt" ? "danger" : ""}`}
          aria-label={`${ACTION_LABELS[action]} ${measureLabel(breaker.measure)} ${breaker.key}`.trim()}
          onClick={() => props.onRequest({ action, breaker })}
        >
          {ACTION_LABELS[action]}…
        </button>
      ))}
    </>
  );
}

const ACTION_LABELS: Readonly<Record<Action, string>> = { halt: "Halt", reduce: "Reduce-only", release: "Release" };

function SwitchDialog(props: { request: SwitchRequest; onClose: () => void }): JSX.Element {
  const { action, breaker } = props.request;
  const { title, text } = breaker === null ? killSwitchTexts(action) : breakerTexts(action, breaker);
  const confirm = async (reason: string): Promise<void> => {
    const target = breaker === null ? {} : { measure: breaker.measure, scope: breaker.scope, key: breaker.key };
    const receipt = await call<BreakerReceipt>("POST", "/api/v1/risk/circuit-breaker", { action, reason, ...target });
    showToast(
      receipt.status === "APPROVAL_REQUIRED"
        ? `${title}: requested. Another person must approve it.`
        : receipt.gateway === "CONFIRMED"
          ? `${title}: the gateway has confirmed.`
          : receipt.gateway === "PENDING"
            ? `${title}: NOT CONFIRMED by the gateway. Run kill-switch status on the host.`
            : `${title}: takes effect at the next time slice.`,
    );
    refreshRiskSoon();
  };
  return (
    <ConfirmDialog
      title={title}
      text={`${text} Takes effect at the next time slice.`}
      action={title}
      danger={action !== "release"}
      onConfirm={confirm}
      onClose={props.onClose}
    />
  );
}

/** Reloads what a command affects now, and after the time slices in which it takes effect. */
function refreshRiskSoon(): void {
  for (const ms of [0, 300, 1200, 3000]) setTimeout(() => refresh("/api/v1/risk"), ms);
}

interface DialogTexts {
  readonly title: string;
  readonly text: string;
}

function killSwitchTexts(action: Action): DialogTexts {
  return action === "release"
    ? { title: "Resume all trading", text: "Orders that pass all risk checks are sent again." }
    : { title: "Halt all trading", text: "All open orders are cancelled. All new orders are rejected until you resume trading." };
}

function breakerTexts(action: Action, breaker: CircuitBreaker): DialogTexts {
  const name = `${measureLabel(breaker.measure)}${breaker.key === "" ? "" : ` of ${breaker.key}`}`;
  const scope = breaker.key === "" ? "" : ` for ${breaker.key}`;
  switch (action) {
    case "halt":
      return { title: "Trip breaker: halt", text: `Trips the breaker ${name}. All new orders${scope} are rejected until you release it.` };
    case "reduce":
      return { title: "Trip breaker: reduce-only", text: `Trips the breaker ${name}. Orders${scope} that do not reduce a position are rejected until you release it.` };
    case "release":
      return { title: "Release breaker", text: `Releases the breaker ${name}. Orders${scope} that pass all risk checks are sent again.` };
  }
}

function TradingState(props: { state: string }): JSX.Element {
  const tone = props.state === "ACTIVE" ? "good" : props.state === "HALTED" ? "bad" : "warn";
  return <b class={`badge ${tone}`}>{props.state === "REDUCING" ? "REDUCE-ONLY" : props.state}</b>;
}

/** The time of the last calculation. Only changed measures are updated, so it is the latest of all rows. */
function latestTime(usage: readonly LimitUsage[] | null): string | null {
  return (usage ?? []).reduce<string | null>((latest, row) => (latest === null || row.timestamp > latest ? row.timestamp : latest), null);
}

function UsageMeter(props: { usage: LimitUsage }): JSX.Element | null {
  const { share, measure, scope_key: symbol } = props.usage;
  if (share === null) return null;
  return (
    <meter
      min={0}
      max={1}
      low={0.7}
      high={0.9}
      optimum={0}
      value={Math.min(1, share)}
      aria-label={`${measureLabel(measure)} ${symbol}: ${percent(share, 1)} of the limit`}
    />
  );
}

function usageTone(share: number | null): string {
  return share === null || share < 0.7 ? "" : share < 0.9 ? "warn" : "down";
}

/** Commands sent by users, from the audit log. */
function CommandLog(): JSX.Element {
  const audit = useResource<AuditPage>("/api/v1/audit?limit=30", 5000).value;
  return (
    <Panel title="Commands" resource={audit} class="commands">
      <Table
        caption="Commands sent by users, newest first"
        resource={audit}
        empty="No commands yet"
        rows={audit.data?.commands}
        rowKey={(row) => row.command_id}
        columns={[
          { title: "Time", cell: (row) => shortTime(row.timestamp, now.value), class: "muted time", drop: 1 },
          { title: "User", cell: (row) => row.actor },
          { title: "Command", cell: (row) => sentenceCase(row.kind) },
          { title: "Reason", cell: (row) => row.reason, class: "text", drop: 2 },
          { title: "Outcome", cell: (row) => row.outcomes.map((outcome) => outcomeText(outcome, row.arguments["symbol"] ?? "")).join(", ") || NO_VALUE, class: "text" },
        ]}
      />
    </Panel>
  );
}
