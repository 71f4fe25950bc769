// Puts the parts together: numbers, selection in the address, keys.

import { age, byId, clock, count, h, percent, put, rate } from "./format.js";
import { Live, get } from "./live.js";
import { GpuMap } from "./map.js";
import { nodeFacts, Panel } from "./panel.js";
import { label, Timeline } from "./timeline.js";

const live = new Live();
const panel = new Panel(live, select);
const map = new GpuMap({ hover: card, select: (at) => select(at < 0 ? {} : { node: live.cluster.name[at] }) });
new Timeline(live);

// === Selection: the address is the truth ===

function selection() {
  const given = new URLSearchParams(location.hash.slice(1));
  const of = (name) => given.get(name) ?? undefined;
  return { node: of("node"), reason: of("reason"), pod: of("pod") };
}

function select(what) {
  const wanted = new URLSearchParams(Object.entries(what).filter(([, v]) => v));
  const hash = wanted.toString();
  if (hash !== location.hash.slice(1)) history.pushState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  follow();
}

async function follow() {
  const chosen = selection();
  panel.show(chosen);
  const at = chosen.node ? live.cluster?.indexOfName.get(chosen.node) ?? -1 : -1;
  map.selected = at;
  map.pinned = [];
  if (at >= 0) map.reveal(at);
  map.redraw();
  if (chosen.pod && live.cluster) {
    // The node of the pod, or those it could have after a fix, are ringed.
    const answer = await get(`pods/${encodeURIComponent(chosen.pod)}/why`).catch(() => null);
    if (!answer || selection().pod !== chosen.pod) return;
    const names = answer.state.node ? [answer.state.node] : answer.fixes.map((f) => f.node).filter(Boolean);
    map.pinned = names.map((n) => live.cluster.indexOfName.get(n)).filter((n) => n !== undefined);
    map.redraw();
  }
}
addEventListener("popstate", follow);
addEventListener("hashchange", follow);

// === Numbers ===

function numbers() {
  const s = live.summary;
  if (!s) return;
  const share = s.gpus ? s.gpu_milli_used / (1000 * s.gpus) : 0;
  put(byId("n-nodes"), count(s.nodes));
  put(byId("n-gpus"), count(s.gpus));
  put(byId("n-alloc"), s.gpus ? percent(share) : "–");
  byId("n-alloc-bar").style.width = `${100 * share}%`;
  put(byId("n-running"), count(s.running));
  put(byId("n-waiting"), count(Object.values(s.waiting).reduce((a, b) => a + b, 0)));
  put(byId("n-decisions"), count(s.decisions));
  put(byId("n-rate"), rate(live.rate()));
  if (live.state === "live") put(byId("live-state"), `as of ${clock(live.asOf)}`);
  document.title = s.gpus ? `${percent(share)} · Loadmaster` : "Loadmaster";
  empty();
}

function state() {
  const element = byId("live-state");
  element.dataset.state = live.state;
  const since = live.asOf ? ` · as of ${clock(live.asOf)}` : "";
  put(element, { loading: "loading", live: `as of ${live.asOf ? clock(live.asOf) : ""}`, paused: `paused${since}`, down: `offline${since}` }[live.state]);
  const pause = byId("pause");
  pause.setAttribute("aria-pressed", String(live.state === "paused"));
  put(pause, live.state === "paused" ? "go on" : "pause");
  const banner = byId("banner");
  banner.hidden = live.state !== "down";
  if (!banner.hidden) {
    const old = live.asOf ? `What is shown is ${age(Date.now() - live.asOf)} old. ` : "";
    put(banner, `No connection to the host: ${live.problem}. ${old}Trying again.`);
  }
  empty();
}

function empty() {
  const box = byId("empty");
  const none = live.cluster?.size === 0;
  const waiting = !live.cluster;
  box.hidden = !none && !waiting;
  if (none && box.dataset.shows !== "none") {
    box.dataset.shows = "none";
    box.replaceChildren(h("h3", {}, "No nodes yet"), h("p", {}, "Nodes appear here as soon as they are described to the host:"), h("p", {}, h("code", {}, "loadmaster node put nodes.json")));
  } else if (waiting && box.dataset.shows !== live.state) {
    box.dataset.shows = live.state;
    box.replaceChildren(h("h3", {}, live.state === "down" ? "The host does not answer" : "Reading the cluster…"),
      h("p", {}, live.state === "down" ? "This page tries again by itself. Is it running?" : ""), ...(live.state === "down" ? [h("p", {}, h("code", {}, "loadmaster serve"))] : []));
  }
}

// === The card beside the pointer, the table twin, search ===

function card(at, x, y) {
  const box = byId("card");
  box.hidden = at < 0;
  if (at < 0) return;
  box.replaceChildren(h("h3", {}, live.cluster.name[at]), ...nodeFacts(live.cluster, at));
  const stage = byId("stage");
  box.style.left = `${Math.max(0, x + 18 + 268 > stage.clientWidth ? x - 18 - 268 : x + 18)}px`;
  box.style.top = `${Math.max(0, Math.min(y + 14, stage.clientHeight - box.offsetHeight - 4))}px`;
}

/** Rows of the table twin: what a person can still read. */
const ROWS_SHOWN = 300;

function table() {
  const box = byId("table");
  if (box.hidden || !live.cluster) return;
  const c = live.cluster;
  const rows = [];
  let left = 0;
  for (let at = 0; at < c.size; at++) {
    if (map.matches && !map.matches[at]) continue;
    if (rows.length === ROWS_SHOWN) { left += 1; continue; }
    const { healthy, used } = c.usage(at);
    rows.push(h("tr", {}, h("td", {}, h("button", { type: "button", class: "plain", onclick: () => select({ node: c.name[at] }) }, c.name[at])),
      h("td", {}, c.modelOf(at)), h("td", {}, `${(used / 1000).toFixed(2)} / ${healthy}`), h("td", {}, count(c.pods[at])),
      h("td", {}, [c.zoneOf(at), c.rackOf(at)].filter(Boolean).join(" · ")), h("td", {}, c.stateOf(at) || "ok")));
  }
  box.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ["node", "model", "GPU used", "pods", "place", "state"].map((t) => h("th", {}, t)))), h("tbody", {}, rows)),
    ...(left ? [h("p", { class: "muted" }, `${count(left)} more: search to narrow it down.`)] : []));
}

function toggleTable() {
  const box = byId("table"), shown = box.hidden;
  box.hidden = !shown;
  byId("as-table").setAttribute("aria-pressed", String(shown));
  table();
}

function search() {
  const wanted = byId("search").value.trim().toLowerCase();
  const c = live.cluster;
  if (!c) return;
  map.matches = wanted ? c.name.map((name, at) => name.toLowerCase().includes(wanted) || c.rackOf(at).includes(wanted) || c.modelOf(at).toLowerCase() === wanted) : null;
  // A search for a pod leaves the map as it is.
  if (map.matches && !map.matches.includes(true)) map.matches = null;
  map.redraw();
  table();
}

byId("search").addEventListener("input", search);
byId("search").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const wanted = byId("search").value.trim();
  if (!wanted) return;
  const at = map.matches ? map.matches.indexOf(true) : -1;
  select(at >= 0 ? { node: live.cluster.name[at] } : { pod: wanted });
});

// === What happened ===

let toastTimer;
function toast() {
  const mark = live.newest, box = byId("toast");
  const title = { swap: "Policies swapped", rollback: "Rolled back", revert: "A policy set was taken out", fault: "A policy misbehaved" }[mark.kind] ?? mark.kind;
  box.replaceChildren(h("b", {}, `${title}: `), label(mark), mark.text && mark.to ? h("div", { class: "muted" }, mark.text) : "");
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.hidden = true; }, 9000);
}

// === Keys ===

const help = byId("help");
const keys = {
  "/": () => byId("search").focus(),
  p: () => live.pause(),
  t: toggleTable,
  "+": () => map.zoomKey(1),
  "=": () => map.zoomKey(1),
  "-": () => map.zoomKey(-1),
  0: () => map.fit(),
  "?": () => help.showModal(),
  Escape: () => select({}),
};
addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (typing && event.key === "Escape") {
    event.target.value = "";
    event.target.blur();
    search();
    return;
  }
  if (typing || help.open || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

byId("pause").addEventListener("click", () => live.pause());
byId("help-open").addEventListener("click", () => help.showModal());
byId("zoom-in").addEventListener("click", () => map.zoomBy(1));
byId("zoom-out").addEventListener("click", () => map.zoomBy(-1));
byId("zoom-fit").addEventListener("click", () => map.fit());
byId("as-table").addEventListener("click", toggleTable);
byId("legend").replaceChildren(...[["", "free"], ["shared", "shared, as full as used"], ["whole", "full"], ["linked", "NVLink"], ["cordoned", "cordoned"], ["broken", "unhealthy"], ["failed", "node failed"]]
  .map(([kind, text]) => h("li", {}, h("i", { class: `swatch ${kind}` }), text)));

live.addEventListener("cluster", () => { map.show(live.cluster); search(); follow(); });
live.addEventListener("nodes", () => map.redraw());
live.addEventListener("summary", numbers);
live.addEventListener("points", numbers);
live.addEventListener("state", state);
live.addEventListener("mark", toast);
setInterval(table, 2000);
setInterval(() => { if (live.state === "down") state(); }, 1000);

panel.show(selection());
state();
live.start();

// For measurements: time of the last frame of the map, ms.
Object.defineProperty(window, "loadmasterDrawMs", { get: () => map.drawMs });
