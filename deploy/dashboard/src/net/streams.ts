/** Both WebSockets: log in by the first message, come back with growing pauses, and say how they stand. */
import { effect, signal, type ReadonlySignal } from "@preact/signals";

import { pauseMs } from "../pure/backoff.ts";
import { heard, isQuiet, NO_PACE, type Pace } from "../pure/freshness.ts";
import { BACK } from "./api.ts";
import { ApiError, loggedIn, mustChange, renewed, token } from "./session.ts";

/** "live", "quiet" (connected, but its usual messages do not come), "connecting" or "lost". */
export interface Standing {
  readonly state: "off" | "connecting" | "live" | "quiet" | "lost";
  /** When the last message came, ms since 1970. */
  readonly at: number | null;
  /** When the next try is, ms since 1970. */
  readonly retryAt: number | null;
  readonly why: string;
}

const UNAUTHENTICATED = 4401;
const OPEN_MS = 10_000;

export class Stream<T> {
  readonly standing: ReadonlySignal<Standing>;
  private readonly shown = signal<Standing>({ state: "off", at: null, retryAt: null, why: "" });
  private socket: WebSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private failures = 0;
  private pace: Pace = NO_PACE;
  private expired = false;

  /** `message` gets each one; `opened` is called after each (re)connection: what was missed must be asked for. */
  constructor(
    private readonly path: string,
    private readonly message: (found: T) => void,
    private readonly opened: () => void,
  ) {
    this.standing = this.shown;
    effect(() => {
      if (loggedIn.value && !mustChange.value) void this.connect();
      else this.close();
    });
    setInterval(() => this.look(), 1000);
    for (const name of ["online", BACK]) window.addEventListener(name, () => this.now());
  }

  private show(change: Partial<Standing>): void {
    this.shown.value = { ...this.shown.peek(), ...change };
  }

  private look(): void {
    const { state } = this.shown.peek();
    if (state !== "live" && state !== "quiet") return;
    const next = isQuiet(this.pace, Date.now()) ? "quiet" : "live";
    if (next !== state) this.show({ state: next });
  }

  /** Without waiting for the pause to end. */
  now(): void {
    if (this.timer === null) return;
    clearTimeout(this.timer);
    this.timer = null;
    void this.connect();
  }

  private async connect(): Promise<void> {
    if (this.socket !== null || this.timer !== null) return;
    let access: string;
    try {
      access = this.expired ? await renewed() : await token();
      this.expired = false;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (loggedIn.peek()) this.later(error.message);
      return;
    }
    if (this.socket !== null || !loggedIn.peek()) return;
    if (this.shown.peek().state === "off") this.show({ state: "connecting" });
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${this.path}`);
    this.socket = socket;
    const giveUp = setTimeout(() => socket.close(), OPEN_MS);
    let confirmed: ReturnType<typeof setTimeout> | null = null;
    const good = (): void => {
      clearTimeout(giveUp);
      if (confirmed !== null) clearTimeout(confirmed);
      confirmed = null;
      if (this.shown.peek().state === "live" || this.shown.peek().state === "quiet") return;
      this.failures = 0;
      this.pace = NO_PACE;
      this.show({ state: "live", retryAt: null, why: "" });
      this.opened();
    };
    socket.onopen = () => {
      clearTimeout(giveUp);
      socket.send(JSON.stringify({ type: "auth", token: access }));
      // The API says nothing to a good token; a bad one, or an API that is away, ends the socket within a moment.
      confirmed = setTimeout(good, 500);
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      good();
      this.pace = heard(this.pace, Date.now());
      this.show({ at: Date.now() });
      this.message(JSON.parse(event.data) as T);
    };
    socket.onclose = (event) => {
      clearTimeout(giveUp);
      if (confirmed !== null) clearTimeout(confirmed);
      if (this.socket !== socket) return;
      this.socket = null;
      this.expired = event.code === UNAUTHENTICATED;
      this.later(event.reason || "the connection was lost");
    };
  }

  private later(why: string): void {
    const pause = this.expired && this.failures === 0 ? 0 : pauseMs(this.failures);
    this.failures += 1;
    this.show({ state: "lost", retryAt: Date.now() + pause, why });
    this.timer = setTimeout(() => {
      this.timer = null;
      void this.connect();
    }, pause);
  }

  private close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.failures = 0;
    if (this.shown.peek().state !== "off") this.show({ state: "off", at: null, retryAt: null, why: "" });
  }
}
