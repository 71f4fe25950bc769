// The panel: who decides, what waits, and the object that is selected.

import { age, asks, byId, command, cores, count, gpus, h, memory, put } from "./format.js";
import { get } from "./live.js";
import { why } from "./why.js";

/** Reason codes as sentences; the codes are a closed set. */
const REASONS = {
  Misconfigured: "contradicts itself",
  DeniedByPolicy: "an admission policy said no",
  Infeasible: "no node could ever run it",
  ExceedsQuota: "larger than its quota",
  QueueSuspended: "its queue is stopped",
  WaitingForGang: "members of its gang are missing",
  WaitingForQuota: "its quota is used up",
  WaitingForCapacity: "nodes that could run it are full",
  FragmentedTopology: "enough is free, but not together",
  WaitingForPreemption: "victims are leaving",
  WaitingForScaleUp: "nodes are on their way",
  BackingOff: "tried a moment ago",
  PendingEvaluation: "not looked at yet",
  HostDegraded: "a policy failed and nobody could answer",
};

/** Pods listed under one reason; the page is no export. */
const PODS_SHOWN = 100;

/** How often an open list or answer is read again, ms. */
const REFRESH_MS = 4_000;

export class Panel {
  constructor(live, go) {
    this.live = live;
    this.go = go; // go({ node, reason, pod }) selects
    this.box = byId("detail");
    this.rows = new Map();
    live.addEventListener("hooks", () => this.policies());
    live.addEventListener("summary", () => { if (this.open?.kind === "home") this.reasons(); });
    live.addEventListener("nodes", () => { if (this.open?.kind === "node" && this.open.view) this.facts(this.open.view); });
    setInterval(() => { if (live.state === "live" && !document.hidden) this.refresh(); }, REFRESH_MS);
  }

  // === Who decides ===

  policies() {
    const box = byId("policies");
    const rows = this.live.hooks.map((hook) => {
      const before = this.seen?.get(hook.active.kind);
      const swapped = before !== undefined && before !== hook.active.revision;
      const members = hook.active.members.map((m) => h("span", {}, h("strong", {}, m.policy.name), ` ${m.policy.version}`, hook.active.members.length > 1 ? ` ×${m.weight}` : ""));
      const first = hook.active.members[0];
      const tag = first?.policy.digest === "builtin" ? "native" : first?.policy.digest.replace("sha256:", "").slice(0, 8);
      return h("div", { class: `policy${swapped ? " swapped" : ""}` },
        h("span", { class: "kind" }, hook.active.kind),
        h("span", {}, members.flatMap((m, i) => (i ? [" + ", m] : [m]))),
        h("span", { class: "sub", title: first?.policy.digest ?? "" }, `set ${hook.active.revision} · ${tag}`,
          hook.previous && ` · rollback brings back ${hook.previous.members.map((m) => m.policy.name).join(" + ")}`),
        hook.degraded && h("span", { class: "sub degraded" }, hook.degraded));
    });
    box.replaceChildren(...rows);
    this.seen = new Map(this.live.hooks.map((hook) => [hook.active.kind, hook.active.revision]));
  }

  // === What is selected ===

  show(selection) {
    const { node, reason, pod } = selection;
    const key = JSON.stringify([node, reason, pod]);
    if (this.open?.key === key) return;
    this.open = { key, kind: pod ? "pod" : node ? "node" : reason ? "reason" : "home", node, reason, pod };
    this.rows.clear();
    if (this.open.kind === "home") {
      this.box.replaceChildren(h("h2", {}, "Waiting"), (this.list = h("div", { class: "reasons" })));
      this.reasons();
    } else {
      this.box.replaceChildren(this.crumbs(), (this.list = h("div", {}, h("p", { class: "muted" }, "loading…"))));
      this.refresh();
      byId("panel").scrollTop = 0;
    }
  }

  crumbs() {
    const { kind, reason, pod, node } = this.open;
    const steps = [h("button", { type: "button", onclick: () => this.go({}) }, "Waiting")];
    if (reason) steps.push(" › ", kind === "reason" ? reason : h("button", { type: "button", onclick: () => this.go({ reason }) }, reason));
    if (pod) steps.push(" › ", pod);
    if (node) steps.push(" › ", node);
    return h("nav", { class: "crumbs", "aria-label": "Selection" }, steps);
  }

  /** Reads what is open again. An answer that comes after another was opened is dropped. */
  async refresh() {
    const open = this.open;
    if (!open || open.kind === "home" || this.box.contains(document.activeElement) && open.loaded) return;
    try {
      if (open.kind === "reason") {
        const page = await get(`pods?phase=waiting&reason=${encodeURIComponent(open.reason)}&limit=${PODS_SHOWN}`);
        if (open === this.open) this.pods(page);
      } else if (open.kind === "pod") {
        const answer = await why(open.pod, this);
        if (open === this.open) this.list.replaceChildren(...answer);
      } else {
        const view = await get(`nodes/${encodeURIComponent(open.node)}`);
        if (open === this.open) this.facts((open.view = view));
      }
      open.loaded = true;
    } catch (error) {
      if (open !== this.open || open.loaded && error.status !== 404) return;
      const gone = error.status === 404 && open.kind === "pod" ? "It ended: the host keeps pods while they wait or run." : error.message;
      this.list.replaceChildren(h("h3", {}, open.pod ?? open.node ?? open.reason), h("p", { class: "lede muted" }, gone));
    }
  }

  // === Reasons ===

  reasons() {
    const { summary } = this.live;
    if (!summary || !this.list) return;
    const entries = Object.entries(summary.waiting).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    if (entries.length === 0) {
      this.rows.clear();
      this.list.replaceChildren(h("p", { class: "muted" }, summary.nodes ? "Nothing is waiting." : "No nodes, so nothing to decide."));
      return;
    }
    const total = entries.reduce((sum, [, n]) => sum + n, 0);
    for (const [code, row] of this.rows) if (!summary.waiting[code]) { row.button.remove(); this.rows.delete(code); }
    if (this.rows.size === 0) this.list.replaceChildren();
    entries.forEach(([code, n], position) => {
      let row = this.rows.get(code);
      if (!row) {
        row = { amount: h("span", { class: "amount" }), age: h("span", { class: "age" }), bar: h("b") };
        row.button = h("button", { type: "button", onclick: () => this.go({ reason: code }) },
          h("span", {}, code), row.amount, row.age,
          h("span", { class: "says" }, REASONS[code] ?? ""), h("span", { class: "track" }, row.bar));
        this.rows.set(code, row);
      }
      put(row.amount, count(n));
      const oldest = summary.oldest?.[code];
      put(row.age, oldest ? age(new Date(summary.now) - new Date(oldest)) : "");
      row.bar.style.width = `${(100 * n) / total}%`;
      if (this.list.children[position] !== row.button) this.list.insertBefore(row.button, this.list.children[position] ?? null);
    });
  }

  pods(page) {
    const now = new Date(this.live.summary?.now ?? Date.now());
    const { reason } = this.open;
    const oldest = page.items.toSorted((a, b) => new Date(a.submitted) - new Date(b.submitted));
    const rows = oldest.map((pod) => h("button", { type: "button", onclick: () => this.go({ reason, pod: pod.name }) },
      h("span", { class: "name" }, pod.name),
      h("span", { class: "asks" }, asks(pod.spec)),
      h("span", { class: "age" }, age(now - new Date(pod.submitted)))));
    const more = page.next_cursor ? h("p", { class: "muted" }, `These are ${PODS_SHOWN} of them.`) : null;
    this.list.replaceChildren(
      h("p", { class: "lede muted" }, REASONS[reason] ?? "", rows.length ? "" : " · no pod now"),
      h("div", { class: "pods" }, rows), ...(more ? [more] : []),
      command(`loadmaster pod list --phase waiting --reason ${reason}`));
  }

  // === A node ===

  facts(view) {
    const { cluster } = this.live;
    const at = cluster?.indexOfName.get(view.name);
    if (at === undefined) return;
    const pods = view.pods.map((name) => h("button", { type: "button", onclick: () => this.go({ pod: name }) }, h("span", { class: "name" }, name), h("span"), h("span", { class: "age" })));
    this.list.replaceChildren(h("h3", {}, view.name), ...nodeFacts(cluster, at),
      h("h4", {}, pods.length ? `${pods.length} pods run here` : "No pod runs here"), h("div", { class: "pods" }, pods),
      command(`loadmaster node show ${view.name}`));
  }
}

/** What the map knows about a node: also the card beside the pointer. */
export function nodeFacts(cluster, at) {
  const { healthy, used } = cluster.usage(at);
  const numa = cluster.wiringOf(at)?.numa;
  const squares = [];
  for (let slot = 0; slot < cluster.gpus(at); slot++) {
    const free = cluster.free[cluster.first[at] + slot];
    const apart = slot > 0 && numa && numa[slot] !== numa[slot - 1] ? " apart" : "";
    const share = 1000 - free;
    squares.push(free < 0
      ? h("span", { class: `broken${apart}`, title: `GPU ${slot}: unhealthy` }, h("b", {}, "✕"))
      : h("span", { class: `${free === 0 ? "whole" : ""}${apart}`, title: `GPU ${slot}: ${share / 10} % used` }, h("i", { height: `${share / 10}%` }), h("b", {}, share === 0 ? "" : Math.round(share / 10))));
  }
  const fact = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
  const place = [cluster.zoneOf(at), cluster.rackOf(at)].filter(Boolean).join(" · ");
  return [
    cluster.state[at] ? h("p", { class: "degraded" }, `${cluster.stateOf(at)}: no new pods`) : "",
    h("div", { class: "slots" }, squares),
    h("dl", { class: "facts" },
      fact("GPU", `${cluster.modelOf(at)} × ${cluster.gpus(at)}${healthy < cluster.gpus(at) ? `, ${healthy} healthy` : ""}`),
      fact("GPU free", gpus(1000 * healthy - used)),
      fact("CPU free", `${cores(cluster.cpu_milli_free[at])} of ${cores(cluster.cpu_milli[at])}`),
      fact("memory free", `${memory(cluster.memory_mib_free[at])} of ${memory(cluster.memory_mib[at])}`),
      place ? fact("place", place) : [],
      fact("pods", count(cluster.pods[at]))),
  ];
}
