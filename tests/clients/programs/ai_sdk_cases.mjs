// Vercel AI SDK with @ai-sdk/openai-compatible: run with the server's /v1 address and the model's name.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embed, generateText, jsonSchema, Output, streamText, tool } from 'ai';
import { model, plan, refused, report, system, url, user } from './reporting.mjs';

const tidar = createOpenAICompatible({
  name: 'tidar', baseURL: url, apiKey: 'unused', includeUsage: true, supportsStructuredOutputs: true,
});
const sampling = { temperature: 2.0, seed: 7, maxOutputTokens: 16, maxRetries: 0 };
const ask = { ...sampling, model: tidar(model), system, prompt: user };
const roomy = { ...ask, maxOutputTokens: 400 };
const tools = { plan: tool({ description: 'Two steps.', inputSchema: jsonSchema(plan) }) };
const counts = (usage) => ({ prompt_tokens: usage.inputTokens, completion_tokens: usage.outputTokens });

await report({
  async chat() {
    const answer = await generateText(ask);
    return { text: answer.text, finish: answer.finishReason, usage: counts(answer.usage) };
  },
  async chat_stream() {
    const answer = streamText(ask);
    const parts = [];
    for await (const part of answer.textStream) parts.push(part);
    return { text: parts.join(''), chunks: parts.length, usage: counts(await answer.usage) };
  },
  async stop() {
    const { text } = await generateText(ask);
    const answer = await generateText({ ...ask, stopSequences: [text.slice(6, 8)] });
    return { text: answer.text, finish: answer.finishReason, stop: text.slice(6, 8) };
  },
  async extra_fields() {
    const answer = await generateText({ ...ask, providerOptions: { tidar: { top_k: 1 } } });
    const other = await generateText({ ...ask, seed: 8, providerOptions: { tidar: { top_k: 1 } } });
    return { same: answer.text === other.text };
  },
  async completion() {
    return { text: (await generateText({ ...sampling, model: tidar.completionModel(model), prompt: 'x' })).text };
  },
  async json_schema() {
    const answer = await generateText({ ...roomy, output: Output.object({ schema: jsonSchema(plan) }) });
    return { plan: answer.output };
  },
  async tools() {
    const answer = await generateText({ ...roomy, tools, toolChoice: 'required' });
    return { plan: answer.toolCalls[0].input };
  },
  async tools_stream() {
    const answer = streamText({ ...roomy, tools, toolChoice: 'required' });
    return { plan: (await answer.toolCalls)[0].input };
  },
  async leaving() {
    const controller = new AbortController();
    const answer = streamText({ ...ask, maxOutputTokens: 100, abortSignal: controller.signal, onError() {} });
    for await (const part of answer.textStream) {
      controller.abort();
      break;
    }
    return { aborted: controller.signal.aborted };
  },
  bad_request: () => refused(() => generateText({ ...ask, temperature: -1 })),
  unknown_model: () => refused(() => generateText({ ...ask, model: tidar('gpt-4') })),
  no_embeddings: () => refused(() => embed({ model: tidar.textEmbeddingModel(model), value: 'x', maxRetries: 0 })),
});
