// Where every GPU is drawn: racks as boxes that flow inside their zone, nodes
// flowing inside the rack, a node's devices in slot order. Everything is in
// whole device pixels, so that squares stay sharp.

/** Squares and distances of step `k`: two steps a pixel, the second with more air. */
function spacing(k, ratio) {
  const c = 1 + (k >> 1), airy = k % 2;
  const of = (share, least) => Math.max(least, Math.round(c * share));
  return {
    c,
    gap: c < 3 ? 0 : c < 4 && !airy ? 0 : Math.max(1, Math.round(c / 14)),
    socket: c < 4 ? 0 : of(0.18, 1),
    node: of(airy ? 0.5 : 0.35, 1),
    line: of(airy ? 0.5 : 0.3, 1),
    pad: of(airy ? 0.6 : 0.5, 2),
    title: c >= 5 * ratio ? Math.round(14 * ratio) : 0,
    zone: Math.round(20 * ratio),
  };
}

/** Nodes by zone and rack, each rack's in order of model and name. */
function groups(cluster) {
  const zones = new Map();
  for (let at = 0; at < cluster.size; at++) {
    const zone = cluster.zoneOf(at), rack = cluster.rackOf(at);
    if (!zones.has(zone)) zones.set(zone, new Map());
    const racks = zones.get(zone);
    if (!racks.has(rack)) racks.set(rack, []);
    racks.get(rack).push(at);
  }
  const text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const byKind = (a, b) => cluster.gpus(b) - cluster.gpus(a) || cluster.model[a] - cluster.model[b] || text(cluster.name[a], cluster.name[b]);
  const list = [];
  for (const [zone, racks] of [...zones].sort((a, b) => text(a[0], b[0]))) {
    const boxes = [];
    for (const [rack, nodes] of [...racks].sort((a, b) => text(a[0], b[0]))) {
      nodes.sort(byKind);
      // A cluster without racks would be one endless box.
      for (let from = 0; from < nodes.length; from += RACK_NODES) {
        boxes.push({ name: rack, nodes: nodes.slice(from, from + RACK_NODES) });
      }
    }
    list.push({ name: zone, boxes });
  }
  return list;
}

/** Nodes drawn in one box at most. */
const RACK_NODES = 64;

/** Squares in one line of a box: one machine of eight, or several side by side.
    The one that lets the squares be largest is taken. */
const LINE_SQUARES = [16, 8, 24, 32];

/** Pixels from the left edge of a node to each of its devices, and its width. */
function slots(cluster, at, s) {
  const count = cluster.gpus(at), numa = cluster.wiringOf(at)?.numa;
  const x = [];
  let right = 0;
  for (let slot = 0; slot < count; slot++) {
    if (slot > 0) right += numa && numa[slot] !== numa[slot - 1] ? s.gap + s.socket : s.gap;
    x.push(right);
    right += s.c;
  }
  // A machine without GPU is drawn as half a square, hollow.
  return { x, width: count ? right : Math.max(1, s.c >> 1) };
}

/** Zones one below the other, or side by side in `columns`. */
function place(cluster, zones, width, form, s) {
  const shapes = new Map();
  const { squares, columns } = form;
  const line = squares * (s.c + s.gap) + (squares / 8) * (s.socket + s.node);
  const nodes = new Array(cluster.size), boxes = [], titles = [];
  const column = columns ? Math.floor((width + 2 * s.pad) / zones.length) - 2 * s.pad : width;
  let y = 0, bottom = 0, right = 0;
  zones.forEach((zone, index) => {
    const left = columns ? index * (column + 2 * s.pad) : 0;
    if (columns) y = 0;
    if (zone.name) {
      titles.push({ text: zone.name, x: left, y });
      y += s.zone;
    }
    let x = left, tallest = 0;
    for (const box of zone.boxes) {
      // Flow the nodes first: the box is as wide as its widest line.
      let nx = 0, ny = 0, widest = 0;
      const inside = [];
      for (const at of box.nodes) {
        const key = `${cluster.gpus(at)}/${cluster.wiring[at]}`;
        if (!shapes.has(key)) shapes.set(key, slots(cluster, at, s));
        const shape = shapes.get(key);
        if (nx > 0 && nx + shape.width > line) {
          nx = 0;
          ny += s.c + s.line;
        }
        inside.push({ at, x: nx, y: ny, shape });
        widest = Math.max(widest, nx + shape.width);
        nx += shape.width + s.node;
      }
      const w = widest + 2 * s.pad, height = ny + s.c + 2 * s.pad + s.title;
      if (x > left && x + w > left + column) {
        x = left;
        y += tallest + s.pad;
        tallest = 0;
      }
      for (const node of inside) {
        nodes[node.at] = { x: x + s.pad + node.x, y: y + s.pad + s.title + node.y, shape: node.shape };
      }
      boxes.push({ name: box.name, x, y, w, h: height, nodes: box.nodes });
      right = Math.max(right, x + w - left);
      x += w + s.pad;
      tallest = Math.max(tallest, height);
    }
    y += tallest;
    bottom = Math.max(bottom, y);
    y += 2 * s.pad;
  });
  return { s, nodes, boxes, titles, width: right, column, height: bottom };
}

/** Largest squares, in CSS pixels: beyond it small clusters look like toys. */
const SQUARE_MAX = 28;

/** Zones that can still stand side by side. */
const COLUMNS_MAX = 4;

/**
 * The layout with the largest squares that fit. Where one pixel a GPU is still
 * too much the result is taller than `height`, and the reader pans.
 */
export function layout(cluster, width, height, ratio) {
  const zones = groups(cluster);
  const forms = LINE_SQUARES.flatMap((squares) => [{ squares, columns: false }, { squares, columns: true }])
    .filter((form) => !form.columns || zones.length > 1 && zones.length <= COLUMNS_MAX);
  let best = null, low = -1;
  for (const form of forms) {
    const at = (k) => place(cluster, zones, width, form, spacing(k, ratio));
    // Only larger squares are worth another shape of the boxes.
    let high = Math.round(2 * SQUARE_MAX * ratio);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      const found = at(middle);
      if (found.height <= height && found.width <= found.column) {
        low = middle;
        best = found;
      } else {
        high = middle - 1;
      }
    }
  }
  return best ?? place(cluster, zones, width, forms[0], spacing(0, ratio));
}
