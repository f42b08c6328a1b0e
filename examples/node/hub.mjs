// One instance of a model, from its first connection to its last: what docs/wire.md describes, step by step.
import { randomUUID } from "node:crypto";
import process from "node:process";

import protobuf from "protobufjs";

import { answerRegistry, Registry } from "./registry.mjs";
import { consume } from "./queue.mjs";
import { connectStore } from "./store.mjs";
import { runTask } from "./task.mjs";
import { log, setting } from "./settings.mjs";
import "protobufjs/ext/descriptor/index.js";

const LAST_WRITES = 5; // seconds

function within(seconds, promise) {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, seconds * 1000).unref())]);
}

/**
 * Serves a model until SIGTERM or SIGINT.
 *
 * @param {object} model
 * @param {string} model.name Name of the model and of its queue.
 * @param {Buffer} model.descriptors A serialized FileDescriptorSet with everything that the messages refer to.
 * @param {string} model.request Full name of the request message.
 * @param {string} model.response Full name of the response message.
 * @param {object} model.example A request for the description of the API, in ProtoJSON.
 * @param {number} model.concurrency Tasks at a time.
 * @param {Function} model.processRequest Called with a request and `{ signal }`, which is aborted when the task has ended.
 */
export async function serve(model) {
  const files = protobuf.Root.fromDescriptor(model.descriptors);
  const instance = {
    id: randomUUID(),
    model,
    Request: files.lookupType(model.request),
    Response: files.lookupType(model.response),
    runs: new Map(), // the runs in flight, by the id of their task
    fingerprints: new Set(), // of the contracts whose tasks this instance can run
    consuming: false,
    draining: false,
    attempts: 0,
    startedAt: Date.now(),
    pingedAt: Date.now(),
  };
  const registry = new Registry(instance);
  const store = await connectStore(await registry.scripts(), instance);
  const server = await answerRegistry(instance);
  let waiting;
  const loggedIn = new Promise((resolve) => (waiting = resolve));
  const queue = await consume(instance, async (delivery, channel) => {
    await loggedIn; // until then the fingerprint of the contract is unknown
    await runTask(delivery, channel, instance, store);
  });
  await registry.login(server.url);
  waiting();
  log("instance is up", { url: server.url, model: model.name, instance: instance.id });
  await new Promise((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });

  instance.draining = true;
  await queue.stop();
  await registry.logout();
  await within(Number(setting("drain_grace", "30")), queue.settled());
  for (const run of instance.runs.values()) {
    run.abort("drain");
  }
  await within(LAST_WRITES, queue.settled()); // what is not settled then is delivered again
  await queue.close();
  await store.close();
  await server.close();
  log("instance has stopped", { instance: instance.id });
  process.exit(0);
}
