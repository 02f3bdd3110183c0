/** The application frame: login, navigation, connection status and warnings around the six views. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { useResource } from "./net/api.ts";
import { marketStream, now, portfolioStream } from "./net/live.ts";
import { ApiError, loadUser, loggedIn, logOut, mustChangePassword, user } from "./net/session.ts";
import type { StreamStatus } from "./net/streams.ts";
import type { RiskLimits } from "./net/types.ts";
import { Banner } from "./parts/banner.tsx";
import { LineageDialog } from "./parts/lineage.tsx";
import { TimeZoneSelect, timeZone } from "./parts/time-zone.tsx";
import { Toasts } from "./parts/toasts.tsx";
import type { SystemState } from "./pure/banner.ts";
import { dateTime, duration, timeOfDay, timeZoneLabel, withZone } from "./pure/format.ts";
import { Login, PasswordChange } from "./views/login.tsx";
import { PerformanceView } from "./views/performance.tsx";
import { PortfolioView } from "./views/portfolio.tsx";
import { RiskView } from "./views/risk.tsx";
import { StrategiesView } from "./views/strategies.tsx";
import { SystemView } from "./views/system.tsx";
import { TradesView } from "./views/trades.tsx";

const VIEWS = [
  { path: "portfolio", title: "Portfolio", view: PortfolioView },
  { path: "performance", title: "Performance", view: PerformanceView },
  { path: "risk", title: "Risk", view: RiskView },
  { path: "trades", title: "Trades", view: TradesView },
  { path: "system", title: "System", view: SystemView },
  { path: "strategies", title: "Strategies", view: StrategiesView },
] as const;
const USER_RETRY_MS = 2000;

const currentPath = signal(pathFromHash());
window.addEventListener("hashchange", () => (currentPath.value = pathFromHash()));

function pathFromHash(): string {
  return location.hash.replace(/^#\//, "");
}

/** Keys 1 to 6 switch views, except while the user types in a field or dialog. */
window.addEventListener("keydown", (event) => {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.altKey || event.metaKey || target.closest("input, select, textarea, dialog")) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view !== undefined && loggedIn.value && !mustChangePassword.value) location.hash = `#/${view.path}`;
});

export function App(): JSX.Element {
  if (!loggedIn.value) return <Login />;
  if (mustChangePassword.value) return <PasswordChange />;
  return <Dashboard />;
}

function Dashboard(): JSX.Element {
  const currentUser = user.value;
  useEffect(() => {
    if (currentUser !== null) return;
    let timer: ReturnType<typeof setTimeout> | null = null;
    const load = async (): Promise<void> => {
      try {
        await loadUser();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        timer = setTimeout(() => void load(), USER_RETRY_MS); // the page was reloaded while the API is down
      }
    };
    void load();
    return () => {
      if (timer !== null) clearTimeout(timer);
    };
  }, [currentUser]);

  const current = VIEWS.find((view) => view.path === currentPath.value) ?? VIEWS[0];
  useEffect(() => {
    document.title = `${current.title} · Trading Platform`;
    window.scrollTo(0, 0);
  }, [current]);
  const connected = [marketStream, portfolioStream].every((stream) => ["live", "stale"].includes(stream.status.value.state));
  return (
    <>
      <a class="skip-link" href="#main" onClick={skipToContent}>
        Skip to content
      </a>
      <header class="top-bar">
        <span class="brand">Trading Platform</span>
        <nav aria-label="Views">
          {VIEWS.map((view, index) => (
            <a
              key={view.path}
              href={`#/${view.path}`}
              aria-current={view === current ? "page" : undefined}
              title={`Press ${index + 1}`}
            >
              {view.title}
            </a>
          ))}
        </nav>
        <div class="status-bar">
          <TradingStatus />
          <FeedIndicator />
          <StreamIndicator name="Portfolio" status={portfolioStream.status.value} />
          <time aria-label={`Current time in ${timeZoneLabel()}`}>{timeOfDay(now.value)}</time>
          <TimeZoneSelect />
          <span class="user">
            {currentUser?.username ?? "…"} {currentUser !== null && currentUser.role !== currentUser.username && <em>{currentUser.role}</em>}
          </span>
          <button type="button" class="small" onClick={() => void logOut()}>
            Log out
          </button>
        </div>
      </header>
      <Banner />
      <main id="main" tabIndex={-1} class={connected ? "" : "stale"} data-view={current.path}>
        <h1 class="visually-hidden">{current.title}</h1>
        {currentUser === null ? <p class="empty-state">Loading…</p> : <current.view key={`${current.path} ${timeZone.value}`} />}
      </main>
      <footer>
        <span>All times are in the zone {timeZoneLabel()}. Press 1 to 6 to switch views.</span>
        <span>
          Charts:{" "}
          <a href="https://www.tradingview.com/" target="_blank" rel="noreferrer">
            TradingView Lightweight Charts™
          </a>
          , © TradingView, Inc., and uPlot
        </span>
      </footer>
      <LineageDialog />
      <Toasts />
    </>
  );
}

/** Moves the focus without changing the URL fragment, which selects the view. */
function skipToContent(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

const TRADING_STATES: Readonly<Record<string, readonly [string, string]>> = {
  ACTIVE: ["good", "Trading active"],
  REDUCING: ["warn", "Reduce-only"],
  HALTED: ["bad", "Trading halted"],
};

function TradingStatus(): JSX.Element {
  const limits = useResource<RiskLimits>("/api/v1/risk/limits", 2000).value;
  // An old state must not look current while the API is unreachable.
  const state = limits.error === null ? limits.data?.state : undefined;
  const [tone, text] = TRADING_STATES[state ?? ""] ?? ["", "Trading status unknown"];
  return (
    <a class={`badge ${tone}`} href="#/risk" id="trading-state">
      {text}
    </a>
  );
}

const FEED_STATES: Readonly<Record<string, string>> = { finished: "finished", closed: "market closed", idle: "no data", down: "down" };

/** The market data stream; where its connection is live, the state of the feed behind it. */
function FeedIndicator(): JSX.Element {
  const system = useResource<SystemState>("/api/v1/system", 5000).value;
  const feed = system.error === null ? system.data?.feed : undefined;
  const text = feed === undefined ? undefined : FEED_STATES[feed.state];
  const title = text === undefined ? "" : `Feed: ${text}, last data ${withZone(dateTime(feed?.last_slice_at))}. `;
  return <StreamIndicator name="Market data" status={marketStream.status.value} feed={text} title={title} />;
}

function StreamIndicator(props: { name: string; status: StreamStatus; feed?: string | undefined; title?: string }): JSX.Element {
  const { state, lastMessageAt } = props.status;
  const age = lastMessageAt === null ? "no message yet" : `last message ${duration((now.value - lastMessageAt) / 1000)} ago`;
  // A lost connection hides the state of the feed.
  const shown = state === "live" || state === "stale" ? (props.feed ?? state) : state;
  return (
    <span
      class={`stream ${shown === state ? state : "stale"}`}
      title={`${props.title ?? ""}${props.name} stream: ${state}, ${age}`}
      data-state={state}
    >
      <i aria-hidden="true" />
      {props.name} <b>{shown}</b>
    </span>
  );
}
