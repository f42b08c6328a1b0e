// Settings in hub's variables, and the log.
import process from "node:process";

export function setting(name, otherwise) {
  return process.env[`HUB_${name.toUpperCase()}`] ?? otherwise;
}

export function log(event, fields = {}) {
  process.stderr.write(`${JSON.stringify({ event, ...fields })}\n`);
}
