// A model in JavaScript: it counts the words of a text. `npm ci`, then `node word_count.mjs`; hub.mjs does the rest.
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { serve } from "./hub.mjs";

async function countWords(request, { signal }) {
  if (request.pauseSeconds > 0) {
    await sleep(request.pauseSeconds * 1000, undefined, { signal });
  }
  const words = request.text.match(/[\p{L}\p{N}]+/gu) ?? [];
  if (words.length === 0) {
    throw new RangeError("the text has no words");
  }
  const counts = {};
  for (const word of words.filter((word) => word.length >= request.minimumLength)) {
    counts[word] = (counts[word] ?? 0) + 1;
  }
  const most = Math.max(...words.map((word) => word.length));
  const longest = [...new Set(words.filter((word) => word.length === most))];
  return {
    words: words.length,
    counts,
    longest: longest.map((text) => ({ text, length: text.length, first: words.indexOf(text) })),
  };
}

await serve({
  name: "WordCount",
  // Made by protoc from protos/examples/word_count/v1/word_count.proto, with everything that it imports, in base64.
  descriptors: Buffer.from(await readFile(new URL("word_count.txt", import.meta.url), "utf8"), "base64"),
  request: "examples.word_count.v1.WordCountRequest",
  response: "examples.word_count.v1.WordCountResponse",
  example: { text: "the quick brown fox" },
  concurrency: 4,
  processRequest: countWords,
});
