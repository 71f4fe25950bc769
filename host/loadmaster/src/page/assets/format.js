// Numbers, ages and small pieces of document.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 12345 → "12,345". */
export const count = (n) => grouped.format(n);

/** A share of 1 → "92.9 %". */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Rates keep about three digits: "0.4", "38", "12,400". */
export function rate(n) {
  if (n >= 99.5) return grouped.format(n >= 10_000 ? Math.round(n / 100) * 100 : n);
  return n >= 9.95 ? n.toFixed(0) : n.toFixed(1);
}

/** Milliseconds → "4 m 12 s". */
export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, "0")} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} m`;
  return `${Math.floor(s / 86_400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** Microseconds → "412 µs" or "1.3 ms". */
export const micros = (us) => (us < 1000 ? `${Math.round(us)} µs` : `${(us / 1000).toFixed(us < 9950 ? 1 : 0)} ms`);

/** MiB → "384 GiB". */
export const memory = (mib) => (mib >= 10_240 ? `${count(mib / 1024)} GiB` : `${count(mib)} MiB`);

/** Milli-cores → "11.3". */
export const cores = (milli) => String(Math.round(milli / 100) / 10);

/** Milli-GPU → "2.81". */
export const gpus = (milli) => String(Math.round(milli / 10) / 100);

/** Local time of day. */
export const clock = (date) => date.toLocaleTimeString("en-GB");

/** What a pod spec asks for, in a few words. */
export function asks(spec) {
  const gpu = spec.gpu;
  if (!gpu || !gpu.count) return "no GPU";
  const share = gpu.share ?? gpu.milli;
  const milli = share === undefined ? 1000 : Number(share) <= 1 ? Math.round(Number(share) * 1000) : Number.parseInt(share, 10);
  const models = gpu.models?.length ? ` ${gpu.models.join("/")}` : "";
  return `${gpu.count === 1 && milli < 1000 ? gpus(milli) : gpu.count} GPU${models}`;
}

/** A document element; text children are text, never markup. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "width") element.style.width = value;
    else if (name === "height") element.style.height = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** Sets text only when it differs, so that a selection of the reader survives. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const byId = (id) => document.getElementById(id);

/** Where the command line looks when it is told nothing. */
const USUAL_HOST = "127.0.0.1:7070";

/** A command with a button that copies it. */
export function command(verb) {
  const here = new URL(".", location.href).href.replace(/\/$/, "");
  const text = here.endsWith(`//${USUAL_HOST}`) ? verb : `${verb} --server ${here}`;
  const code = h("code", {}, text);
  const button = h("button", { type: "button", onclick: copy }, "Copy CLI command");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // No clipboard without HTTPS or loopback: select it for Ctrl-C instead.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected: Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy CLI command"; }, 1600);
  }
  return h("div", { class: "command" }, code, button);
}
