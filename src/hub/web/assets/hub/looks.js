// The colour and the dashes of a model: the same in every chart and on every page, and after a reload.

export const COLOURS = 8;
export const DASHES = [[], [12, 4], [5, 2], [16, 3, 3, 3], [2, 2], [22, 5], [9, 3, 2, 3, 2, 3], [3, 4]];

const taken = new Map(); // slot -> name
const slots = new Map(); // name -> slot

function hash(name) {
  let value = 2166136261; // FNV-1a
  for (const char of name) value = Math.imul(value ^ char.codePointAt(0), 16777619) >>> 0;
  return value;
}

/** Slots for all names, in the order of the names: each its own by the hash of the name, or the next one that is free. */
export function assign(names) {
  for (const name of [...names].sort()) {
    if (slots.has(name)) continue;
    const all = COLOURS * DASHES.length;
    const round = Math.floor(slots.size / COLOURS) * COLOURS; // all colours once before the first is used again
    let slot = round + (hash(name) % COLOURS);
    for (let step = 0; taken.has(slot % all) && step < all; step++) slot = slot + 1 === round + COLOURS ? round : slot + 1;
    taken.set(slot % all, name);
    slots.set(name, slot % all);
  }
}

/** The number of the colour, from 1, and the dashes: neighbours differ in both. */
export function look(name) {
  if (!slots.has(name)) assign([name]);
  const slot = slots.get(name);
  const round = Math.floor(slot / COLOURS);
  return { colour: (slot % COLOURS) + 1, dash: DASHES[(slot + round) % DASHES.length] };
}

/** The colour as the browser paints it now, in light or in dark. */
export const paint = (colour) => getComputedStyle(document.documentElement).getPropertyValue(`--s${colour}`).trim();

/** A piece of the model's line, for legends and tables. */
export function swatch(name) {
  const { colour, dash } = look(name);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("viewBox", "0 0 22 6");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [key, value] of Object.entries({ x1: 0, y1: 3, x2: 22, y2: 3, class: `s${colour}` })) {
    line.setAttribute(key, value);
  }
  if (dash.length > 0) line.setAttribute("stroke-dasharray", dash.join(" "));
  svg.append(line);
  return svg;
}
