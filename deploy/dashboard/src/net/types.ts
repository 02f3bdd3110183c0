/** The API's answers, as far as the screens use them (`/openapi.json` is the whole). Money and quantities are numbers. */

export interface TokenPair {
  access_token: string;
  refresh_token: string;
  expires_at: string;
  username: string;
  role: string;
  must_change_password: boolean;
}

export interface Me {
  username: string;
  role: string;
  permissions: string[];
  must_change_password: boolean;
}

export interface Holding {
  symbol: string;
  quantity: number;
  avg_price: number;
  market_value: number;
  unrealized_pnl: number;
}

export interface PortfolioState {
  total_value: number;
  cash_balance: number;
  positions: Holding[];
  realized_pnl: number;
  unrealized_pnl: number;
  fees: number;
  gross_exposure: number;
  net_exposure: number;
  last_updated: string | null;
}

export interface PositionDetail extends Holding {
  current_price: number | null;
  cost_basis: number;
  realized_pnl: number;
  fees: number;
  last_updated: string;
}

export interface Performance {
  initial_equity: number;
  final_equity: number;
  total_return: number | null;
  annualized_return: number | null;
  realized_pnl: number;
  unrealized_pnl: number;
  fees: number;
  max_drawdown: number;
  volatility: number | null;
  sharpe: number | null;
  trades: number;
  win_rate: number | null;
  profit_factor: number | null;
  average_win: number | null;
  average_loss: number | null;
  first_valuation: string | null;
  last_valuation: string | null;
}

export interface EquityPoint {
  timestamp: string;
  equity: number;
  cash: number;
  gross_exposure: number;
  net_exposure: number;
}

export interface StrategyResult {
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

/** The ledger's P&L by strategy, and what the ledger itself said at that time. */
export interface Attribution {
  last_updated: string | null;
  ledger_pnl: number | null;
  strategies: StrategyShare[];
}

export interface StrategyShare {
  strategy: string;
  realized_pnl: number;
  unrealized_pnl: number;
  fees: number;
  cash_flows: number;
  total_pnl: number;
}

/** Of a model: what it expects of a symbol over some bars. */
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

export interface Score {
  timestamp: string;
  score: number;
  confidence: number;
  method: string;
  model: string;
  headline: string | null;
}

/** A strategy's last word on a symbol. */
export interface View {
  id: string;
  timestamp: string;
  strategy: string;
  direction: number;
  strength: number;
  confidence: number;
  parts: Record<string, number>;
}

export interface Price {
  symbol: string;
  price: number;
  volume: number;
  timestamp: string;
  session: string;
  traded: boolean;
  day_open: number;
}

export interface History {
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

export interface Check {
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
}

export interface OrderDetail extends Order {
  checks: Check[];
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

export interface Refusal {
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

export interface RefusalPage {
  refusals: Refusal[];
  next: number | null;
}

export interface Submitted {
  order_id: string;
  status: string;
  submitted_at: string;
}

export interface Forecast {
  approved: boolean;
  message: string | null;
  checks: Check[];
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

export interface Breaker {
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
    outcomes: string[];
  }[];
}

export interface Part {
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

export interface Health {
  status: string;
  degraded: boolean;
  degraded_reasons: string[];
  parts: Record<string, Part>;
  dataflows: Record<string, Part>;
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
