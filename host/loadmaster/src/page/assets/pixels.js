// Draws the squares straight into a pixel buffer: 40,000 of them take a few
// milliseconds, several times less than as many canvas calls.

import { CORDONED, FAILED } from "./cluster.js";

/** How long a device that was just given away stays bright, ms. */
export const GLOW_MS = 900;

/** "#rrggbb" → 0xffbbggrr, the order of canvas pixels on little-endian machines. */
function packed(hex) {
  const n = Number.parseInt(hex.trim().slice(1, 7), 16);
  return (0xff000000 | ((n & 0xff) << 16) | (n & 0xff00) | (n >> 16)) >>> 0;
}

function mix(a, b, share) {
  const part = (shift) => {
    const from = (a >> shift) & 0xff, to = (b >> shift) & 0xff;
    return (Math.round(from + (to - from) * share) & 0xff) << shift;
  };
  return (0xff000000 | part(16) | part(8) | part(0)) >>> 0;
}

export class Palette {
  constructor() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => packed(style.getPropertyValue(`--gpu-${name}`));
    this.ground = read("ground");
    this.box = read("box");
    const full = {
      free: read("free"), whole: read("whole"), shared: read("shared"),
      bad: read("bad"), edge: read("edge"), bright: read("new"),
    };
    // Nodes a search leaves out fade into the box.
    const faded = {};
    for (const [name, colour] of Object.entries(full)) faded[name] = mix(colour, this.box, 0.78);
    this.of = [full, faded];
  }
}

/**
 * Draws into `pixels` (width × height), scaled by the whole number `zoom` and
 * moved by the offset. `matches` (or null) says which nodes stay bright.
 * Returns whether something still glows.
 */
export function draw(pixels, width, height, plan, cluster, palette, view, matches, now, still) {
  const { zoom, dx, dy } = view;
  // Squares that touch when small stand apart when there is room.
  const c = plan.s.c * zoom - (plan.s.gap === 0 && plan.s.c * zoom >= 6 ? 1 : 0);
  let glowing = false;
  pixels.fill(palette.ground);

  function rect(x, y, w, h, colour) {
    const left = Math.max(0, x), right = Math.min(width, x + w);
    const bottom = Math.min(height, y + h);
    if (right <= left) return;
    for (let row = Math.max(0, y); row < bottom; row++) pixels.fill(colour, row * width + left, row * width + right);
  }
  function frame(x, y, w, h, colour) {
    rect(x, y, w, 1, colour);
    rect(x, y + h - 1, w, 1, colour);
    rect(x, y, 1, h, colour);
    rect(x + w - 1, y, 1, h, colour);
  }
  /** Marks a square by a pattern, not only by colour. */
  function pattern(x, y, w, h, colour, covers) {
    for (let row = Math.max(0, y); row < Math.min(height, y + h); row++) {
      for (let column = Math.max(0, x); column < Math.min(width, x + w); column++) {
        if (covers(column - x, row - y)) pixels[row * width + column] = colour;
      }
    }
  }

  for (const box of plan.boxes) {
    const x = box.x * zoom + dx, y = box.y * zoom + dy;
    if (x > width || y > height || x + box.w * zoom < 0 || y + box.h * zoom < 0) continue;
    rect(x, y, box.w * zoom, box.h * zoom, palette.box);
    for (const at of box.nodes) {
      const node = plan.nodes[at];
      const left = node.x * zoom + dx, top = node.y * zoom + dy;
      if (top > height || top + c < 0 || left > width || left + node.shape.width * zoom < 0) continue;
      const colours = palette.of[matches && !matches[at] ? 1 : 0];
      const state = cluster.state[at];
      const wiring = cluster.wiringOf(at);
      if (node.shape.x.length === 0) {
        frame(left, top, node.shape.width * zoom, c, colours.edge);
        continue;
      }
      // Devices joined by NVLink stand on one ground.
      if (wiring && c >= 6 && plan.s.gap > 0) {
        for (const island of wiring.islands) {
          const from = node.shape.x[Math.min(...island)], to = node.shape.x[Math.max(...island)];
          frame(left + from * zoom - 2, top - 2, (to - from) * zoom + c + 4, c + 4, colours.edge);
        }
      }
      for (let slot = 0; slot < node.shape.x.length; slot++) {
        const x = left + node.shape.x[slot] * zoom;
        const device = cluster.first[at] + slot;
        const free = cluster.free[device];
        if (free < 0) {
          rect(x, top, c, c, colours.free);
          pattern(x, top, c, c, colours.bad, (px, py) => (px + py) % 4 < 2);
          continue;
        }
        const used = 1000 - free;
        let colour = free === 0 ? colours.whole : colours.shared;
        const since = now - cluster.changed[device];
        if (since < GLOW_MS && !still) {
          glowing = true;
          colour = mix(colours.bright, colour, since / GLOW_MS);
        }
        if (c >= 4) {
          const full = used === 0 ? 0 : Math.max(1, Math.min(c, Math.round((c * used) / 1000)));
          rect(x, top, c, c - full, colours.free);
          rect(x, top + c - full, c, full, colour);
        } else {
          rect(x, top, c, c, mix(colours.free, colour, used / 1000));
        }
      }
      const w = node.shape.width * zoom;
      if (state === CORDONED) {
        pattern(left, top, w, c, colours.edge, (px, py) => px % 4 < 2 && py % 4 < 2);
        frame(left, top, w, c, colours.edge);
      } else if (state === FAILED) {
        pattern(left, top, w, c, colours.bad, (px, py) => (px + py) % 5 === 0 || (px - py + 5000) % 5 === 0);
      }
    }
  }
  return glowing;
}
