/* Asking, streaming, stopping, retrying, editing. */

import assert from 'node:assert/strict';

import {answer, answered, ask, makeTalkative, pageTest, runningAnswers, until} from './browser.mjs';

pageTest('a question is typed and answered, the thoughts folded away', {}, async (page) => {
    await page.keyboard.type('Add 15 and 27.'); /* the field has the focus from the start */
    await page.keyboard.press('Enter');
    assert.match(await answered(page), /42/);
    const thought = answer(page).locator('.thought');
    assert.match(await thought.locator('.thought-label').innerText(), /^Thought for [\d.]+ s$/);
    assert.equal(await thought.locator('.thought-body').isVisible(), false);
    await thought.getByRole('button').click();
    assert.match(await thought.locator('.thought-body').innerText(), /15 \+ 27/);
    assert.match(await answer(page).locator('.statistics').innerText(), /\d+ tokens .* per second .* first after .* prompt \d+/);
    assert.equal(await page.title(), 'Add 15 and 27. · Essaim');
});

pageTest('Shift and Enter begin a line, Enter sends', {}, async (page) => {
    await page.keyboard.type('Add 1');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('and 2.');
    assert.equal(await page.inputValue('#input'), 'Add 1\nand 2.');
    await page.keyboard.press('Enter');
    await answered(page);
    assert.equal(await page.locator('.message.user .bubble').innerText(), 'Add 1\nand 2.');
});

pageTest('text streams in as it is made; Escape stops it within a step, and what came stays', {}, async (page) => {
    await makeTalkative(page);
    await page.evaluate(() => {
        window.labels = new Set();
        const note = () => window.labels.add(document.querySelector('.thought.live .thought-label')?.textContent);
        new MutationObserver(note).observe(document.getElementById('messages'), {subtree: true, childList: true, characterData: true});
    });
    await ask(page, 'Add 15 and 27.');
    const length = async () => (await answer(page).locator('> .prose').innerText()).length;
    await until('text comes', async () => (await length()) > 5);
    const first = await length();
    const labels = await page.evaluate(() => [...window.labels]);
    assert.ok(labels.some((label) => /^Thinking, [\d.]+ s$/.test(label)), 'while it thinks it says so');
    await until('more text comes', async () => (await length()) > first + 20);
    assert.equal(await runningAnswers(), 1);
    await page.keyboard.press('Escape');
    await page.waitForSelector('.notice:has-text("Stopped.")');
    await until('the server has stopped too', async () => (await runningAnswers()) === 0, 1500);
    assert.ok((await length()) > first);
});

pageTest('the button stops; an answer that was stopped goes on, and is given again', {}, async (page) => {
    await makeTalkative(page);
    await ask(page, 'Add 15 and 27.');
    await until('text comes', async () => (await answer(page).locator('> .prose').innerText()).length > 5);
    await page.getByRole('button', {name: 'Stop'}).click();
    const stopped = await answered(page);
    await page.unroute('**/v1/chat/completions');
    await page.getByRole('button', {name: 'Go on'}).click();
    const longer = await answered(page);
    assert.ok(longer.startsWith(stopped.trimEnd()) && (await page.locator('.message').count()) === 2);
    await page.getByRole('button', {name: /Answer again|Try again/}).first().click();
    assert.match(await answered(page), /42/);
    assert.equal(await page.locator('.message').count(), 2);
});

pageTest('a question is edited and what followed is asked anew', {}, async (page) => {
    await ask(page, 'Add 1 and 2.');
    await answered(page);
    await ask(page, 'Add 3 and 4.');
    await answered(page);
    const first = page.locator('.message.user').first();
    await first.hover();
    await first.getByRole('button', {name: 'Edit'}).click();
    await page.getByLabel('Edit the message').fill('Add 15 and 27.');
    await page.keyboard.press('Enter');
    assert.match(await answered(page), /42/);
    assert.equal(await page.locator('.message').count(), 2);
});

pageTest('settings are sent and kept', {}, async (page) => {
    await page.getByRole('button', {name: 'Settings'}).click();
    await page.getByLabel('System prompt').fill('Be exact.');
    await page.getByLabel('Temperature').fill('0');
    await page.getByLabel('Longest answer').fill('7');
    await page.getByLabel('Think before answering').uncheck();
    await page.getByRole('button', {name: 'Done'}).click();
    const sent = page.waitForRequest('**/v1/chat/completions');
    await ask(page, 'Add 15 and 27.');
    const body = (await sent).postDataJSON();
    assert.deepEqual(body.messages[0], {role: 'system', content: 'Be exact.'});
    assert.deepEqual([body.temperature, body.max_tokens, body.thinking], [0, 7, {type: 'disabled'}]);
    await answered(page);
    await page.reload();
    assert.equal(await page.getByRole('button', {name: 'Think first'}).getAttribute('aria-pressed'), 'false');
});
