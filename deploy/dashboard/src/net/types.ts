/** The API's response fields that the dashboard uses; `/openapi.json` has all of them. Money and quantities are numbers. */

import type { PreviewSide } from "../pure/configuration.ts";

export interface TokenPair {
  access_token: string;
  refresh_token: string;
  expires_at: string;
  username: string;
  role: string;
  must_change_password: boolean;
}

/** A request that waits for a second person. */
export interface ApprovalRequest {
  request_id: string;
  requested_by: string;
  requested_at: string;
  reason: string;
}

/** The request for a release, or to take over a position or cash of the broker. */
export interface ReleaseRequest extends ApprovalRequest {
  arguments: Record<string, string>;
}

/** Settings in force at a time. `overrides` are the changes at run time, by setting. */
export interface Configuration {
  configuration_id: string;
  timestamp: string;
  /** Who made the change, or approved it if `requested_by` is not null. */
  actor: string;
  requested_by: string | null;
  reason: string;
  overrides: Record<string, unknown>;
}

export interface ConfigurationInForce extends Configuration {
  settings: Record<string, Record<string, unknown>>;
}

export interface ConfigurationReceipt {
  configuration_id: string;
  status: "PENDING" | "UNCHANGED" | "APPROVAL_REQUIRED";
  request_id: string | null;
}

/** The request for a change of settings. `before` has the values when it was requested. */
export interface ConfigurationRequest extends ApprovalRequest {
  set: Record<string, unknown>;
  unset: string[];
  before: Record<string, unknown>;
}

/** What happened, and what would have happened with changed settings. */
export interface ConfigurationPreview {
  since: string;
  until: string;
  time_slices: number;
  configurations: number;
  recorded: PreviewSide;
  changed: PreviewSide;
  differing_time_slices: number;
  differences: { timestamp: string; recorded: string[]; changed: string[] }[];
}

export interface BreakerReceipt {
  status: "PENDING" | "APPROVAL_REQUIRED";
  /** Of a halt by the kill switch: whether the gateway has confirmed it. Null if it does not run on this host. */
  gateway: "CONFIRMED" | "PENDING" | null;
}

export interface User {
  username: string;
  role: string;
  permissions: string[];
  must_change_password: boolean;
}

export interface Position {
  symbol: string;
  quantity: number;
  avg_price: number;
  market_value: number;
  unrealized_pnl: number;
}

export interface PortfolioState {
  total_value: number;
  cash_balance: number;
  positions: Position[];
  realized_pnl: number;
  unrealized_pnl: number;
  fees: number;
  gross_exposure: number;
  net_exposure: number;
  last_updated: string | null;
}

export interface PositionDetail extends Position {
  current_price: number | null;
  cost_basis: number;
  realized_pnl: number;
  fees: number;
  last_updated: string;
}

export interface Performance {
  initial_equity: number;
  final_equity: number;
  /** Deposits minus withdrawals. */
  net_flows: number;
  profit: number;
  /** Time-weighted: net of deposits and withdrawals. */
  total_return: number | null;
  money_weighted_return: number | null;
  annualized_return: number | null;
  realized_pnl: number;
  unrealized_pnl: number;
  fees: number;
  max_drawdown: number;
  max_drawdown_start: string | null;
  max_drawdown_trough: string | null;
  max_drawdown_recovered: string | null;
  volatility: number | null;
  sharpe: number | null;
  sortino: number | null;
  calmar: number | null;
  tail_ratio: number | null;
  /** The daily return that 5 % of the days fall below, and the mean of those. */
  value_at_risk: number | null;
  expected_shortfall: number | null;
  /** Share of the time slices with an open position. */
  exposure: number | null;
  /** Traded value as a multiple of the mean equity. */
  turnover: number | null;
  days_a_year: number;
  days: number;
  annualized_from_days: number;
  trades: number;
  win_rate: number | null;
  profit_factor: number | null;
  average_win: number | null;
  average_loss: number | null;
  /** Mean profit of a closed lot. */
  expectancy: number | null;
  first_valuation: string | null;
  last_valuation: string | null;
}

export interface EquityPoint {
  timestamp: string;
  equity: number;
  cash: number;
  gross_exposure: number;
  net_exposure: number;
  net_flows: number;
  /** What the initial equity would be worth without deposits and withdrawals. */
  equity_net_of_flows: number;
}

export interface CashTransfer {
  transfer_id: string;
  timestamp: string;
  kind: "DEPOSIT" | "WITHDRAWAL" | "FEE" | "INTEREST" | "ADJUSTMENT";
  amount: number;
  currency: string;
  source: string;
  reference: string;
  reason: string;
  actor: string;
}

export interface CashTransferPage {
  transfers: CashTransfer[];
  next: number | null;
}

export interface StrategyActivity {
  strategy: string;
  fills: number;
  traded_notional: number;
  fees: number;
  closed_lots: number;
  won: number;
  realized_pnl: number;
  weight: number | null;
  hits: number;
  outcomes: number;
  hit_rate: number | null;
}

/** The ledger's P&L by strategy, with the ledger's own total at the same time. */
export interface PnlAttribution {
  last_updated: string | null;
  ledger_pnl: number | null;
  strategies: StrategyPnl[];
}

export interface StrategyPnl {
  strategy: string;
  realized_pnl: number;
  unrealized_pnl: number;
  fees: number;
  cash_flows: number;
  total_pnl: number;
}

/** A model's expected return of a symbol over `horizon_bars` bars. */
export interface Prediction {
  timestamp: string;
  model: string;
  model_hash: string;
  horizon_bars: number;
  expected_return: number;
  probability_up: number;
}

export interface Model {
  sha256: string;
  name: string;
  status: string;
}

export interface SentimentScore {
  timestamp: string;
  score: number;
  confidence: number;
  method: string;
  model: string;
  headline: string | null;
}

/** A strategy's latest signal for a symbol. */
export interface StrategySignal {
  id: string;
  timestamp: string;
  strategy: string;
  direction: number;
  strength: number;
  confidence: number;
  parts: Record<string, number>;
}

export interface LastPrice {
  symbol: string;
  price: number;
  volume: number;
  timestamp: string;
  session: string;
  traded: boolean;
  day_open: number;
}

export interface BarHistory {
  /** How to load older bars, which are archived; null if there are none. */
  archived_note: string | null;
  symbol: string;
  bars: {
    open_time: string;
    timestamp: string;
    open: number;
    high: number;
    low: number;
    close: number;
    volume: number;
  }[];
}

/** An alert. `messages_waiting` counts the messages that no channel has accepted. */
export interface Alert {
  alert_id: string;
  key: string;
  name: string;
  severity: string;
  state: string;
  summary: string;
  opened_at: string;
  messages_sent: number;
  messages_waiting: number;
}

/** Why an open order waits. */
export interface WaitingFor {
  cause: string;
  service: string | null;
  text: string;
}

export interface CheckResult {
  check: string;
  found: string;
  limit: string;
}

export interface Order {
  order_id: string;
  symbol: string;
  side: string;
  quantity: number;
  filled_quantity: number;
  avg_fill_price: number | null;
  status: string;
  submitted_at: string;
  filled_at: string | null;
  order_type: string;
  limit_price: number | null;
  stop_price: number | null;
  trail_amount: number | null;
  trail_percent: number | null;
  time_in_force: string;
  expires_at: string | null;
  reduce_only: boolean;
  group_id: string;
  parent_id: string;
  replaces: string;
  fees: number;
  cause_id: string;
  reason: string | null;
  waiting_for: WaitingFor | null;
  emulated_stop?: boolean;
  /** Null for a manual order. */
  strategy?: string | null;
}

export interface OrderDetail extends Order {
  checks: CheckResult[];
}

export interface OrderPage {
  orders: Order[];
  next: number | null;
}

export interface Execution {
  execution_id: string;
  seq: number;
  type: string;
  quantity: number;
  price: number;
  fee: number;
  leaves_quantity: number;
  timestamp: string;
  text: string;
  order_id: string;
  symbol: string;
  side: string;
  filled_at: string | null;
}

export interface ExecutionPage {
  executions: Execution[];
  next: number | null;
}

/** `mae` and `mfe` are fractions of the entry price; null if the bars do not show them. */
export interface ClosedLot {
  seq: number;
  match_id: string;
  symbol: string;
  direction: string;
  quantity: number;
  opened_at: string;
  entry_price: number;
  closed_at: string;
  exit_price: number;
  pnl: number;
  fees: number;
  mae: number | null;
  mfe: number | null;
  strategy: string | null;
  close_execution_id: string;
}

export interface ClosedLotPage {
  lots: ClosedLot[];
  next: number | null;
}

export interface RiskRejection {
  seq: number;
  timestamp: string;
  cause_id: string;
  symbol: string;
  side: string;
  quantity: number;
  check: string;
  found: string;
  limit: string;
  message: string;
}

export interface RiskRejectionPage {
  refusals: RiskRejection[];
  next: number | null;
}

export interface OrderReceipt {
  order_id: string;
  status: string;
  submitted_at: string;
}

export interface OrderCheck {
  approved: boolean;
  message: string | null;
  checks: CheckResult[];
  reference_price: number | null;
  notional: number | null;
}

export interface RiskLimits {
  state: string;
  epoch: number;
  reason: string | null;
  since: string | null;
  limits: Record<string, boolean | number | string | null>;
}

export interface LimitUsage {
  measure: string;
  scope_key: string;
  used: number;
  limit: number | null;
  share: number | null;
  timestamp: string;
}

export interface CircuitBreaker {
  measure: string;
  scope: string;
  key: string;
  state: string;
  threshold: number;
  found: string | null;
  since: string | null;
  actor: string | null;
  reason: string | null;
}

export interface AuditPage {
  commands: {
    command_id: string;
    timestamp: string;
    kind: string;
    actor: string;
    reason: string;
    arguments: Record<string, string>;
    outcomes: string[];
  }[];
}

export interface ComponentHealth {
  status: string;
  latency_ms?: number;
  age_s?: number;
  last_tick_ns?: number;
  dead_letters?: number;
  records_in?: number;
  records_out?: number;
  late_records?: number;
  duplicates?: number;
  seq_gaps?: number;
  started_at?: number;
}

/** A strategy that raised `error` on `symbol`, in `line` of `file`. */
export interface SuspendedStrategy {
  strategy: string;
  since: string;
  symbol: string;
  cause_id: string;
  error: string;
  message: string;
  file: string;
  line: number;
}

/** A strategy, with its sub-account if it is a trading strategy. */
export interface StrategyOverview {
  strategy: string;
  form: "trading" | "view";
  state: "WARMING_UP" | "RUNNING" | "SUSPENDED" | "REMOVED";
  suspension: SuspendedStrategy | null;
  symbols: string[];
  capital: number | null;
  equity: number | null;
  cash: number | null;
  realized_pnl: number | null;
  unrealized_pnl: number | null;
  fees: number | null;
  total_pnl: number | null;
  open_positions: number | null;
  last_action: { action_id: string; timestamp: string; kind: string; symbol: string } | null;
  last_updated: string | null;
}

export interface StrategyPosition {
  symbol: string;
  in_universe: boolean;
  quantity: number;
  avg_price: number;
  market_value: number;
  unrealized_pnl: number;
  realized_pnl: number;
  fees: number;
}

export interface StrategyDetail extends StrategyOverview {
  positions: StrategyPosition[];
}

export interface StrategyEquityPoint {
  timestamp: string;
  equity: number;
  cash: number;
  capital: number;
}

export interface StrategyAction {
  seq: number;
  timestamp: string;
  action_id: string;
  strategy: string;
  kind: string;
  symbol: string;
  arguments: Record<string, string>;
  reason: string;
  cause_ids: string[];
}

export interface InternalCross {
  seq: number;
  timestamp: string;
  cross_id: string;
  symbol: string;
  quantity: number;
  price: number;
  buyer: string;
  seller: string;
  cause_ids: string[];
}

export interface InternalCrossPage {
  crosses: InternalCross[];
  next: number | null;
}

export interface StrategyActionPage {
  actions: StrategyAction[];
  next: number | null;
}

export interface Health {
  status: string;
  degraded: boolean;
  degraded_reasons: string[];
  parts: Record<string, ComponentHealth>;
  dataflows: Record<string, ComponentHealth>;
}

export interface BarUpdate {
  symbol: string;
  price: number;
  volume: number;
  timestamp: string;
  open_time: string;
  open: number;
  high: number;
  low: number;
  traded: boolean;
}

export type PortfolioUpdate =
  | { type: "position_update"; symbol: string; new_quantity: number; new_value: number; avg_price: number }
  | {
      type: "valuation_update";
      total_value: number;
      cash_balance: number;
      gross_exposure: number;
      net_exposure: number;
      unrealized_pnl: number;
      realized_pnl: number;
      fees: number;
      timestamp: string;
    };
