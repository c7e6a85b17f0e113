/* A server that is busy, loading, wants a key, or falls in the middle of an answer. */

import assert from 'node:assert/strict';

import {startServer} from '../clients/server.mjs';
import {answer, answered, ask, makeTalkative, pageTest, until} from './browser.mjs';
import {stage} from './stage.mjs';

const error = (message, code) => JSON.stringify({error: {message, type: 'error', param: null, code}});

pageTest('a busy server is asked again after the time it names', {problems_expected: true}, async (page) => {
    let refusals = 0;
    await page.route('**/v1/chat/completions', (route) => {
        if (refusals++ > 0) return route.continue();
        return route.fulfill({status: 429, headers: {'retry-after': '2'}, contentType: 'application/json', body: error('the queue is full', 'queue_full')});
    });
    const begun = Date.now();
    await ask(page, 'Add 15 and 27.');
    await page.getByText(/The server is busy\. Asking again in [12] s/).waitFor();
    assert.match(await answered(page), /42/);
    assert.ok(Date.now() - begun >= 2000 && refusals === 2);
});

pageTest('a server that loads tells how far it is, and the question waits', {problems_expected: true}, async (page) => {
    let loading = true;
    await page.route('**/health', (route) =>
        loading ? route.fulfill({status: 503, contentType: 'application/json', body: JSON.stringify({status: 'loading', progress: 0.37})}) : route.continue(),
    );
    await page.route('**/v1/**', (route) =>
        loading ? route.fulfill({status: 503, headers: {'retry-after': '5'}, contentType: 'application/json', body: error('the model is being loaded', 'loading')}) : route.continue(),
    );
    await page.reload();
    await page.getByText('The model is being loaded').waitFor();
    assert.equal(await page.locator('#banner progress').evaluate((bar) => bar.value), 0.37);
    await ask(page, 'Add 15 and 27.');
    await page.getByText('The question waits for it').waitFor();
    loading = false;
    assert.match(await answered(page), /42/);
    await page.getByText('The server is back.').waitFor();
});

pageTest('a refusal is shown with its reason', {problems_expected: true}, async (page) => {
    await page.getByRole('button', {name: 'Settings'}).click();
    await page.getByLabel('System prompt').fill('word '.repeat(4000));
    await page.getByRole('button', {name: 'Done'}).click();
    await ask(page, 'Add 15 and 27.');
    await answered(page);
    assert.match(await answer(page).locator('.notice').innerText(), /No answer\. .*2048/);
});

pageTest('a server that wants a key says so, and the key is sent from then on', {problems_expected: true}, async (page) => {
    await page.route(/\/(v1\/|cluster)/, (route) => {
        if (route.request().headers().authorization === 'Bearer a key') return route.continue();
        return route.fulfill({status: 401, contentType: 'application/json', body: error('an API key is needed', 'invalid_api_key')});
    });
    await ask(page, 'Add 15 and 27.');
    await page.getByRole('button', {name: 'Enter the key'}).click();
    await page.getByLabel('API key').fill('a key');
    await page.keyboard.press('Enter');
    await page.getByRole('button', {name: 'Try again'}).click();
    assert.match(await answered(page), /42/);
});

pageTest('a server that dies and comes back: the half answer stays, the next question waits for it', {problems_expected: true}, async (page) => {
    await makeTalkative(page);
    await ask(page, 'Add 15 and 27.');
    await until('text comes', async () => (await answer(page).locator('> .prose').innerText()).length > 10);
    await stage.server.stop('SIGKILL');
    await page.getByText('The connection broke off here.').waitFor();
    const half = await answered(page);
    assert.ok(half.length > 10);
    await page.getByText('The server does not answer. Trying again until it does.').waitFor();
    await page.unroute('**/v1/chat/completions');
    await ask(page, 'Add 2 and 3.');
    await page.getByText('The question waits for it').waitFor();
    stage.server = await startServer({port: stage.server.port, args: ['--isa', 'ref']});
    assert.match(await answered(page), /5/);
    await page.getByText('The server is back.').waitFor();
    assert.equal(await page.locator('.message.answer').first().locator('> .prose').innerText(), half);
    await page.reload();
    await answered(page);
    assert.equal(await page.locator('.message').count(), 4);
});
