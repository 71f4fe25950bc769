// Why a pod waits, or why it runs where it runs.

import { age, asks, command, count, h } from "./format.js";
import { get } from "./live.js";

/** Node names shown behind one line. */
const NAMES_SHOWN = 4;

/** Elements that answer for a pod. `panel.go` selects other objects. */
export async function why(name, panel) {
  const path = `pods/${encodeURIComponent(name)}`;
  const [answer, pod] = await Promise.all([get(`${path}/why`), get(path)]);
  // The host's clock: it may not be this machine's, as in the demo.
  const now = new Date(panel.live.summary?.now ?? Date.now());
  const head = [h("h3", {}, name), h("p", { class: "muted" }, `${asks(pod.spec)} · priority ${pod.spec.priority ?? 0}`)];
  if (answer.state.phase === "running") {
    const { node, devices, since, decision } = answer.state;
    const detail = await get(`decisions/${decision}`).catch(() => null);
    return [...head,
      h("p", { class: "lede" }, "Runs on ", nodeLink(node, panel), devices.length ? ` on GPU ${devices.join(", ")}` : "", ` for ${age(now - new Date(since))}.`),
      ...(detail ? table(detail, panel) : []),
      command(`loadmaster decision explain ${decision}`)];
  }
  return [...head,
    h("p", { class: "lede" }, h("span", { class: "code" }, answer.state.reason), ` for ${age(now - new Date(answer.submitted))}`,
      answer.ahead ? `, ${count(answer.ahead)} ahead of it` : ""),
    funnel(answer, panel), ...fixes(answer, panel),
    command(`loadmaster why pod/${name}`)];
}

function nodeLink(name, panel) {
  return h("button", { type: "button", class: "plain", onclick: () => panel.go({ node: name }) }, name);
}

function joined(names, panel) {
  const shown = names.slice(0, NAMES_SHOWN).flatMap((name, i) => (i ? [", ", nodeLink(name, panel)] : [nodeLink(name, panel)]));
  return names.length > NAMES_SHOWN ? [...shown, ", …"] : shown;
}

/** Lines whose counts add up to the number of nodes. */
function funnel(answer, panel) {
  const lines = answer.lines.map((line) => {
    const bar = h("b", { width: `${(100 * line.count) / Math.max(1, answer.nodes)}%` });
    return h("li", { class: line.check === "Fits" ? "fits" : "" },
      h("span", { class: "amount" }, count(line.count)),
      h("div", {}, line.text, h("div", { class: "track" }, bar),
        line.nearest && h("small", {}, `nearest: ${line.nearest}`),
        line.nodes.length > 0 && h("small", {}, joined(line.nodes, panel))));
  });
  const sum = answer.lines.reduce((total, line) => total + line.count, 0);
  return h("ol", { class: "funnel" }, lines, h("li", { class: "sum" }, h("span", { class: "amount" }, `= ${count(sum)}`), h("span", {}, sum === answer.nodes ? "all nodes of the cluster" : `of ${count(answer.nodes)} nodes`)));
}

function fixes(answer, panel) {
  if (answer.fixes.length === 0) return [];
  const pods = (list) => list.flatMap((name, i) => [i ? ", " : "", h("button", { type: "button", class: "plain", onclick: () => panel.go({ pod: name }) }, name)]);
  const text = (fix) => {
    switch (fix.way) {
      case "wait": return [nodeLink(fix.node, panel), " has room when ", pods(fix.pods), fix.pods.length === 1 ? " ends" : " end"];
      case "preempt": return [pods(fix.pods), fix.pods.length === 1 ? " has" : " have", " lower priority and enough on ", nodeLink(fix.node, panel)];
      case "relax": return [`without ${fix.what} ${fix.fits === 1 ? "1 node fits" : `${count(fix.fits)} nodes fit`} now, `, nodeLink(fix.node, panel), " for one"];
      default: return ["one more node like ", nodeLink(fix.like, panel)];
    }
  };
  return [h("h4", {}, "What would let it run"), h("ol", { class: "fixes" }, answer.fixes.map((fix) => h("li", {}, h("b", {}, fix.way), h("span", {}, text(fix)))))];
}

/** Candidates shown of a decision. */
const CANDIDATES_SHOWN = 6;

/** The score table: cells add up to the total; a dash is an abstention. */
function table(detail, panel) {
  const members = detail.set?.members ?? [];
  const weighted = detail.set?.combine !== "tiers";
  const points = (milli) => (milli / 1000).toFixed(1);
  const cell = (score, at) => (score === null ? "–" : points(weighted ? score * Number(members[at]?.weight ?? 1) : score));
  const rows = detail.candidates.slice(0, CANDIDATES_SHOWN).map((c, i) => h("tr", { class: i ? "" : "won" },
    h("td", {}, nodeLink(c.node, panel)), c.scores.map((s, at) => h("td", {}, cell(s, at))),
    h("td", {}, weighted ? points(c.total / 1000) : "")));
  const head = h("tr", {}, h("th", {}, "node"), (members.length ? members : detail.candidates[0]?.scores ?? []).map((m) => h("th", {}, m?.policy ? `${m.policy.name}${members.length > 1 ? ` ×${m.weight}` : ""}` : "score")), h("th", {}, "total"));
  const fits = detail.filter.counts.Fits ?? 0;
  const decisive = (detail.influence ?? []).filter((i) => i.decisive && members.length > 1);
  return [
    h("h4", {}, `Decision ${detail.id}: ${count(fits)} of ${count(detail.filter.nodes)} nodes could run it`),
    rows.length ? h("div", { class: "scroll" }, h("table", { class: "scores" }, h("thead", {}, head), h("tbody", {}, rows))) : "",
    ...decisive.map((i) => h("p", { class: "muted" }, `without ${i.policy} ${i.winner_without ?? "no node"} would have won`)),
  ];
}
