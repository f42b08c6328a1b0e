// The records of tasks in Redis, changed by hub's own scripts.
import { createHash, randomUUID } from "node:crypto";

import { Redis } from "ioredis";

import { log, setting } from "./settings.mjs";

const UNFINISHED_MS = 7 * 24 * 3600 * 1000;
const TOMBSTONE_MS = 24 * 3600 * 1000;
const LIST_LENGTH = 1000;
const ENDED = new Set(["succeeded", "failed", "cancelled", "expired", "dead", "withdrawn"]);

/** Connects; `scripts` are those of the registry. Calls wait while Redis is away. */
export async function connectStore(scripts, instance) {
  const url = setting("store_url", "redis://127.0.0.1:6379/0");
  const commands = new Redis(url, { maxRetriesPerRequest: null });
  const wakeups = new Redis(url, { maxRetriesPerRequest: null });
  for (const client of [commands, wakeups]) {
    client.on("error", (error) => log("Redis is away", { reason: String(error) }));
  }
  for (const name of ["start", "finish", "release", "list"]) {
    commands.defineCommand(`hub_${name}`, { lua: scripts[name].text }); // by EVALSHA, and by EVAL after NOSCRIPT
  }
  // A task that has ended elsewhere is announced on the channel that its start has named.
  const channel = `hub:wake:${randomUUID()}`;
  wakeups.on("message", (_, message) => {
    const [id, , state] = message.split(" ");
    if (ENDED.has(state)) instance.runs.get(id)?.abort("ended");
  });
  await wakeups.subscribe(channel);

  return {
    /** Counts an attempt: `[state, attempt, retries]`; only with the state `running` is the task to be run. */
    async start(task) {
      const attempts = Number(setting("attempt_limit", "5"));
      const head = [now(), UNFINISHED_MS, TOMBSTONE_MS, instance.id, channel, attempts];
      const [[state, attempt, retries]] = await commands.hub_start(2, ...keys(task.id), ...head, ...identity(task));
      return { state, attempt, retries };
    },
    /** Stores an outcome: above 0 if it counts, 0 if another one was first, -1 if nothing is known of the task. */
    async finish(task, state, outcome, finishedAt) {
      const head = [now(), TOMBSTONE_MS, channel];
      const [answer] = await commands.hub_finish(2, ...keys(task.id), ...head, state, outcome, "", "");
      if (!Array.isArray(answer)) return answer;
      const [revision, model, lifetime] = answer;
      const entry = `${finishedAt.toFixed(6).padStart(17, "0")}_${task.id}`;
      for (const list of [`hub:{recent}:${state}:${model}`, `hub:{recent}:${state}`]) {
        await commands.hub_list(1, list, LIST_LENGTH, lifetime, 1, 0, entry);
      }
      return revision;
    },
    /** Marks a task as waiting for another run, because this one was cut short. */
    async release(task, attempt) {
      await commands.hub_release(2, ...keys(task.id), now(), UNFINISHED_MS, TOMBSTONE_MS, attempt, "");
    },
    async close() {
      await Promise.all([commands.quit(), wakeups.quit()]);
    },
  };
}

function keys(id) {
  return [`hub:{${id}}:record`, `hub:{${id}}:tombstone`];
}

/** The seven values that describe a task. */
function identity(task) {
  return [
    task.model,
    task.fingerprint,
    seconds(task.createdAt),
    task.deadline ? seconds(task.deadline) : "",
    task.resultTtl ? seconds(task.resultTtl) : 24 * 3600,
    task.replyChannel,
    task.idempotencyKey ? createHash("sha256").update(task.body).digest("hex") : "",
  ];
}

/** A Timestamp or a Duration in seconds. */
export function seconds(time) {
  return Number(time.seconds) + time.nanos / 1e9;
}

export function now() {
  return Date.now() / 1000;
}
