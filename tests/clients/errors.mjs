/* What clients do when something is wrong: the error's class, whether it is tried again, what an abort leaves behind. */

import assert from 'node:assert/strict';
import {createServer, request as forward} from 'node:http';
import {setTimeout as sleep} from 'node:timers/promises';

import OpenAI from 'openai';

import {base, clientTest, key, MODEL, SUM, url} from './common.mjs';

const client = new OpenAI({baseURL: base, apiKey: key, maxRetries: 0});
const ask = (more = {}) => ({model: MODEL, temperature: 0, messages: [{role: 'user', content: SUM}], ...more});

const END_TOKEN = 1; /* tiny-r1's */

/* A proxy in front of the server that answers the first requests itself, and counts. */
async function proxy(first) {
    let requests = 0;
    const server = createServer((incoming, outgoing) => {
        const refusal = first[requests++];
        if (refusal === 'cut') return incoming.socket.destroy();
        if (refusal) {
            outgoing.writeHead(refusal.status, {'content-type': 'application/json', ...refusal.headers});
            return outgoing.end(JSON.stringify({error: {message: 'not now', type: 'server_error', param: null, code: 'not_now'}}));
        }
        const {hostname, port} = new URL(url);
        const onward = forward({hostname, port, path: incoming.url, method: incoming.method, headers: {...incoming.headers, host: `${hostname}:${port}`}}, (response) => {
            outgoing.writeHead(response.statusCode, response.headers);
            response.pipe(outgoing);
        });
        incoming.pipe(onward);
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return {base: `http://127.0.0.1:${server.address().port}/v1`, requests: () => requests, close: () => server.close()};
}

async function running() {
    return (await (await fetch(`${url}/cluster`)).json()).engine.running;
}

clientTest('errors: wrong requests are refused by what is wrong in them, and not tried again', async () => {
    const once = new OpenAI({baseURL: base, apiKey: key, maxRetries: 3});
    const cases = [
        [ask({model: 'no-such-model'}), OpenAI.NotFoundError, /no-such-model/],
        [ask({messages: []}), OpenAI.BadRequestError, /messages/],
        [ask({temperature: 3}), OpenAI.BadRequestError, /temperature/],
        [ask({top_p: 1.5}), OpenAI.BadRequestError, /top_p/],
        [ask({messages: [{role: 'user', content: 'word '.repeat(4000)}]}), OpenAI.BadRequestError, /2048[^]*\d{4}|\d{4}[^]*2048/],
        [ask({response_format: {type: 'json_schema', json_schema: {name: 'x', strict: true, schema: {type: 'object', properties: {a: {multipleOf: 3}}}}}}), OpenAI.UnprocessableEntityError, /multipleOf/],
    ];
    for (const [request, kind, words] of cases) {
        const begun = performance.now();
        await assert.rejects(once.chat.completions.create(request), (error) => {
            assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
            assert.match(error.message, words);
            return true;
        });
        assert.ok(performance.now() - begun < 400, 'it was not tried again');
    }
    await assert.rejects(client.embeddings.create({model: MODEL, input: 'x'}), (error) => error.status >= 400 && error.status < 500 && /embedding/i.test(error.message));
});

clientTest('errors: a client tries again after 429, 503 and a cut, as long as retry-after says', async () => {
    const between = await proxy([{status: 429, headers: {'retry-after': '1'}}, {status: 503, headers: {'retry-after': '0'}}, 'cut']);
    const patient = new OpenAI({baseURL: between.base, apiKey: key, maxRetries: 3});
    const begun = performance.now();
    const completion = await patient.chat.completions.create(ask());
    between.close();
    assert.match(completion.choices[0].message.content, /42/);
    assert.equal(between.requests(), 4);
    assert.ok(performance.now() - begun >= 1000);
});

clientTest('errors: the server ends an answer soon after its client left', async () => {
    /* Without its end token the model writes until its context is full. */
    const request = ask({stream: true, logit_bias: {[END_TOKEN]: -100}});
    for (let i = 0; i < 3; i++) {
        for await (const chunk of await client.chat.completions.create(request)) if (chunk.choices[0]?.delta.reasoning_content) break;
    }
    const deadline = Date.now() + 1500;
    while ((await running()) > 0 && Date.now() < deadline) await sleep(50);
    assert.equal(await running(), 0);
});

clientTest('errors: a client that has too little time says so', async () => {
    const hasty = new OpenAI({baseURL: base, apiKey: key, maxRetries: 0, timeout: 1});
    await assert.rejects(hasty.chat.completions.create(ask()), OpenAI.APIConnectionTimeoutError);
    assert.match((await client.chat.completions.create(ask())).choices[0].message.content, /42/);
});
