// The registry: logins and logouts of the instance, and the routes that the registry calls.
import http from "node:http";
import { once } from "node:events";
import { randomBytes, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import descriptor from "protobufjs/ext/descriptor/index.js";

import { log, setting } from "./settings.mjs";

const PROTOBUF = "application/x-protobuf";
const MISSED_PERIODS = 3;

export class Registry {
  #instance;
  #url = setting("registry_url", "http://127.0.0.1:8001");
  #headers;
  #stop = new AbortController();

  constructor(instance) {
    const token = setting("token", "");
    this.#instance = instance;
    this.#headers = {
      "Content-Type": "application/json",
      "Hub-Instance-Secret": randomBytes(32).toString("base64url"),
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
    };
  }

  /** The Lua scripts of the result store, by name. */
  async scripts() {
    const reply = await this.#call("GET", "/v1/store/scripts");
    return (await reply.json()).scripts;
  }

  /** Logs in without a contract, which the registry then reads from the instance, and again when pings stay away. */
  async login(url) {
    const { id, model, fingerprints } = this.#instance;
    const body = {
      model: model.name,
      url,
      example: JSON.stringify(model.example),
      limits: { concurrency: model.concurrency },
    };
    const reply = await (await this.#call("PUT", `/v1/instances/${id}`, body)).json();
    fingerprints.clear();
    for (const each of [reply.fingerprint, ...reply.accepts]) {
      fingerprints.add(each);
    }
    this.#instance.pingedAt = Date.now();
    this.#loginWhenForgotten(url);
  }

  async logout() {
    this.#stop.abort();
    try {
      await this.#call("DELETE", `/v1/instances/${this.#instance.id}`, undefined, 1);
    } catch (error) {
      log("logout failed; the registry will miss the pings", { reason: String(error) });
    }
  }

  async #loginWhenForgotten(url) {
    const period = Number(setting("ping_period", "10")) * 1000;
    try {
      while (Date.now() - this.#instance.pingedAt < MISSED_PERIODS * period) {
        await sleep(period, undefined, { signal: this.#stop.signal });
      }
      await this.login(url);
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error; // ends the process: an instance that is not listed is of no use
    }
  }

  async #call(method, path, body, tries = 10) {
    for (let left = tries; ; left -= 1) {
      let problem;
      try {
        const options = { method, headers: this.#headers, redirect: "error", signal: AbortSignal.timeout(15_000) };
        const reply = await fetch(this.#url + path, { ...options, body: body && JSON.stringify(body) });
        if (reply.ok) return reply;
        problem = `${reply.status} ${await reply.text()}`;
        if (reply.status < 500) left = 0; // a new try will not change it
      } catch (error) {
        problem = String(error.cause ?? error);
      }
      if (left <= 1) throw new Error(`${method} ${path}: ${problem}`);
      log("the registry is asked again", { reason: problem });
      await sleep(1000);
    }
  }
}

/** Serves /ping and the descriptor routes; resolves when they can be called. */
export async function answerRegistry(instance) {
  const { model } = instance;
  const files = descriptor.FileDescriptorSet.decode(model.descriptors).file;
  const routes = {
    "/descriptors": () => [200, PROTOBUF, model.descriptors],
    "/descriptors/request": () => [200, PROTOBUF, declaration(files, model.request), model.request],
    "/descriptors/response": () => [200, PROTOBUF, declaration(files, model.response), model.response],
    "/metrics": () => [200, "text/plain; version=0.0.4", metrics(instance)],
    "/ping": (request) => {
      if ("hub-registry-ping" in request.headers) instance.pingedAt = Date.now();
      return [instance.consuming ? 200 : 503, "application/json", JSON.stringify(ping(instance))];
    },
  };
  const expected = setting("token", "") && `Bearer ${setting("token", "")}`;
  const server = http.createServer((request, response) => {
    const route = routes[request.url];
    const [status, type, body, name] = !isAllowed(request, expected)
      ? [401, "text/plain", "set HUB_TOKEN"]
      : request.method !== "GET" || !route
        ? [404, "text/plain", "no such route"]
        : route(request);
    response.writeHead(status, { "Content-Type": type, ...(name ? { "Hub-Message": name } : {}) });
    response.end(body);
  });
  server.listen(Number(setting("instance_port", "0")), setting("instance_host", "127.0.0.1"));
  await once(server, "listening");
  const { address, port } = server.address();
  return {
    url: `http://${setting("advertise_host", "") || address}:${port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function ping(instance) {
  const { consuming, draining } = instance;
  return {
    instance: instance.id,
    model: instance.model.name,
    consuming,
    in_flight: instance.runs.size,
    attempts: instance.attempts,
    uptime_seconds: (Date.now() - instance.startedAt) / 1000,
    reason: consuming ? "" : draining ? "it is about to stop" : "it receives nothing from the queue",
    draining,
  };
}

function metrics(instance) {
  const label = `{model="${instance.model.name}"}`;
  return [
    "# TYPE hub_instance_consuming gauge",
    `hub_instance_consuming${label} ${Number(instance.consuming)}`,
    "# TYPE hub_tasks_in_flight gauge",
    `hub_tasks_in_flight${label} ${instance.runs.size}`,
    "",
  ].join("\n");
}

/** The DescriptorProto of a message that is not declared in another one, serialized. */
function declaration(files, fullName) {
  for (const file of files) {
    const prefix = file.package ? `${file.package}.` : "";
    const found = file.messageType.find((message) => prefix + message.name === fullName);
    if (found) return descriptor.DescriptorProto.encode(found).finish();
  }
  throw new Error(`the descriptors do not declare ${fullName}`);
}

function isAllowed(request, expected) {
  const given = Buffer.from(request.headers.authorization ?? "");
  const wanted = Buffer.from(expected);
  return !expected || (given.length === wanted.length && timingSafeEqual(given, wanted));
}
