// The state of the host in this page: a snapshot, then changes by server-sent
// events. The only file that knows the addresses. All are relative, so that the
// page works below any path.

import { Cluster } from "./cluster.js";

const API = "api/v1";

/** First wait before trying again, ms; doubled up to the last, plus chance so
    that many pages do not come back at once. */
const RETRY_MS = 500, RETRY_MS_MAX = 10_000;

/** Longer than this without a word (the host says something each second) is a
    dead connection, ms. */
const SILENCE_MS = 6_000;

/** Points of the time line that are kept: ten minutes. */
const POINTS_MAX = 600;

export async function get(path) {
  const response = await fetch(`${API}/${path}`, { headers: { accept: "application/json" } });
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    const error = new Error(body?.detail ?? body?.title ?? `the host answered ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return body;
}

export class Live extends EventTarget {
  constructor() {
    super();
    this.state = "loading"; // loading, live, paused, down
    this.cluster = null;
    this.summary = null;
    this.hooks = [];
    this.points = []; // { at, gpus, used, decisions, running, waiting }
    this.marks = [];
    this.asOf = null;
    this.problem = "";
    this.retry = RETRY_MS;
    this.source = null;
    setInterval(() => this.watch(), 1000);
  }

  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  become(state, problem = "") {
    this.state = state;
    this.problem = problem;
    this.tell("state");
  }

  async start() {
    this.stop();
    const attempt = (this.attempt = {});
    try {
      const [map, timeline] = await Promise.all([get("map"), get("timeline")]);
      if (attempt !== this.attempt) return;
      this.cluster = new Cluster(map);
      this.summary = map.summary;
      this.hooks = map.hooks;
      this.points = timeline.points;
      this.marks = timeline.marks;
      this.asOf = new Date(map.time);
      this.heard = performance.now();
      this.listen(map.cursor);
      this.retry = RETRY_MS;
      this.become("live");
      for (const what of ["cluster", "summary", "hooks", "points"]) this.tell(what);
    } catch (error) {
      // A TypeError of fetch says in each browser's own words that nobody answered.
      if (attempt === this.attempt) this.later(error instanceof TypeError ? "nobody answers" : error.message);
    }
  }

  listen(cursor) {
    const source = (this.source = new EventSource(`${API}/map/events?after=${encodeURIComponent(cursor)}`));
    const on = (name, act) => source.addEventListener(name, (event) => {
      if (this.source !== source) return;
      this.heard = performance.now();
      act(JSON.parse(event.data));
    });
    on("change", (change) => {
      this.asOf = new Date(change.time);
      this.summary = change.summary;
      if (change.nodes && !this.cluster.apply(change.nodes, performance.now())) return this.start();
      if (change.nodes) this.tell("nodes");
      this.tell("summary");
    });
    on("point", ({ time, point, summary }) => {
      this.asOf = new Date(time);
      this.summary = summary;
      this.points.push(point);
      if (this.points.length > POINTS_MAX) this.points.shift();
      this.tell("points");
    });
    on("mark", (mark) => {
      this.marks.push(mark);
      this.newest = mark;
      this.tell("mark");
      this.tell("points");
    });
    on("hooks", (hooks) => {
      this.hooks = hooks;
      this.tell("hooks");
    });
    // Nodes came or went, or this page is too slow. They often come in rows, so
    // wait a moment and read all at once.
    on("resync", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.start(), RETRY_MS);
    });
    source.onerror = () => { if (this.source === source) this.later("the connection broke"); };
  }

  later(problem) {
    this.stop();
    this.become("down", problem);
    const wait = this.retry * (0.75 + 0.5 * Math.random());
    this.retry = Math.min(RETRY_MS_MAX, this.retry * 2);
    this.timer = setTimeout(() => this.start(), wait);
  }

  watch() {
    if (this.state === "live" && performance.now() - this.heard > SILENCE_MS) this.later("the host is silent");
  }

  stop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.attempt = null;
  }

  pause() {
    if (this.state === "paused") {
      this.become("loading");
      this.start();
    } else {
      this.stop();
      this.become("paused");
    }
  }

  /** Decisions a second over the last points. */
  rate() {
    const last = this.points.at(-1), before = this.points.at(-6) ?? this.points[0];
    if (!last || last === before) return 0;
    return Math.max(0, ((last.decisions - before.decisions) * 1000) / (last.at - before.at));
  }
}
