/* openai, the client most others are measured by. */

import assert from 'node:assert/strict';

import OpenAI from 'openai';
import {zodResponseFormat} from 'openai/helpers/zod';
import {z} from 'zod';

import {base, CALCULATOR, clientTest, isCalculation, isPerson, key, MODEL, PERSON, SUM} from './common.mjs';

const client = new OpenAI({baseURL: base, apiKey: key, maxRetries: 0});
const ask = (more = {}) => ({model: MODEL, temperature: 0, messages: [{role: 'user', content: SUM}], ...more});
const tools = [{type: 'function', function: {name: 'calculate', description: 'Adds or subtracts', parameters: CALCULATOR, strict: true}}];

clientTest('openai: models are listed and retrieved, aliases too', async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.ok(ids.includes('tiny-r1'), ids.join());
    for (const id of ['tiny-r1', 'deepseek-reasoner', 'deepseek-chat']) assert.equal((await client.models.retrieve(id)).object, 'model');
});

clientTest('openai: a question gets its answer, its thoughts apart', async () => {
    const completion = await client.chat.completions.create(ask());
    const {message, finish_reason} = completion.choices[0];
    assert.equal(finish_reason, 'stop');
    assert.match(message.content, /42/);
    assert.ok(message.reasoning_content.length > 0);
    assert.ok(!message.content.includes('<think>'));
    const {usage} = completion;
    assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    assert.equal(usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens, usage.prompt_tokens);
    assert.ok(usage.completion_tokens_details.reasoning_tokens > 0);
});

clientTest('openai: a stream says what the whole answer says', async () => {
    const whole = await client.chat.completions.create(ask());
    const stream = await client.chat.completions.create(ask({stream: true, stream_options: {include_usage: true}}));
    let [content, reasoning, usage] = ['', '', null];
    for await (const chunk of stream) {
        content += chunk.choices[0]?.delta.content ?? '';
        reasoning += chunk.choices[0]?.delta.reasoning_content ?? '';
        usage = chunk.usage ?? usage;
    }
    assert.equal(content, whole.choices[0].message.content);
    assert.equal(reasoning, whole.choices[0].message.reasoning_content);
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

clientTest('openai: its stream helper puts the answer together', async () => {
    const runner = client.chat.completions.stream(ask());
    let heard = '';
    runner.on('content', (delta) => (heard += delta));
    const completion = await runner.finalChatCompletion();
    assert.equal(completion.choices[0].message.content, heard);
    assert.match(heard, /42/);
});

clientTest('openai: a conversation with a system message, parts and earlier thoughts', async () => {
    const completion = await client.chat.completions.create(
        ask({
            messages: [
                {role: 'developer', content: 'Be exact.'},
                {role: 'user', content: [{type: 'text', text: 'Add 1'}, {type: 'text', text: ' and 2.'}]},
                {role: 'assistant', content: '3', reasoning_content: '1 + 2'},
                {role: 'user', content: SUM},
            ],
            max_completion_tokens: 120,
        }),
    );
    assert.ok(['stop', 'length'].includes(completion.choices[0].finish_reason));
});

clientTest('openai: a tool that must be called is called with arguments of its schema', async () => {
    for (const tool_choice of ['required', {type: 'function', function: {name: 'calculate'}}]) {
        const {message, finish_reason} = (await client.chat.completions.create(ask({tools, tool_choice, max_tokens: 400}))).choices[0];
        assert.equal(finish_reason, 'tool_calls');
        assert.ok(message.tool_calls.length >= 1);
        for (const call of message.tool_calls) {
            assert.equal(call.function.name, 'calculate');
            assert.ok(isCalculation(JSON.parse(call.function.arguments)), call.function.arguments);
        }
    }
});

clientTest('openai: streamed tool calls are the same as whole ones, and their results go back', async () => {
    const request = ask({tools, tool_choice: 'required', parallel_tool_calls: false, max_tokens: 400});
    const whole = (await client.chat.completions.create(request)).choices[0].message;
    const streamed = (await client.chat.completions.stream(request).finalChatCompletion()).choices[0].message;
    assert.deepEqual(streamed.tool_calls.map((call) => call.function.arguments), whole.tool_calls.map((call) => call.function.arguments));
    const results = whole.tool_calls.map((call) => ({role: 'tool', tool_call_id: call.id, content: '42'}));
    const next = await client.chat.completions.create(ask({tools, messages: [{role: 'user', content: SUM}, whole, ...results], max_tokens: 60}));
    assert.ok(['stop', 'length', 'tool_calls'].includes(next.choices[0].finish_reason));
});

clientTest('openai: tool_choice none calls nothing', async () => {
    const {message, finish_reason} = (await client.chat.completions.create(ask({tools, tool_choice: 'none', max_tokens: 200}))).choices[0];
    assert.equal(message.tool_calls, undefined);
    assert.notEqual(finish_reason, 'tool_calls');
});

clientTest('openai: structured output keeps to its schema, whole and streamed', async () => {
    const response_format = {type: 'json_schema', json_schema: {name: 'person', strict: true, schema: PERSON}};
    const whole = await client.chat.completions.create(ask({response_format, max_tokens: 600}));
    assert.equal(whole.choices[0].finish_reason, 'stop');
    assert.ok(isPerson(JSON.parse(whole.choices[0].message.content)));
    let text = '';
    for await (const chunk of await client.chat.completions.create(ask({response_format, max_tokens: 600, stream: true}))) text += chunk.choices[0]?.delta.content ?? '';
    assert.equal(text, whole.choices[0].message.content);
});

clientTest('openai: its zod helper parses what comes', async () => {
    const Answer = z.object({sum: z.number().int().min(0).max(99), sure: z.boolean()});
    const completion = await client.chat.completions.parse(ask({response_format: zodResponseFormat(Answer, 'answer'), max_tokens: 400}));
    assert.equal(typeof completion.choices[0].message.parsed.sure, 'boolean');
});

clientTest('openai: json_object gives an object', async () => {
    const completion = await client.chat.completions.create(ask({response_format: {type: 'json_object'}, max_tokens: 300}));
    const {message, finish_reason} = completion.choices[0];
    if (finish_reason === 'stop') assert.equal(typeof JSON.parse(message.content), 'object');
    else assert.match(message.content, /^\s*(\{|$)/);
});

clientTest('openai: logprobs come with their tokens and bytes', async () => {
    const completion = await client.chat.completions.create(ask({logprobs: true, top_logprobs: 3, max_tokens: 200}));
    const entries = completion.choices[0].logprobs.content;
    assert.ok(entries.length > 0);
    for (const entry of entries) {
        assert.ok(entry.logprob <= 0);
        assert.equal(entry.top_logprobs.length, 3);
        assert.ok(entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob);
    }
});

clientTest('openai: several choices, seeds and stop strings', async () => {
    const two = await client.chat.completions.create(ask({n: 2, temperature: 0.8, seed: 7, max_tokens: 40}));
    assert.deepEqual(two.choices.map((choice) => choice.index), [0, 1]);
    const again = await client.chat.completions.create(ask({n: 2, temperature: 0.8, seed: 7, max_tokens: 40}));
    assert.deepEqual(again.choices.map((choice) => choice.message), two.choices.map((choice) => choice.message));
    const stopped = await client.chat.completions.create(ask({stop: ['2']}));
    assert.ok(!stopped.choices[0].message.content.includes('2'));
});

clientTest('openai: thinking is off for deepseek-chat and where it is switched off', async () => {
    for (const more of [{model: 'deepseek-chat'}, {thinking: {type: 'disabled'}}]) {
        const {message} = (await client.chat.completions.create(ask({max_tokens: 60, ...more}))).choices[0];
        assert.ok(!message.reasoning_content);
    }
});

clientTest('openai: text completions, whole and streamed', async () => {
    const request = {model: MODEL, prompt: 'Add 1 and 2.', max_tokens: 12, temperature: 0};
    const whole = await client.completions.create(request);
    let text = '';
    for await (const chunk of await client.completions.create({...request, stream: true})) text += chunk.choices[0]?.text ?? '';
    assert.equal(text, whole.choices[0].text);
});
