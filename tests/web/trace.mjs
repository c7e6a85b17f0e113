/* What `essaim trace` writes, opened in a viewer that others wrote: speedscope, from its npm package. */

import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {createRequire} from 'node:module';
import {dirname, extname, join} from 'node:path';
import {test} from 'node:test';

import {environment} from '../clients/server.mjs';
import {stage} from './stage.mjs';

const TYPES = {'.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css'};
const VIEWER = join(dirname(createRequire(import.meta.url).resolve('speedscope/package.json')), 'dist/release');

/* The viewer's own files, and the trace beside them. */
async function serve(trace) {
    const server = createServer((request, response) => {
        const {pathname} = new URL(request.url, 'http://viewer');
        try {
            const bytes = readFileSync(pathname === '/trace.json' ? trace : join(VIEWER, pathname));
            response.writeHead(200, {'content-type': TYPES[extname(pathname)] ?? 'application/octet-stream'}).end(bytes);
        } catch {
            response.writeHead(404).end();
        }
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return server;
}

test('a trace opens in a viewer with every stage and node', {timeout: 60_000}, async () => {
    const body = JSON.stringify({messages: [{role: 'user', content: 'Add 15 and 27.'}], max_tokens: 6});
    const headers = {'content-type': 'application/json'};
    assert.ok((await fetch(`${stage.server.url}/v1/chat/completions`, {method: 'POST', headers, body})).ok);
    const file = `${stage.shots}/trace.json`;
    execFileSync(`${environment('ESSAIM_BUILD')}/essaim`, ['trace', '--url', stage.server.url, '--out', file]);

    const viewer = await serve(file);
    const context = await stage.browser.newContext();
    const problems = [];
    try {
        const page = await context.newPage();
        page.on('pageerror', (error) => problems.push(error.message));
        page.on('dialog', (dialog) => {
            problems.push(dialog.message());
            dialog.dismiss();
        });
        /* Spans that cross or do not end, names that are missing: it says so there. What WebGL says is not about the trace. */
        page.on('console', (message) => {
            if (['error', 'warning'].includes(message.type()) && !/WebGL/.test(message.text())) problems.push(message.text());
        });
        const url = `http://127.0.0.1:${viewer.address().port}`;
        await page.goto(`${url}/index.html#profileURL=${encodeURIComponent(`${url}/trace.json`)}`);
        await page.getByText(/\(1\/\d+\)/).click(); /* which of the threads is drawn */
        const threads = await page.locator('body').innerText();
        for (const name of ['step', 'attention', 'router', 'dispatch', 'shared', 'wait', 'head', 'sampling']) assert.match(threads, new RegExp(`coordinator.*${name}`), threads);
        assert.equal(threads.match(/node .*calls/g)?.length, 2, threads);
        await page.screenshot({path: `${stage.shots}/trace.png`});
    } finally {
        await context.close();
        viewer.close();
    }
    assert.deepEqual(problems, []);
});
