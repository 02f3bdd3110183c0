/** The frame around the five views: who is logged in, what is connected, whether trading is halted. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { useResource } from "./net/api.ts";
import { market, now, portfolio } from "./net/live.ts";
import { ApiError, learnWho, loggedIn, logOut, me, mustChange } from "./net/session.ts";
import type { Standing } from "./net/streams.ts";
import type { Health, RiskLimits } from "./net/types.ts";
import { Toasts } from "./parts/toasts.tsx";
import { Why } from "./parts/why.tsx";
import { clock, span } from "./pure/format.ts";
import { LogIn, NewPassword } from "./views/login.tsx";
import { PerformanceView } from "./views/performance.tsx";
import { PortfolioView } from "./views/portfolio.tsx";
import { RiskView } from "./views/risk.tsx";
import { SystemView } from "./views/system.tsx";
import { TradesView } from "./views/trades.tsx";

const VIEWS = [
  { path: "portfolio", title: "Portfolio", view: PortfolioView },
  { path: "performance", title: "Performance", view: PerformanceView },
  { path: "risk", title: "Risk", view: RiskView },
  { path: "trades", title: "Trades", view: TradesView },
  { path: "system", title: "System", view: SystemView },
] as const;

const path = signal(here());
window.addEventListener("hashchange", () => (path.value = here()));

function here(): string {
  return location.hash.replace(/^#\//, "");
}

/** 1 to 5 choose a view, unless somebody types. */
window.addEventListener("keydown", (event) => {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.altKey || event.metaKey || target.closest("input, select, textarea, dialog")) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view !== undefined && loggedIn.value && !mustChange.value) location.hash = `#/${view.path}`;
});

export function App(): JSX.Element {
  if (!loggedIn.value) return <LogIn />;
  if (mustChange.value) return <NewPassword />;
  return <Platform />;
}

function Platform(): JSX.Element {
  const known = me.value;
  useEffect(() => {
    if (known !== null) return;
    let timer: ReturnType<typeof setTimeout> | null = null;
    const learn = async (): Promise<void> => {
      try {
        await learnWho();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        timer = setTimeout(() => void learn(), 2000); // after a reload while the API is away
      }
    };
    void learn();
    return () => {
      if (timer !== null) clearTimeout(timer);
    };
  }, [known]);

  const chosen = VIEWS.find((one) => one.path === path.value) ?? VIEWS[0];
  useEffect(() => {
    document.title = `${chosen.title} · Trading Platform`;
    window.scrollTo(0, 0);
  }, [chosen]);
  const connected = [market, portfolio].every((stream) => ["live", "quiet"].includes(stream.standing.value.state));
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the figures
      </a>
      <header class="bar">
        <span class="brand">Trading Platform</span>
        <nav aria-label="Views">
          {VIEWS.map((one, index) => (
            <a
              key={one.path}
              href={`#/${one.path}`}
              aria-current={one === chosen ? "page" : undefined}
              title={`Key ${index + 1}`}
            >
              {one.title}
            </a>
          ))}
        </nav>
        <div class="standing">
          <TradingState />
          <Feed name="Market" standing={market.standing.value} />
          <Feed name="Portfolio" standing={portfolio.standing.value} />
          <time aria-label="Time in UTC">{clock(now.value)} UTC</time>
          <span class="who">
            {known?.username ?? "…"} <em>{known?.role ?? ""}</em>
          </span>
          <button type="button" class="small" onClick={() => void logOut()}>
            Log out
          </button>
        </div>
      </header>
      <Warnings />
      <main id="main" tabIndex={-1} class={connected ? "" : "stale"} data-view={chosen.path}>
        <h1 class="unseen">{chosen.title}</h1>
        {known === null ? <p class="nothing">Loading…</p> : <chosen.view key={chosen.path} />}
      </main>
      <footer>
        <span>All times are UTC. Keys 1 to 5 change the view.</span>
        <span>
          Charts:{" "}
          <a href="https://www.tradingview.com/" target="_blank" rel="noreferrer">
            TradingView Lightweight Charts™
          </a>
          , © TradingView, Inc., and uPlot
        </span>
      </footer>
      <Why />
      <Toasts />
    </>
  );
}

/** The fragment of the address is the view's: move the focus by hand. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

const STATES: Readonly<Record<string, readonly [string, string]>> = {
  ACTIVE: ["good", "Trading active"],
  REDUCING: ["warn", "Only reducing"],
  HALTED: ["bad", "Trading HALTED"],
};

function TradingState(): JSX.Element {
  const limits = useResource<RiskLimits>("/api/v1/risk/limits", 2000).value.data;
  const [kind, text] = STATES[limits?.state ?? ""] ?? ["", "Trading ?"];
  return (
    <a class={`badge ${kind}`} href="#/risk" id="trading-state">
      {text}
    </a>
  );
}

const SAID: Readonly<Record<Standing["state"], string>> = {
  off: "off",
  connecting: "connecting",
  live: "live",
  quiet: "quiet",
  lost: "lost",
};

function Feed(props: { name: string; standing: Standing }): JSX.Element {
  const { state, at } = props.standing;
  const age = at === null ? "no message yet" : `last message ${span((now.value - at) / 1000)} ago`;
  return (
    <span class={`feed ${state}`} title={`${props.name} stream: ${SAID[state]}, ${age}`} data-state={state}>
      <i aria-hidden="true" />
      {props.name} <b>{SAID[state]}</b>
    </span>
  );
}

/** What must not be overlooked, above every view. */
function Warnings(): JSX.Element {
  const health = useResource<Health>("/health", 5000).value;
  const lost = [market, portfolio].map((stream) => stream.standing.value).filter((one) => one.state === "lost");
  const quiet = [market, portfolio].some((stream) => stream.standing.value.state === "quiet");
  const first = lost[0];
  const left = first?.retryAt == null ? 0 : Math.max(0, Math.ceil((first.retryAt - now.value) / 1000));
  const seen = lost.map((one) => one.at).find((at) => at !== null) ?? null;
  return (
    <div class="warnings" role="status">
      {first !== undefined && (
        <p class="bad" id="connection-lost">
          Connection lost: {first.why}. {seen !== null && `Figures are as of ${clock(seen)} UTC. `}
          {left > 0 ? `Trying again in ${left} s.` : "Trying again…"}
        </p>
      )}
      {quiet && <p class="warn">Connected, but the usual updates do not come: figures may be old.</p>}
      {health.data?.degraded && <p class="warn">Degraded: {health.data.degraded_reasons.join("; ")}</p>}
    </div>
  );
}
