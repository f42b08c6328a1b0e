// The states of models, instances and tasks: a word and a level of severity.

const TASKS = { succeeded: "good", failed: "bad", dead: "bad", expired: "bad", cancelled: "off", running: "busy", queued: "off" };
const INSTANCES = { live: "good", not_consuming: "warn", suspect: "warn", loading: "busy" };

export const taskLevel = (state) => TASKS[state] ?? "off";
export const instanceLevel = (state) => INSTANCES[state] ?? "off";

/** [level, word] for a model of the overview */
export function modelState({ active, instances, states }) {
  if (active) return states.live === instances ? ["good", "active"] : ["warn", "active, not all"];
  if (states.loading > 0) return ["busy", "loading"];
  if (states.not_consuming > 0) return ["bad", "takes no tasks"];
  if (states.suspect > 0) return ["bad", "does not answer"];
  return ["off", "not running"];
}
