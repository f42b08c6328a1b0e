// The queue of the model in RabbitMQ.
import process from "node:process";

import amqp from "amqplib";

import { log, setting } from "./settings.mjs";

const DEAD_LETTERS = "hub.dead";

/**
 * Declares the queues of the model and passes each delivery to `handle`, which acknowledges or rejects it.
 *
 * The connection is not opened again: when it is lost, the process ends, and RabbitMQ delivers its tasks to another one.
 */
export async function consume(instance, handle) {
  const connection = await amqp.connect(setting("broker_url", "amqp://guest:guest@127.0.0.1:5672/"), {
    clientProperties: { connection_name: `hub ${instance.model.name} ${instance.id}` },
    heartbeat: 15,
  });
  let closing = false;
  const lost = (error) => {
    instance.consuming = false;
    if (!closing) {
      log("the connection to RabbitMQ is lost", { reason: String(error) });
      process.exit(3);
    }
  };
  connection.on("error", lost);
  connection.on("close", lost);
  const channel = await connection.createChannel();
  channel.on("error", lost);
  channel.on("close", lost);
  await declare(channel, instance.model.name);
  await channel.prefetch(instance.model.concurrency);

  const handled = new Set();
  const { consumerTag } = await channel.consume(instance.model.name, (delivery) => {
    if (delivery === null) return lost("the queue was deleted");
    const done = handle(delivery, channel)
      .catch((error) => {
        log("a task goes back to the queue", { reason: String(error) });
        channel.reject(delivery, true);
      })
      .finally(() => handled.delete(done));
    handled.add(done);
  });
  instance.consuming = true;
  return {
    async stop() {
      await channel.cancel(consumerTag);
      instance.consuming = false;
    },
    async settled() {
      while (handled.size > 0) await Promise.allSettled(handled);
    },
    async close() {
      closing = true;
      await channel.close();
      await connection.close();
    },
  };
}

async function declare(channel, name) {
  const type = setting("queue_type", "quorum");
  const quorum = type === "quorum";
  const limit = Number(setting("queue_delivery_limit", "100"));
  await channel.assertExchange(DEAD_LETTERS, "direct", { durable: true });
  await channel.assertQueue(`${name}.dead`, {
    durable: true,
    arguments: { "x-queue-type": type, ...(quorum ? { "x-delivery-limit": 2 ** 31 - 1 } : {}) },
  });
  await channel.bindQueue(`${name}.dead`, DEAD_LETTERS, name);
  await channel.assertQueue(name, {
    durable: true,
    arguments: {
      "x-queue-type": type,
      "x-dead-letter-exchange": DEAD_LETTERS,
      ...(quorum ? { "x-delivery-limit": limit } : {}),
    },
  });
}
