/** A WebSocket stream of the API: authenticates with its first message, reconnects with backoff, and reports its status. */
import { effect, signal, type ReadonlySignal } from "@preact/signals";

import { backoffMs } from "../pure/backoff.ts";
import { isStale, NO_MESSAGES, recordMessage, type MessageRate } from "../pure/freshness.ts";
import { API_RECONNECTED } from "./api.ts";
import { accessToken, ApiError, loggedIn, mustChangePassword, refreshSession } from "./session.ts";

/** `state` "stale": connected, but the usual messages do not arrive. */
export interface StreamStatus {
  readonly state: "off" | "connecting" | "live" | "stale" | "disconnected";
  /** Time of the last message, ms since 1970. */
  readonly lastMessageAt: number | null;
  /** Time of the next connection attempt, ms since 1970. */
  readonly retryAt: number | null;
  /** Why the stream is disconnected. */
  readonly reason: string;
}

const UNAUTHENTICATED = 4401;
const OPEN_TIMEOUT_MS = 10_000;
const CONFIRM_MS = 500;
const OFF: StreamStatus = { state: "off", lastMessageAt: null, retryAt: null, reason: "" };

export class Stream<T> {
  readonly status: ReadonlySignal<StreamStatus>;
  private readonly current = signal<StreamStatus>(OFF);
  private socket: WebSocket | null = null;
  private retryTimer: ReturnType<typeof setTimeout> | null = null;
  private failures = 0;
  private rate: MessageRate = NO_MESSAGES;
  private tokenExpired = false;

  /** `onConnected` runs after each connection, to load what was missed. */
  constructor(
    private readonly path: string,
    private readonly onMessage: (message: T) => void,
    private readonly onConnected: () => void,
  ) {
    this.status = this.current;
    effect(() => {
      if (loggedIn.value && !mustChangePassword.value) void this.connect();
      else this.close();
    });
    setInterval(() => this.checkFreshness(), 1000);
    for (const name of ["online", API_RECONNECTED]) window.addEventListener(name, () => this.retryNow());
  }

  private update(change: Partial<StreamStatus>): void {
    this.current.value = { ...this.current.peek(), ...change };
  }

  private checkFreshness(): void {
    const { state } = this.current.peek();
    if (state !== "live" && state !== "stale") return;
    const next = isStale(this.rate, Date.now()) ? "stale" : "live";
    if (next !== state) this.update({ state: next });
  }

  /** Skips the rest of the backoff delay. */
  private retryNow(): void {
    if (this.retryTimer === null) return;
    clearTimeout(this.retryTimer);
    this.retryTimer = null;
    void this.connect();
  }

  private async connect(): Promise<void> {
    if (this.socket !== null || this.retryTimer !== null) return;
    let access: string;
    try {
      access = this.tokenExpired ? await refreshSession() : await accessToken();
      this.tokenExpired = false;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (loggedIn.peek()) this.scheduleRetry(error.message);
      return;
    }
    if (this.socket !== null || !loggedIn.peek()) return;
    if (this.current.peek().state === "off") this.update({ state: "connecting" });
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${this.path}`);
    this.socket = socket;
    const openTimer = setTimeout(() => socket.close(), OPEN_TIMEOUT_MS);
    let confirmTimer: ReturnType<typeof setTimeout> | null = null;
    const confirm = (): void => {
      clearTimeout(openTimer);
      if (confirmTimer !== null) clearTimeout(confirmTimer);
      confirmTimer = null;
      if (this.current.peek().state === "live" || this.current.peek().state === "stale") return;
      this.failures = 0;
      this.rate = NO_MESSAGES;
      this.update({ state: "live", retryAt: null, reason: "" });
      this.onConnected();
    };
    socket.onopen = () => {
      clearTimeout(openTimer);
      socket.send(JSON.stringify({ type: "auth", token: access }));
      // The API sends no reply to a valid token. It closes the socket at once for an invalid token.
      confirmTimer = setTimeout(confirm, CONFIRM_MS);
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      confirm();
      this.rate = recordMessage(this.rate, Date.now());
      this.update({ lastMessageAt: Date.now() });
      this.onMessage(JSON.parse(event.data) as T);
    };
    socket.onclose = (event) => {
      clearTimeout(openTimer);
      if (confirmTimer !== null) clearTimeout(confirmTimer);
      if (this.socket !== socket) return;
      this.socket = null;
      this.tokenExpired = event.code === UNAUTHENTICATED;
      this.scheduleRetry(event.reason);
    };
  }

  private scheduleRetry(reason: string): void {
    const delay = this.tokenExpired && this.failures === 0 ? 0 : backoffMs(this.failures);
    this.failures += 1;
    this.update({ state: "disconnected", retryAt: Date.now() + delay, reason });
    this.retryTimer = setTimeout(() => {
      this.retryTimer = null;
      void this.connect();
    }, delay);
  }

  private close(): void {
    if (this.retryTimer !== null) clearTimeout(this.retryTimer);
    this.retryTimer = null;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.failures = 0;
    if (this.current.peek().state !== "off") this.update(OFF);
  }
}
