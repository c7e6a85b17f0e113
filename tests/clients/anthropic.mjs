/* Anthropic's client, on /v1/messages. */

import assert from 'node:assert/strict';

import Anthropic from '@anthropic-ai/sdk';

import {CALCULATOR, clientTest, isCalculation, key, MODEL, SUM, url} from './common.mjs';

const client = new Anthropic({baseURL: url, apiKey: key, maxRetries: 0});
const ask = (more = {}) => ({model: MODEL, max_tokens: 400, temperature: 0, messages: [{role: 'user', content: SUM}], ...more});
const thinking = {type: 'enabled', budget_tokens: 1024};
const tools = [{name: 'calculate', description: 'Adds or subtracts', input_schema: CALCULATOR}];
const textOf = (message) => message.content.filter((block) => block.type === 'text').map((block) => block.text).join('');

clientTest('anthropic: a question gets its answer, its thoughts in a block of their own', async () => {
    const message = await client.messages.create(ask({thinking, max_tokens: 1500, temperature: 1, top_k: 1}));
    assert.equal(message.role, 'assistant');
    assert.equal(message.stop_reason, 'end_turn');
    assert.equal(message.content[0].type, 'thinking');
    assert.match(textOf(message), /42/);
    assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
});

clientTest('anthropic: a stream says what the whole answer says', async () => {
    const request = ask({thinking, max_tokens: 1500, temperature: 1, top_k: 1});
    const whole = await client.messages.create(request);
    const stream = client.messages.stream(request);
    let heard = '';
    stream.on('text', (delta) => (heard += delta));
    const message = await stream.finalMessage();
    assert.equal(heard, textOf(whole));
    assert.equal(textOf(message), textOf(whole));
    assert.equal(message.stop_reason, whole.stop_reason);
    assert.equal(message.usage.output_tokens, whole.usage.output_tokens);
});

clientTest('anthropic: a tool is used with input of its schema, and its result goes back', async () => {
    for (const tool_choice of [{type: 'any'}, {type: 'tool', name: 'calculate'}]) {
        const message = await client.messages.create(ask({tools, tool_choice}));
        assert.equal(message.stop_reason, 'tool_use');
        const uses = message.content.filter((block) => block.type === 'tool_use');
        assert.ok(uses.length >= 1 && uses.every((use) => use.name === 'calculate' && isCalculation(use.input)), JSON.stringify(uses));
        const results = uses.map((use) => ({type: 'tool_result', tool_use_id: use.id, content: '42'}));
        const next = await client.messages.create(
            ask({tools, max_tokens: 60, messages: [{role: 'user', content: SUM}, {role: 'assistant', content: message.content}, {role: 'user', content: results}]}),
        );
        assert.ok(['end_turn', 'max_tokens', 'tool_use'].includes(next.stop_reason));
    }
});

clientTest('anthropic: streamed tool use is the same as whole', async () => {
    const request = ask({tools, tool_choice: {type: 'any'}});
    const inputs = (message) => message.content.filter((block) => block.type === 'tool_use').map((use) => use.input);
    const whole = await client.messages.create(request);
    assert.deepEqual(inputs(await client.messages.stream(request).finalMessage()), inputs(whole));
});

clientTest('anthropic: system texts, stop sequences and the longest answer', async () => {
    const cut = await client.messages.create(ask({system: [{type: 'text', text: 'Be exact.'}], max_tokens: 3}));
    assert.equal(cut.stop_reason, 'max_tokens');
    const stopped = await client.messages.create(ask({stop_sequences: ['2'], thinking, max_tokens: 1500, temperature: 1, top_k: 1}));
    assert.equal(stopped.stop_reason, 'stop_sequence');
    assert.equal(stopped.stop_sequence, '2');
});

clientTest('anthropic: tokens are counted before they are sent', async () => {
    const {input_tokens} = await client.messages.countTokens({model: MODEL, messages: [{role: 'user', content: SUM}]});
    const message = await client.messages.create(ask({max_tokens: 1, thinking: {type: 'disabled'}}));
    const {input_tokens: fresh, cache_read_input_tokens: known} = message.usage;
    assert.ok(input_tokens > 4 && Math.abs(input_tokens - fresh - known) <= 8, `${input_tokens} counted, ${fresh} + ${known} used`);
});

clientTest('anthropic: an answer that is no longer wanted is stopped', async () => {
    const stream = client.messages.stream(ask({messages: [{role: 'user', content: 'Sort 9, 4, 7 and 1.'}]}));
    stream.on('streamEvent', (event) => event.type === 'content_block_delta' && stream.abort());
    await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
});

clientTest('anthropic: what is wrong is an error of its own kind', async () => {
    await assert.rejects(client.messages.create(ask({model: 'no-such-model'})), Anthropic.NotFoundError);
    await assert.rejects(client.messages.create(ask({messages: []})), Anthropic.BadRequestError);
});
