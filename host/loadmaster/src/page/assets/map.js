// The map: fits, zooms, pans, points, and says what it points at.

import { layout } from "./layout.js";
import { draw, Palette } from "./pixels.js";
import { byId } from "./format.js";

/** Frames a second while something glows; the map is calm, not a game. */
const FRAME_MS = 40;

const ZOOMS = [1, 2, 3, 4, 6, 8, 12];

export class GpuMap {
  /** `on.hover(index, x, y)` and `on.select(index)` are told what the reader does. */
  constructor(on) {
    this.on = on;
    this.stage = byId("stage");
    this.base = byId("map-pixels");
    this.text = byId("map-text");
    this.cluster = null;
    this.matches = null;
    this.hovered = -1;
    this.selected = -1;
    this.pinned = [];
    this.view = { zoom: 1, dx: 0, dy: 0 };
    this.palette = new Palette();
    this.asked = false;
    this.lastFrame = 0;
    this.drawMs = 0;
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    this.still = still.matches;
    still.addEventListener("change", () => { this.still = still.matches; });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.palette = new Palette();
      this.redraw();
    });
    new ResizeObserver(() => this.fit()).observe(this.stage);
    this.listen();
  }

  show(cluster) {
    const same = this.cluster && this.cluster.size === cluster.size;
    this.cluster = cluster;
    this.hovered = -1;
    if (same) this.plan = layout(cluster, this.width, this.height, this.ratio);
    else this.fit();
    this.redraw();
  }

  // === Size and zoom ===

  fit() {
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    this.width = Math.max(1, Math.round(this.stage.clientWidth * this.ratio));
    this.height = Math.max(1, Math.round(this.stage.clientHeight * this.ratio));
    for (const canvas of [this.base, this.text]) {
      canvas.width = this.width;
      canvas.height = this.height;
    }
    this.image = new ImageData(this.width, this.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    if (this.cluster) this.plan = layout(this.cluster, this.width, this.height, this.ratio);
    this.view = { zoom: 1, dx: 0, dy: 0 };
    this.redraw();
  }

  /** One step in or out around a point of the canvas, which stays where it is. */
  zoomBy(step, x = this.width / 2, y = this.height / 2) {
    const { zoom, dx, dy } = this.view;
    const next = ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, ZOOMS.indexOf(zoom) + step))];
    const scale = next / zoom;
    this.view = { zoom: next, dx: Math.round(x - (x - dx) * scale), dy: Math.round(y - (y - dy) * scale) };
    this.clamp();
    this.redraw();
  }

  /** The same around the node in focus, so that it stays in sight. */
  zoomKey(step) {
    const node = this.plan?.nodes[this.hovered >= 0 ? this.hovered : this.selected];
    const { zoom, dx, dy } = this.view;
    if (node) this.zoomBy(step, node.x * zoom + dx, node.y * zoom + dy);
    else this.zoomBy(step);
    this.point(-1);
  }

  clamp() {
    const { zoom } = this.view;
    const right = Math.max(0, ...(this.plan?.boxes ?? []).map((b) => b.x + b.w)) * zoom;
    const bottom = (this.plan?.height ?? 0) * zoom;
    this.view.dx = Math.round(Math.min(0, Math.max(this.view.dx, Math.min(0, this.width - right))));
    this.view.dy = Math.round(Math.min(0, Math.max(this.view.dy, Math.min(0, this.height - bottom))));
  }

  /** Brings a node into sight. */
  reveal(at) {
    const node = this.plan?.nodes[at];
    if (!node) return;
    const { zoom, dx, dy } = this.view;
    const x = node.x * zoom + dx, y = node.y * zoom + dy;
    if (x < 0 || y < 0 || x > this.width - 40 || y > this.height - 40) {
      this.view.dx = this.width / 2 - node.x * zoom;
      this.view.dy = this.height / 2 - node.y * zoom;
      this.clamp();
    }
  }

  // === Drawing ===

  redraw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.asked = false;
    if (!this.cluster || !this.plan) return;
    const start = performance.now();
    const glowing = draw(this.pixels, this.width, this.height, this.plan, this.cluster, this.palette, this.view, this.matches, now, this.still);
    this.base.getContext("2d").putImageData(this.image, 0, 0);
    this.labels();
    this.drawMs = performance.now() - start;
    if (glowing) setTimeout(() => this.redraw(), FRAME_MS);
  }

  labels() {
    const c = this.text.getContext("2d");
    const style = getComputedStyle(this.stage);
    const root = getComputedStyle(document.documentElement);
    const { zoom, dx, dy } = this.view;
    const { s } = this.plan;
    const muted = root.getPropertyValue("--muted"), strong = root.getPropertyValue("--text");
    c.clearRect(0, 0, this.width, this.height);
    c.textBaseline = "middle";
    c.fillStyle = muted;
    const font = (px, weight = 400) => { c.font = `${weight} ${px * this.ratio}px ${style.fontFamily}`; };
    font(12, 600);
    for (const title of this.plan.titles) {
      c.fillText(title.text, title.x * zoom + dx, title.y * zoom + dy + (s.zone * zoom) / 2);
    }
    const inside = (x, y, w, h) => x < this.width && y < this.height && x + w > 0 && y + h > 0;
    if (s.title > 0) {
      font(10.5);
      for (const box of this.plan.boxes) {
        const x = box.x * zoom + dx, y = box.y * zoom + dy;
        if (box.name && inside(x, y, box.w * zoom, s.title * zoom)) c.fillText(box.name, x + s.pad * zoom, y + (s.pad + s.title / 2 - 1) * zoom);
      }
    }
    // Names appear when there is room for them between the lines.
    if (s.line * zoom >= 15 * this.ratio) {
      font(10.5);
      this.plan.nodes.forEach((node, at) => {
        const x = node.x * zoom + dx, y = (node.y + s.c) * zoom + dy;
        const w = node.shape.width * zoom;
        if (inside(x, y, w, 20) && c.measureText(this.cluster.name[at]).width <= w + s.node * zoom * 0.8) {
          c.fillText(this.cluster.name[at], x, y + (s.line * zoom) / 2);
        }
      });
    }
    const ring = (at, colour, width, dash = []) => {
      const node = this.plan.nodes[at];
      if (!node) return;
      const off = (width + 2) * this.ratio;
      c.lineWidth = width * this.ratio;
      c.strokeStyle = colour;
      c.setLineDash(dash);
      c.strokeRect(node.x * zoom + dx - off, node.y * zoom + dy - off, node.shape.width * zoom + 2 * off, s.c * zoom + 2 * off);
      c.setLineDash([]);
    };
    for (const at of this.pinned) ring(at, strong, 1.5, [4 * this.ratio, 3 * this.ratio]);
    if (this.hovered >= 0) ring(this.hovered, muted, 1.5);
    if (this.selected >= 0) ring(this.selected, strong, 2);
  }

  // === The reader ===

  /** Node under a point of the canvas, or -1. */
  at(x, y) {
    if (!this.plan) return -1;
    const { zoom, dx, dy } = this.view;
    const px = (x - dx) / zoom, py = (y - dy) / zoom;
    const half = this.plan.s.node / 2 + 1;
    const box = this.plan.boxes.find((b) => px >= b.x && px < b.x + b.w && py >= b.y && py < b.y + b.h);
    return box?.nodes.find((at) => {
      const n = this.plan.nodes[at];
      return px >= n.x - half && px < n.x + n.shape.width + half && py >= n.y - half && py < n.y + this.plan.s.c + half;
    }) ?? -1;
  }

  point(at, x, y) {
    if (at === this.hovered) return;
    this.hovered = at;
    this.on.hover(at, x, y);
    this.redraw();
  }

  /** The next node in a direction, by distance from the middle of this one. */
  neighbour(at, key) {
    const middle = (n) => [n.x + n.shape.width / 2, n.y];
    const [x, y] = middle(this.plan.nodes[at]);
    let best = at, least = Infinity;
    this.plan.nodes.forEach((node, other) => {
      const [ox, oy] = middle(node);
      const [along, across] = { ArrowRight: [ox - x, oy - y], ArrowLeft: [x - ox, oy - y], ArrowDown: [oy - y, ox - x], ArrowUp: [y - oy, ox - x] }[key];
      const far = along + 3 * Math.abs(across);
      if (other !== at && along > 0.5 && far < least) {
        least = far;
        best = other;
      }
    });
    return best;
  }

  listen() {
    const canvas = this.text;
    const where = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
    };
    let grabbed = null;
    canvas.addEventListener("pointerdown", (event) => {
      grabbed = { x: event.clientX, y: event.clientY, dx: this.view.dx, dy: this.view.dy, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (grabbed) {
        const mx = event.clientX - grabbed.x, my = event.clientY - grabbed.y;
        grabbed.moved ||= Math.hypot(mx, my) > 4;
        if (grabbed.moved) {
          canvas.classList.add("panning");
          this.view.dx = grabbed.dx + mx * this.ratio;
          this.view.dy = grabbed.dy + my * this.ratio;
          this.clamp();
          this.point(-1);
          this.redraw();
          return;
        }
      }
      const [x, y] = where(event);
      this.point(this.at(x, y), x / this.ratio, y / this.ratio);
    });
    canvas.addEventListener("pointerup", (event) => {
      canvas.classList.remove("panning");
      if (grabbed && !grabbed.moved) this.on.select(this.at(...where(event)));
      grabbed = null;
    });
    canvas.addEventListener("pointercancel", () => { grabbed = null; });
    canvas.addEventListener("pointerleave", () => this.point(-1));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const now = performance.now();
      // A trackpad sends dozens of events for one gesture.
      if (now - (this.wheeled ?? 0) < 90) return;
      this.wheeled = now;
      this.zoomBy(event.deltaY < 0 ? 1 : -1, ...where(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      if (!this.cluster?.size) return;
      if (event.key.startsWith("Arrow")) {
        event.preventDefault();
        const from = this.hovered >= 0 ? this.hovered : this.selected;
        const at = from < 0 ? this.plan.boxes[0].nodes[0] : this.neighbour(from, event.key);
        this.reveal(at);
        const node = this.plan.nodes[at], { zoom, dx, dy } = this.view;
        this.point(at, (node.x * zoom + dx) / this.ratio, (node.y * zoom + dy) / this.ratio);
      } else if (event.key === "Enter" && this.hovered >= 0) {
        this.on.select(this.hovered);
      }
    });
    canvas.addEventListener("blur", () => this.point(-1));
  }
}
