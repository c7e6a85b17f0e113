/* Looks at every answer that any client gets, without the client noticing: global fetch is wrapped, bodies are copied as they pass, and
 * what came is held against the schemas and the rules that the types do not say. */

import assert from 'node:assert/strict';

import {validate} from './schemas.mjs';

const real_fetch = globalThis.fetch;
let pending = [];
const seen = {responses: 0, chunks: 0, errors: 0};

function validateError(path, body) {
    seen.errors++;
    if (path.endsWith('/messages') || path.endsWith('/count_tokens')) {
        assert.equal(body.type, 'error');
        assert.equal(typeof body.error.type, 'string');
        assert.equal(typeof body.error.message, 'string');
        return;
    }
    validate('ErrorObject', body.error);
    assert.equal(typeof body.error.code, 'string', 'an error has a code');
}

function validateBody(path, status, text) {
    const body = JSON.parse(text);
    seen.responses++;
    if (status >= 400) return validateError(path, body);
    if (path.endsWith('/chat/completions')) return validate('ChatCompletion', body);
    if (path.endsWith('/completions')) return validate('Completion', body);
    if (path.endsWith('/count_tokens')) return validate('MessageTokensCount', body);
    if (path.endsWith('/messages')) return validate('Message', body);
    if (path.endsWith('/models')) {
        assert.equal(body.object, 'list');
        return body.data.forEach((model) => validate('Model', model));
    }
    if (path.includes('/models/')) return validate('Model', body);
}

function eventsOf(text) {
    const events = [];
    for (const block of text.split('\n\n').slice(0, -1)) {
        const lines = block.split('\n').filter((line) => !line.startsWith(':'));
        if (lines.length === 0) continue;
        const fields = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]);
        assert.ok(fields.every(([name]) => name === 'data' || name === 'event'), `an event's fields: ${block}`);
        events.push(Object.fromEntries(fields));
    }
    return events;
}

/* What the types do not say of a chat's stream; `whole` when nobody cut it short. */
function validateChatStream(events, asked, whole) {
    const last = events.at(-1)?.data;
    if (whole) assert.equal(last, '[DONE]', 'a stream ends with [DONE]');
    const chunks = events.filter(({data}) => data !== '[DONE]').map(({data}) => JSON.parse(data));
    const finished = new Map();
    chunks.forEach((chunk, i) => {
        if (chunk.error) return validate('ErrorObject', chunk.error);
        seen.chunks++;
        validate('ChatCompletionChunk', chunk);
        assert.equal(chunk.id, chunks[0].id);
        assert.equal(chunk.created, chunks[0].created);
        if (i === 0) assert.deepEqual([chunk.choices[0].delta.role, chunk.choices[0].delta.content], ['assistant', '']);
        if (chunk.choices.length === 0) assert.ok(chunk.usage && asked.stream_options?.include_usage && i === chunks.length - 1, 'usage comes last, when asked for');
        for (const choice of chunk.choices) {
            assert.ok(!finished.get(choice.index), 'nothing follows a finish_reason');
            assert.ok('finish_reason' in choice && choice.finish_reason !== '');
            finished.set(choice.index, choice.finish_reason !== null);
        }
    });
    if (whole) assert.ok([...finished.values()].every(Boolean), 'every choice is finished');
    if (whole && asked.stream_options?.include_usage) assert.equal(chunks.at(-1).choices.length, 0, 'usage was asked for');
}

/* The type knows no null here, OpenAI's own streams do. */
function validateTextStream(events, whole) {
    if (whole) assert.equal(events.at(-1).data, '[DONE]');
    for (const {data} of events.filter((event) => event.data !== '[DONE]')) {
        seen.chunks++;
        const chunk = JSON.parse(data);
        validate('Completion', {...chunk, choices: chunk.choices.map((choice) => ({...choice, finish_reason: choice.finish_reason ?? 'stop'}))});
    }
}

function validateStream(path, text, asked, whole) {
    const events = eventsOf(text);
    seen.responses++;
    if (path.endsWith('/chat/completions')) return validateChatStream(events, asked, whole);
    if (path.endsWith('/completions')) return validateTextStream(events, whole);
    const messages = events.map(({event, data}) => {
        const message = JSON.parse(data);
        assert.equal(event, message.type);
        return message;
    });
    for (const message of messages) if (message.type !== 'ping') validate('RawMessageStreamEvent', message);
    if (whole) assert.deepEqual([messages[0].type, messages.at(-1).type], ['message_start', 'message_stop']);
}

/* The response with a body that is copied as the client reads it, and what it was in the end: {text, whole}. (A clone would not do: a
 * client that leaves would wait for the other copy.) */
function copied(response) {
    if (!response.body) return [response, Promise.resolve({text: '', whole: true})];
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = '';
    let tell;
    const told = new Promise((resolve) => (tell = (whole) => resolve({text, whole})));
    const body = new ReadableStream({
        async pull(controller) {
            try {
                const {done, value} = await reader.read();
                if (done) {
                    tell(true);
                    return controller.close();
                }
                text += decoder.decode(value, {stream: true});
                controller.enqueue(value);
            } catch (error) {
                tell(false); /* the client left: what came until then counts */
                controller.error(error);
            }
        },
        cancel(reason) {
            tell(false);
            return reader.cancel(reason);
        },
    });
    const copy = new Response(body, {status: response.status, statusText: response.statusText, headers: response.headers});
    Object.defineProperty(copy, 'url', {value: response.url});
    return [copy, told];
}

async function look(path, asked, response, told) {
    const {text, whole} = await told;
    const type = response.headers.get('content-type') ?? '';
    if (type.startsWith('text/event-stream')) return validateStream(path, text, asked, whole);
    assert.ok(type.startsWith('application/json'), `content type ${type}`);
    if (whole) validateBody(path, response.status, text);
}

globalThis.fetch = async (input, init) => {
    const response = await real_fetch(input, init);
    const url = new URL(typeof input === 'string' || input instanceof URL ? input : input.url);
    const [copy, told] = copied(response);
    const looked = look(url.pathname, typeof init?.body === 'string' ? JSON.parse(init.body) : {}, response, told);
    looked.catch(() => {}); /* told by recorded() */
    pending.push(looked);
    return copy;
};

/* Waits for what was looked at since the last time; throws the first complaint. */
export async function recorded() {
    const looked = pending;
    pending = [];
    const complaints = (await Promise.allSettled(looked)).filter(({status}) => status === 'rejected');
    if (complaints.length > 0) throw complaints[0].reason;
    assert.ok(looked.length > 0, 'an answer was looked at');
}

export const recordedInAll = () => ({...seen});
