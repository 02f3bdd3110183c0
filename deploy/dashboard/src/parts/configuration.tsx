/** Risk limits with their source, changes of them, requests that wait for a second person, and the history. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { call, refresh, useResource, type ResourceState } from "../net/api.ts";
import { now } from "../net/live.ts";
import { ApiError, hasPermission, newKey } from "../net/session.ts";
import type {
  Configuration,
  ConfigurationInForce,
  ConfigurationPreview,
  ConfigurationReceipt,
  ConfigurationRequest,
  LimitUsage,
  RiskLimits,
} from "../net/types.ts";
import { overrideText, parseSetting, previewRows, requestText, settingText } from "../pure/configuration.ts";
import { count, dateTime, percent, shortTime } from "../pure/format.ts";
import { isUnsetLimit, limitLabel, limitValue } from "../pure/risk.ts";
import { Approvals } from "./approvals.tsx";
import { Dialog } from "./dialog.tsx";
import { ErrorText, ReasonField } from "./form.tsx";
import { EmptyState, Panel } from "./panel.tsx";
import { Table } from "./table.tsx";
import { showToast } from "./toasts.tsx";

const PREVIEW_TIMEOUT_MS = 150_000;

/** The values of the account that risk takes from `portfolio_manager`. They change only at a start. */
const ACCOUNT_VALUES = new Set(["initial_capital", "account_currency"]);

interface LimitRow {
  readonly name: string;
  readonly setting: string;
  readonly value: boolean | number | string | null;
  readonly share: number | null;
  readonly isOverride: boolean;
}

/** The limits with value, usage and source. `end` is true for a change that ends an override. */
export function LimitSettings(props: { limits: ResourceState<RiskLimits>; usage: readonly LimitUsage[] }): JSX.Element {
  const [change, setChange] = useState<{ row: LimitRow; end: boolean } | null>(null);
  const configuration = useResource<ConfigurationInForce>("/api/v1/config", 3000).value;
  const mayChange = hasPermission("CONFIGURE") && configuration.data !== null;
  const rows = limitRows(props.limits.data, props.usage, configuration.data);
  return (
    <Panel title="Limits" resource={props.limits} class="limits">
      {props.limits.data === null ? (
        <EmptyState resource={props.limits} text="" />
      ) : (
        <Table
          caption="Risk limits with their value and source"
          resource={props.limits}
          empty="No limits"
          rows={rows}
          rowKey={(row) => row.name}
          columns={[
            { title: "Limit", cell: (row) => limitLabel(row.name) },
            { title: "Value", numeric: true, cell: (row) => limitValue(row.name, row.value), tone: (row) => (isUnsetLimit(row.name, row.value) ? "down" : "") },
            { title: "% used", numeric: true, cell: (row) => (row.share === null ? "" : percent(row.share, 1)), drop: 3 },
            { title: "Source", cell: (row) => <Source row={row} />, drop: 2 },
            {
              title: "Actions",
              class: "actions",
              drop: 1,
              cell: (row) =>
                mayChange &&
                !ACCOUNT_VALUES.has(row.name) && (
                  <>
                    <button type="button" class="small" aria-label={`Change ${limitLabel(row.name)}`} onClick={() => setChange({ row, end: false })}>
                      Change…
                    </button>
                    {row.isOverride && (
                      <button type="button" class="small" aria-label={`Reset ${limitLabel(row.name)}`} onClick={() => setChange({ row, end: true })}>
                        Reset…
                      </button>
                    )}
                  </>
                ),
            },
          ]}
        />
      )}
      {change !== null && <ChangeDialog row={change.row} end={change.end} onClose={() => setChange(null)} />}
    </Panel>
  );
}

function limitRows(limits: RiskLimits | null, usage: readonly LimitUsage[], configuration: ConfigurationInForce | null): LimitRow[] {
  const section = configuration?.settings["risk_manager"] ?? {};
  return Object.entries(limits?.limits ?? {})
    .filter(([name]) => configuration === null || name in section)
    .map(([name, value]) => {
      const shares = usage.filter((one) => `max_${one.measure}` === name && one.share !== null).map((one) => one.share ?? 0);
      const setting = `risk_manager.${name}`;
      return {
        name,
        setting,
        value,
        share: shares.length === 0 ? null : Math.max(...shares),
        isOverride: configuration !== null && setting in configuration.overrides,
      };
    });
}

function Source(props: { row: LimitRow }): JSX.Element {
  if (ACCOUNT_VALUES.has(props.row.name)) return <span class="muted">Account</span>;
  return props.row.isOverride ? <b class="badge warn">Changed at run time</b> : <span class="muted">Settings file</span>;
}

function ChangeDialog(props: { row: LimitRow; end: boolean; onClose: () => void }): JSX.Element {
  const { row, end } = props;
  const [text, setText] = useState(settingText(row.value));
  const [reason, setReason] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState<"preview" | "send" | null>(null);
  const [preview, setPreview] = useState<ConfigurationPreview | null>(null);
  // A retry of the same change after a lost response has the same key, so that it is applied once.
  const [attempt, setAttempt] = useState({ body: "", key: "" });
  const changes = end ? { unset: [row.setting] } : { set: { [row.setting]: parseSetting(text) } };
  const run = async (what: "preview" | "send"): Promise<void> => {
    setBusy(what);
    setError("");
    try {
      if (what === "preview") {
        setPreview(await call<ConfigurationPreview>("POST", "/api/v1/config/preview", changes, {}, PREVIEW_TIMEOUT_MS));
      } else {
        const body = { ...changes, reason: reason.trim() };
        const content = JSON.stringify(body);
        const key = attempt.body === content ? attempt.key : newKey();
        setAttempt({ body: content, key });
        const receipt = await call<ConfigurationReceipt>("PATCH", "/api/v1/config", body, { "Idempotency-Key": key });
        showToast(receiptText(receipt));
        refreshSoon();
        props.onClose();
        return;
      }
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure.message);
    }
    setBusy(null);
  };
  const title = end ? `Reset ${limitLabel(row.name)}` : `Change ${limitLabel(row.name)}`;
  return (
    <Dialog title={title} onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run("send");
        }}
      >
        {end ? (
          <p>The value of the settings file applies again, instead of {settingText(row.value)}.</p>
        ) : (
          <label>
            New value
            <input
              required
              autoFocus
              name="value"
              autoComplete="off"
              value={text}
              onInput={(event) => {
                setText(event.currentTarget.value);
                setPreview(null);
              }}
            />
            <span class="note">Now {settingText(row.value)}. A number, “unlimited”, “yes”, “no” or “none”.</span>
          </label>
        )}
        <ReasonField reason={reason} onInput={setReason} />
        {preview !== null && <PreviewResult preview={preview} />}
        <ErrorText text={error} />
        <div class="buttons">
          <button type="button" onClick={props.onClose}>
            Close
          </button>
          <button type="button" disabled={busy !== null || text.trim() === ""} onClick={() => void run("preview")}>
            {busy === "preview" ? "Replaying the last day…" : "Preview"}
          </button>
          <button type="submit" class="primary" disabled={busy !== null || reason.trim() === "" || text.trim() === ""}>
            {end ? "Reset limit" : "Change limit"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function receiptText(receipt: ConfigurationReceipt): string {
  switch (receipt.status) {
    case "APPROVAL_REQUIRED":
      return "Change requested. Another person must approve it.";
    case "UNCHANGED":
      return "Nothing to change: the limit has this value.";
    case "PENDING":
      return `${receipt.configuration_id} published: takes effect at the next time slice.`;
  }
}

function PreviewResult(props: { preview: ConfigurationPreview }): JSX.Element {
  const { preview } = props;
  const loaded = { data: preview, error: null, loadedAt: null };
  return (
    <section aria-label="Preview">
      <p class="note">
        {count(preview.time_slices)} time slices from {dateTime(preview.since)} to {dateTime(preview.until)}.{" "}
        {preview.differing_time_slices === 0
          ? "No differences: the same orders and rejections."
          : `${count(preview.differing_time_slices)} time slices have other orders or rejections.`}
      </p>
      <Table
        caption="What happened, and what would have happened with the change"
        resource={loaded}
        empty=""
        rows={previewRows(preview.recorded, preview.changed)}
        rowKey={(row) => row.name}
        columns={[
          { title: "", cell: (row) => row.name, class: "text" },
          { title: "Recorded", numeric: true, cell: (row) => row.recorded },
          { title: "With the change", numeric: true, cell: (row) => row.changed, tone: (row) => (row.changed === row.recorded ? "" : "warn") },
        ]}
      />
      {preview.differences.slice(0, 5).map((one) => (
        <p key={one.timestamp} class="note">
          {shortTime(one.timestamp, now.value)}: {one.recorded.map((line) => `recorded ${line}`).concat(one.changed.map((line) => `changed ${line}`)).join("; ")}
        </p>
      ))}
    </section>
  );
}

/** Changes that wait for a second person. */
export function ConfigurationRequests(): JSX.Element {
  return (
    <Approvals<ConfigurationRequest>
      path="/api/v1/config/requests"
      permission="CONFIGURE"
      title="Changes waiting for approval"
      noun="Change"
      subject={requestText}
      onAnswer={refreshSoon}
    />
  );
}

/** The last configurations. A change that a second person approved shows both names. */
export function ConfigurationHistory(): JSX.Element {
  const history = useResource<Configuration[]>("/api/v1/config/history?limit=30", 5000).value;
  const configurations = history.data ?? [];
  const changeOf = (row: Configuration): string => {
    const before = configurations[configurations.indexOf(row) + 1];
    return before === undefined ? "" : overrideText(row.overrides, before.overrides);
  };
  return (
    <Panel title="Changes of settings" resource={history} class="commands">
      <Table
        caption="Configurations, newest first"
        resource={history}
        empty="No configurations yet"
        rows={history.data}
        rowKey={(row) => row.configuration_id}
        columns={[
          { title: "Time", cell: (row) => shortTime(row.timestamp, now.value), class: "muted time", drop: 2 },
          { title: "Configuration", cell: (row) => row.configuration_id, drop: 4 },
          { title: "By", cell: (row) => (row.requested_by === null ? row.actor : `${row.requested_by}, approved by ${row.actor}`), drop: 3 },
          { title: "Change", cell: changeOf, class: "text" },
          { title: "Reason", cell: (row) => row.reason, class: "text", drop: 1 },
        ]}
      />
    </Panel>
  );
}

/** Reloads what a change affects now, and after the time slices in which it takes effect. */
function refreshSoon(): void {
  for (const ms of [0, 300, 1200, 3000]) {
    setTimeout(() => {
      refresh("/api/v1/config");
      refresh("/api/v1/risk");
    }, ms);
  }
}
