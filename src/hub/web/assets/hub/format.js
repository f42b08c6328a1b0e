// Numbers, times and durations as people read them. Plain functions.

const NONE = "–";

/** 7, 1,234, 12.3k, 4.5M */
export function count(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size >= 1e6) return `${trim(value / 1e6, 1)}M`;
  if (size >= 1e4) return `${trim(value / 1e3, 1)}k`;
  return Math.round(value).toLocaleString("en");
}

/** 0, 0.25, 3.4, 120: a rate per second */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 100) return count(value);
  return trim(value, value >= 10 ? 1 : 2);
}

/** 0 s, 4 ms, 1.5 s, 2 min 5 s, 3 h 20 min, 2 d 4 h */
export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0 s";
  if (value < 0.001) return "< 1 ms";
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${trim(value, 1)} s`;
  const whole = Math.round(value);
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

/** just now, 12 s ago, 3 min ago: how long ago something was */
export function ago(value) {
  if (value === null || value === undefined) return "never";
  return value < 1 ? "just now" : `${seconds(Math.floor(value))} ago`;
}

/** 14:03:27, of Unix seconds */
export const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

/** With the day, if it is not today */
export function moment(at) {
  const date = new Date(at * 1000);
  const today = new Date().toDateString() === date.toDateString();
  return today ? clock(at) : `${date.toLocaleDateString([], { day: "numeric", month: "short" })}, ${clock(at)}`;
}

/** Of a chart's values, by the unit that `hub.web.charts` gives them. */
export const byUnit = { count, "per second": rate, seconds };

export const shortId = (id) => (id.length > 12 ? `…${id.slice(-8)}` : id);

const trim = (value, digits) => String(Number(value.toFixed(digits)));
