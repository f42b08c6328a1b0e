// One task, from its delivery to its acknowledgement.
import { fileURLToPath } from "node:url";

import protobuf from "protobufjs";

import { log } from "./settings.mjs";
import { now, seconds } from "./store.mjs";

const PROTO = fileURLToPath(new URL("../../protos/hub/v1/task.proto", import.meta.url));
const types = await new protobuf.Root().load(PROTO);
const Task = types.lookupType("hub.v1.Task");
const Outcome = types.lookupType("hub.v1.Outcome");
const STATES = types.lookupEnum("hub.v1.TaskState").values;
const LONGEST_TIMER = 2 ** 31 - 1; // milliseconds

/** Runs the task of a delivery, stores its outcome and then acknowledges. What it throws is to be requeued. */
export async function runTask(delivery, channel, instance, store) {
  let task;
  try {
    task = Task.toObject(Task.decode(delivery.content), { defaults: true, longs: Number });
  } catch {
    channel.reject(delivery, false); // not a task: RabbitMQ moves it to the dead letters
    return;
  }
  if (task.model !== instance.model.name || !instance.fingerprints.has(task.fingerprint)) {
    const message = `the task was written for contract ${task.fingerprint.slice(0, 12)} of ${task.model}`;
    await end(task, "dead", { failure: { code: "wrong_contract", message } });
    return;
  }
  if (isLate(task)) {
    await end(task, "expired", { failure: expired("its deadline had passed before an instance was free") });
    return;
  }
  await instance.runs.get(task.id)?.done; // it was delivered twice: what the first run came to is in the store
  const { state, attempt } = await store.start(task);
  if (state === "queued") {
    const message = `${attempt} runs of it were cut short`;
    await end(task, "dead", { attempt, failure: { code: "attempts_exhausted", message } });
  } else if (state === "dead") {
    channel.reject(delivery, false); // its dead letter may be missing
  } else if (state !== "running") {
    channel.ack(delivery); // it has ended
  } else {
    await run(attempt);
  }

  async function run(attempt) {
    const controller = new AbortController();
    let stopped; // why: "ended", "deadline" or "drain"
    const abort = (reason) => {
      stopped ??= reason;
      controller.abort(new Error(reason));
    };
    const startedAt = now();
    const timer = task.deadline && setTimeout(abort, timeLeft(task), "deadline");
    let finished;
    instance.runs.set(task.id, { abort, done: new Promise((resolve) => (finished = resolve)) });
    instance.attempts += 1;
    let result;
    try {
      const request = instance.Request.toObject(instance.Request.decode(task.body), { defaults: true, longs: Number });
      const response = await instance.model.processRequest(request, { signal: controller.signal, id: task.id, attempt });
      result = { state: "succeeded", body: instance.Response.encode(instance.Response.fromObject(response)).finish() };
    } catch (error) {
      const failure = { code: "model_error", type: error?.name ?? typeof error, message: String(error?.message ?? error) };
      result = { state: "failed", failure };
    } finally {
      clearTimeout(timer);
    }
    try {
      if (stopped === "ended") {
        channel.ack(delivery);
      } else if (stopped === "drain") {
        await store.release(task, attempt);
        channel.nack(delivery, false, true);
      } else if (stopped === "deadline") {
        const failure = expired("its deadline passed while it ran");
        await end(task, "expired", { attempt, startedAt, failure });
      } else {
        const { state: last, ...more } = result;
        await end(task, last, { attempt, startedAt, ...more });
      }
    } finally {
      instance.runs.delete(task.id);
      finished();
    }
  }

  async function end(task, state, { attempt = 0, startedAt, body, failure }) {
    const finishedAt = now();
    const outcome = Outcome.encode(
      Outcome.fromObject({
        taskId: task.id,
        state: STATES[`TASK_STATE_${state.toUpperCase()}`],
        attempt,
        instance: instance.id,
        ...(startedAt === undefined ? {} : { startedAt: timestamp(startedAt) }),
        finishedAt: timestamp(finishedAt),
        ...(failure ? { failure } : { body }),
      }),
    ).finish();
    const stored = await store.finish(task, state, Buffer.from(outcome), finishedAt);
    log("outcome", { task: task.id, state, stored });
    if (stored === -1 && startedAt !== undefined) {
      channel.reject(delivery, true); // Redis has lost the record: the next start writes it anew
    } else if (state === "dead") {
      channel.reject(delivery, false); // to the dead letters
    } else {
      channel.ack(delivery);
    }
  }
}

function isLate(task) {
  return Boolean(task.deadline) && seconds(task.deadline) <= now();
}

function timeLeft(task) {
  return Math.min(Math.max(0, (seconds(task.deadline) - now()) * 1000), LONGEST_TIMER);
}

function expired(message) {
  return { code: "deadline_exceeded", message };
}

function timestamp(time) {
  const whole = Math.floor(time);
  return { seconds: whole, nanos: Math.round((time - whole) * 1e9) };
}
