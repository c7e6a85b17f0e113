/* All clients, one after the other, against one server. */

import {after, test} from 'node:test';
import assert from 'node:assert/strict';

import {startServer} from './server.mjs';

const server = await startServer();
process.env.ESSAIM_URL = server.url;
after(() => server.stop());

const {recordedInAll} = await import('./record.mjs');
for (const client of ['openai', 'ai_sdk', 'langchain', 'anthropic', 'errors']) await import(`./${client}.mjs`);

test('every answer and chunk was held against a schema', () => {
    const {responses, chunks, errors} = recordedInAll();
    console.log(`${responses} answers, ${chunks} chunks, ${errors} errors`);
    assert.ok(responses > 40 && chunks > 200 && errors > 5);
});
