// Calls through the SDK of LLM Cost Tracker as it is published, with clients that answer at once, told to the endpoint
// that is given: `node calls.mjs ENDPOINT API_KEY`. Prints what its own prices make of them, as JSON.

import sdk from "@llmcosttracker/sdk";

const [endpoint, apiKey] = process.argv.slice(2);
const told = { endpoint, apiKey };

const openai = (usage) => ({ chat: { completions: { create: async () => ({ model: "gpt-4o", usage }) } } });
const anthropic = {
  messages: {
    create: async () => ({ model: "claude-haiku-4-5", usage: { input_tokens: 2000, output_tokens: 400 } }),
    stream: () => ({ finalMessage: async () => ({ model: "claude-haiku-4-5", usage: { input_tokens: 1000, output_tokens: 100 } }) }),
  },
};
const streaming = {
  chat: {
    completions: {
      create: async () => (async function* chunks() {
        yield { model: "gpt-4o", choices: [{ delta: { content: "Hello" } }] };
        yield { model: "gpt-4o", choices: [], usage: { prompt_tokens: 10_000, completion_tokens: 1000 } };
      })(),
    },
  },
};
const gemini = { models: { generateContent: async () => ({ usageMetadata: { promptTokenCount: 500, candidatesTokenCount: 50 } }) } };

const usage = { prompt_tokens: 100_000, completion_tokens: 10_000 };
await sdk.trackedCall({ ...told, client: openai(usage), group: "search", userId: "user-1", tier: "free", promptVersion: "v7", params: { model: "gpt-4o" } });
await sdk.trackedCall({ ...told, client: openai(usage), group: "search", tier: "free", params: { model: "gpt-4o" } });
await sdk.trackedCall({ ...told, client: openai(undefined), userId: "user-1", params: { model: "gpt-4o" } });
await sdk.trackedCall({ ...told, client: openai(usage), userId: 42, group: "", params: { model: "in-house-7b" } });
await sdk.trackedCall({ ...told, client: anthropic, group: "chat", userId: "user-2", tier: "pro", params: { model: "claude-haiku-4-5" } });
await sdk.trackedCall({ ...told, client: gemini, group: "chat", userId: "user-2", tier: "pro", params: { model: "gemini-2.5-flash" } });
const streams = [
  await sdk.trackedStream({ ...told, client: anthropic, group: "chat", userId: "user-2", tier: "pro", params: { model: "claude-haiku-4-5" } }),
  await sdk.trackedStream({ ...told, client: streaming, group: "chat", userId: "user-3", tier: "pro", params: { model: "gpt-4o" } }),
];
await Promise.all(streams.map((stream) => stream.__logPromise));

console.log(JSON.stringify({ "gpt-4o": sdk.calculateCost("gpt-4o", 100_000, 10_000), stream: sdk.calculateCost("gpt-4o", 10_000, 1000) }));
