// openai for Node: run with the server's /v1 address and the model's name.

import OpenAI from 'openai';
import { messages, model, plan, refused, report, url, user } from './reporting.mjs';

const client = new OpenAI({ baseURL: url, apiKey: 'unused', maxRetries: 0 });
const sampling = { model, temperature: 2.0, seed: 7, max_tokens: 16 };
const ask = { ...sampling, messages };
const roomy = { ...ask, max_tokens: 400 };
const offered = [{ type: 'function', function: { name: 'plan', parameters: plan } }];
const respond = { model, input: user, temperature: 2.0, max_output_tokens: 16, seed: 7 };

await report({
  async models() {
    const names = [];
    for await (const found of client.models.list()) names.push(found.id);
    return { names, found: (await client.models.retrieve(model)).id };
  },
  async chat() {
    const answer = await client.chat.completions.create(ask);
    const [choice] = answer.choices;
    return { text: choice.message.content, finish: choice.finish_reason, usage: answer.usage };
  },
  async chat_stream() {
    const stream = await client.chat.completions.create({
      ...ask, stream: true, stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
    return { text, chunks: chunks.length, usage: chunks.at(-1).usage };
  },
  async stream_helper() {
    return { text: await client.chat.completions.stream(ask).finalContent() };
  },
  async stop() {
    const text = (await client.chat.completions.create(ask)).choices[0].message.content;
    const stop = text.slice(6, 8);
    const [choice] = (await client.chat.completions.create({ ...ask, stop })).choices;
    return { text: choice.message.content, finish: choice.finish_reason, stop };
  },
  async several() {
    const answer = await client.chat.completions.create({ ...ask, n: 3 });
    return { texts: answer.choices.map((choice) => choice.message.content) };
  },
  async logprobs() {
    const answer = await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2 });
    const entries = answer.choices[0].logprobs.content;
    return { tokens: entries.length, top: entries[0].top_logprobs.length };
  },
  async completion() {
    return { text: (await client.completions.create({ ...sampling, prompt: 'def f(' })).choices[0].text };
  },
  async response() {
    const answer = await client.responses.create(respond);
    const kept = await client.responses.retrieve(answer.id);
    return { text: answer.output_text, kept: kept.output_text, tokens: answer.usage.output_tokens };
  },
  async response_stream() {
    let text = '';
    for await (const event of await client.responses.create({ ...respond, stream: true })) {
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    return { text };
  },
  async response_stream_helper() {
    const whole = (await client.responses.create(respond)).output_text;
    const final = await client.responses.stream({ ...respond, stop: whole.slice(6, 8) }).finalResponse();
    return { text: final.output_text, whole, stop: whole.slice(6, 8), status: final.status };
  },
  async background() {
    const queued = await client.responses.create({ ...respond, background: true });
    const cancelled = await client.responses.cancel(queued.id);
    return { queued: queued.status, cancelled: cancelled.status };
  },
  async leaving() {
    const stream = await client.chat.completions.create({ ...ask, max_tokens: 100, stream: true });
    for await (const chunk of stream) {
      stream.controller.abort();
      break;
    }
    return { aborted: stream.controller.signal.aborted };
  },
  async json_schema() {
    const response_format = { type: 'json_schema', json_schema: { name: 'plan', schema: plan, strict: true } };
    const answer = await client.chat.completions.create({ ...roomy, response_format });
    return { plan: JSON.parse(answer.choices[0].message.content) };
  },
  async tools() {
    const answer = await client.chat.completions.create({ ...roomy, tools: offered, tool_choice: 'required' });
    return { plan: JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments) };
  },
  async tools_stream() {
    const stream = client.chat.completions.stream({ ...roomy, tools: offered, tool_choice: 'required' });
    const final = await stream.finalMessage();
    return { plan: JSON.parse(final.tool_calls[0].function.arguments) };
  },
  async response_tools() {
    const tools = [{ type: 'function', name: 'plan', parameters: plan, strict: true }];
    const fields = { ...respond, max_output_tokens: 400, tools, tool_choice: 'required' };
    const final = await client.responses.stream(fields).finalResponse();
    return { plan: JSON.parse(final.output.find((item) => item.type === 'function_call').arguments) };
  },
  bad_request: () => refused(() => client.chat.completions.create({ ...ask, temperature: -1 })),
  unknown_model: () => refused(() => client.chat.completions.create({ ...ask, model: 'gpt-4' })),
  no_embeddings: () => refused(() => client.embeddings.create({ model, input: 'x' })),
});
