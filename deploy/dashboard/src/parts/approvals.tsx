/** Requests that wait for a second person: a table with buttons to approve, reject or withdraw each. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { call, useResource } from "../net/api.ts";
import { now } from "../net/live.ts";
import { ApiError, hasPermission, user } from "../net/session.ts";
import type { ApprovalRequest } from "../net/types.ts";
import { shortTime } from "../pure/format.ts";
import { ConfirmDialog } from "./dialog.tsx";
import { Panel } from "./panel.tsx";
import { Table } from "./table.tsx";
import { showToast } from "./toasts.tsx";

/** What is approved. `path` is the API's list of the requests; `noun` is the word for one of them, such as "Change". */
interface ApprovalKind<Request extends ApprovalRequest> {
  readonly path: string;
  readonly permission: string;
  readonly title: string;
  readonly noun: string;
  readonly subject: (request: Request) => string;
  /** Reloads what an answer changes. */
  readonly onAnswer: () => void;
}

/** The requests of one kind. Nothing is shown while there are none. */
export function Approvals<Request extends ApprovalRequest>(props: ApprovalKind<Request>): JSX.Element | null {
  const [rejected, setRejected] = useState<Request | null>(null);
  const requests = useResource<Request[]>(props.path, 3000).value;
  if (requests.data === null || requests.data.length === 0) return null;
  const reject = async (reason: string): Promise<void> => {
    await call("POST", answerPath(props.path, rejected, "reject"), { reason });
    showToast(`${props.noun} rejected.`);
    props.onAnswer();
  };
  const rejectTitle = `${rejected !== null && isOwn(rejected) ? "Withdraw" : "Reject"} ${props.noun.toLowerCase()}`;
  return (
    <Panel title={props.title} resource={requests} class="requests">
      <Table
        caption={`Table of ${props.title.toLowerCase()}`}
        resource={requests}
        empty=""
        rows={requests.data}
        rowKey={(row) => row.request_id}
        columns={[
          { title: "Requested", cell: (row) => shortTime(row.requested_at, now.value), class: "muted time", drop: 2 },
          { title: "By", cell: (row) => row.requested_by, drop: 4 },
          { title: props.noun, cell: props.subject, class: "text" },
          { title: "Reason", cell: (row) => row.reason, class: "text", drop: 3 },
          { title: "Actions", cell: (row) => <Buttons {...props} request={row} onReject={() => setRejected(row)} />, class: "actions", drop: 1 },
        ]}
      />
      {rejected !== null && (
        <ConfirmDialog title={rejectTitle} text={props.subject(rejected)} action={rejectTitle} danger onConfirm={reject} onClose={() => setRejected(null)} />
      )}
    </Panel>
  );
}

function Buttons<Request extends ApprovalRequest>(
  props: ApprovalKind<Request> & { request: Request; onReject: () => void },
): JSX.Element | null {
  const [busy, setBusy] = useState(false);
  if (!hasPermission(props.permission)) return null;
  const own = isOwn(props.request);
  const approve = async (): Promise<void> => {
    setBusy(true);
    try {
      await call("POST", answerPath(props.path, props.request, "approve"), {});
      showToast(`${props.noun} approved: takes effect at the next time slice.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showToast(error.message, true);
    } finally {
      setBusy(false);
      props.onAnswer();
    }
  };
  return (
    <>
      <button type="button" class="small" disabled={busy || own} onClick={() => void approve()}>
        {own ? "Another person must approve" : "Approve"}
      </button>
      <button type="button" class="small danger" disabled={busy} onClick={props.onReject}>
        {own ? "Withdraw…" : "Reject…"}
      </button>
    </>
  );
}

function isOwn(request: ApprovalRequest): boolean {
  return user.value?.username === request.requested_by;
}

function answerPath(path: string, request: ApprovalRequest | null, answer: "approve" | "reject"): string {
  return `${path}/${encodeURIComponent(request?.request_id ?? "")}/${answer}`;
}
