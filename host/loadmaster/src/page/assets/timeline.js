// Allocation and decisions a second over the last minutes, with a flag at every
// swap, rollback and fault.

import { byId, clock, h, micros, percent, rate } from "./format.js";

/** Least time shown, ms: a line that begins a second ago is no line. */
const SPAN_MS = 60_000;

const NAMES = { swap: "swap", rollback: "rolled back", revert: "reverted", fault: "fault" };

export const label = (mark) => {
  const change = mark.to ? `${mark.from ? `${mark.from} → ` : ""}${mark.to}` : mark.text;
  return mark.pause_us === undefined || mark.pause_us === null ? change : `${change} · ${micros(mark.pause_us)}`;
};

export class Timeline {
  constructor(live) {
    this.live = live;
    this.canvas = byId("time-line");
    this.pointer = null;
    live.addEventListener("points", () => this.redraw());
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.canvas.addEventListener("pointermove", (event) => { this.pointer = event.offsetX; this.redraw(); });
    this.canvas.addEventListener("pointerleave", () => { this.pointer = null; this.redraw(); });
  }

  redraw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; this.draw(); });
  }

  draw() {
    const { points, marks } = this.live;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const c = this.canvas.getContext("2d");
    c.scale(ratio, ratio);
    const root = getComputedStyle(document.documentElement);
    const colour = (name) => root.getPropertyValue(`--${name}`).trim();
    const family = getComputedStyle(document.body).fontFamily;
    c.font = `10.5px ${family}`;
    c.textBaseline = "middle";
    if (points.length < 2) {
      c.fillStyle = colour("muted");
      c.fillText("The line begins with the second second.", 16, height / 2);
      byId("time-read").textContent = "";
      return;
    }

    const left = 54, right = width - 70, top = 22, bottom = height - 16;
    const end = points.at(-1).at, begin = Math.min(points[0].at, end - SPAN_MS);
    const x = (at) => left + ((at - begin) / (end - begin)) * (right - left);
    const share = (p) => (p.gpus ? p.used / (1000 * p.gpus) : 0);
    const y = (value) => bottom - value * (bottom - top);
    const rates = points.map((p, i) => (i === 0 ? 0 : Math.max(0, ((p.decisions - points[i - 1].decisions) * 1000) / Math.max(1, p.at - points[i - 1].at))));
    const ceiling = nice(Math.max(1, ...rates));

    c.strokeStyle = colour("line");
    c.fillStyle = colour("muted");
    c.lineWidth = 1;
    for (const value of [0, 0.5, 1]) {
      c.beginPath();
      c.moveTo(left, Math.round(y(value)) + 0.5);
      c.lineTo(right, Math.round(y(value)) + 0.5);
      c.stroke();
      c.textAlign = "right";
      c.fillText(`${value * 100} %`, left - 7, y(value));
      c.textAlign = "left";
      c.fillText(value === 0 ? "0" : `${rate(ceiling * value)}/s`, right + 7, y(value));
    }
    for (const [at, align] of [[begin, "left"], [end, "right"]]) {
      c.textAlign = align;
      c.fillText(clock(new Date(at)), x(at), height - 6);
    }

    // Allocation: an area. Rates: a thin line on the other scale.
    c.beginPath();
    points.forEach((p, i) => c[i ? "lineTo" : "moveTo"](x(p.at), y(share(p))));
    c.strokeStyle = colour("gpu-whole");
    c.lineWidth = 1.75;
    c.stroke();
    c.lineTo(x(end), bottom);
    c.lineTo(x(points[0].at), bottom);
    c.globalAlpha = 0.16;
    c.fillStyle = colour("gpu-whole");
    c.fill();
    c.globalAlpha = 1;
    c.beginPath();
    rates.forEach((r, i) => { if (i) c[i > 1 ? "lineTo" : "moveTo"](x(points[i].at), y(r / ceiling)); });
    c.strokeStyle = colour("muted");
    c.lineWidth = 1;
    c.setLineDash([2, 2]);
    c.stroke();
    c.setLineDash([]);

    // Flags; a label that would cover its neighbour is left out, the flag stays.
    let free = -Infinity;
    const shown = marks.filter((m) => m.at >= begin && m.at <= end + 2000);
    for (const mark of shown.toReversed()) {
      const mx = Math.round(Math.min(x(mark.at), right)) + 0.5;
      c.strokeStyle = c.fillStyle = colour(mark.kind === "swap" ? "text" : "bad");
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(mx, 6);
      c.lineTo(mx, bottom);
      c.stroke();
      c.beginPath();
      c.moveTo(mx, 4);
      c.lineTo(mx + 7, 8);
      c.lineTo(mx, 12);
      c.fill();
      const text = `${NAMES[mark.kind] ?? mark.kind}  ${label(mark)}`;
      const wide = c.measureText(text).width + 14;
      const after = mx + wide < right + 60;
      const from = after ? mx + 11 : mx - 8 - wide + 14;
      if (free === -Infinity || from + wide < free) {
        // Nothing shines through the words.
        c.save();
        c.fillStyle = colour("ground");
        c.fillRect(from - 3, 2, wide - 8, 14);
        c.restore();
        c.textAlign = "left";
        c.fillText(text, from, 9);
        free = Math.min(mx, from) - 8;
      }
    }

    this.read(c, { x, y, share, rates, left, right, top, bottom, colour });
    byId("marks").replaceChildren(...shown.map((m) => h("li", {}, `${clock(new Date(m.at))} ${NAMES[m.kind] ?? m.kind}: ${label(m)}`)));
  }

  /** Values under the pointer, or the latest. */
  read(c, { x, y, share, rates, left, right, top, bottom, colour }) {
    const { points } = this.live;
    let at = points.length - 1;
    if (this.pointer !== null && this.pointer >= left && this.pointer <= right) {
      at = points.reduce((best, p, i) => (Math.abs(x(p.at) - this.pointer) < Math.abs(x(points[best].at) - this.pointer) ? i : best), 0);
      c.strokeStyle = colour("muted");
      c.beginPath();
      c.moveTo(x(points[at].at), top);
      c.lineTo(x(points[at].at), bottom);
      c.stroke();
    }
    c.fillStyle = colour("gpu-whole");
    c.beginPath();
    c.arc(x(points[at].at), y(share(points[at])), 3, 0, 7);
    c.fill();
    const p = points[at];
    byId("time-read").textContent = `${clock(new Date(p.at))}     ━ ${percent(share(p))} of GPU allocated     ┅ ${rate(rates[at])} decisions/s     ${p.waiting} waiting`;
  }
}

/** The next round number. */
function nice(n) {
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].find((f) => f * power >= n) * power;
}
