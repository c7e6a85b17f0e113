/* What the browser keeps. */

import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';

import {answered, ask, makeTalkative, pageTest, until} from './browser.mjs';

const titles = (page) => page.locator('.conversation .open').allInnerTexts();

pageTest('conversations outlive a reload; a second one is begun, both are found again', {}, async (page) => {
    await ask(page, 'Add 15 and 27.');
    await answered(page);
    await page.getByRole('button', {name: 'New conversation'}).click();
    assert.equal(await page.locator('.message').count(), 0);
    assert.ok(await page.locator('#welcome').isVisible());
    await ask(page, 'Add 2 and 3.');
    await answered(page);
    assert.deepEqual(await titles(page), ['Add 2 and 3.', 'Add 15 and 27.']);
    await page.reload();
    assert.match(await answered(page), /5/);
    await page.getByRole('button', {name: 'Add 15 and 27.', exact: true}).click();
    assert.match(await answered(page), /42/);
    assert.equal(await page.locator('.conversation [aria-current]').innerText(), 'Add 15 and 27.');
});

pageTest('a conversation is renamed, exported, deleted and brought back', {}, async (page) => {
    await ask(page, 'Add 15 and 27.');
    await answered(page);
    const row = page.locator('.conversation');
    await row.hover();
    await row.getByRole('button', {name: 'Rename'}).click();
    await page.getByLabel('New name').fill('A sum');
    await page.keyboard.press('Enter');
    await until('the new name', async () => (await titles(page))[0] === 'A sum');
    assert.equal(await page.locator('#title').innerText(), 'A sum');
    await row.hover();
    const download = page.waitForEvent('download');
    await row.getByRole('button', {name: 'Export'}).click();
    const file = await download;
    assert.equal(file.suggestedFilename(), 'A-sum.md');
    assert.match(readFileSync(await file.path(), 'utf8'), /^# A sum\n\n## You\n\nAdd 15 and 27\.\n\n## Essaim\n\n> [^]*42/);
    await row.hover();
    await row.getByRole('button', {name: 'Delete'}).click();
    await until('it is gone', async () => (await titles(page)).length === 0);
    assert.equal(await page.locator('.message').count(), 0);
    await page.getByRole('button', {name: 'Undo'}).click();
    await until('it is back', async () => (await page.locator('.message').count()) === 2);
});

pageTest('the list is walked, renamed and deleted with the keyboard', {}, async (page) => {
    for (const question of ['Add 1 and 2.', 'Add 3 and 4.']) {
        await ask(page, question);
        await answered(page);
        await page.getByRole('button', {name: 'New conversation'}).click();
    }
    await page.locator('.conversation .open').first().focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await until('the older one is open', async () => (await page.locator('.bubble').allInnerTexts())[0] === 'Add 1 and 2.');
    await page.locator('.conversation .open').last().focus();
    await page.keyboard.press('F2');
    await page.getByLabel('New name').waitFor();
    await page.keyboard.type('Older');
    await page.keyboard.press('Enter');
    await until('the new name', async () => (await titles(page)).includes('Older'));
    await page.locator('.conversation .open', {hasText: 'Older'}).focus();
    await page.keyboard.press('Delete');
    await until('one is left', async () => (await titles(page)).length === 1);
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'input');
});

pageTest('an answer goes on while another conversation is looked at', {}, async (page) => {
    await makeTalkative(page);
    await ask(page, 'Add 15 and 27.');
    await page.waitForSelector('.message.answer.streaming');
    await page.unroute('**/v1/chat/completions');
    await page.getByRole('button', {name: 'New conversation'}).click();
    await ask(page, 'Add 2 and 3.');
    assert.match(await answered(page), /5/);
    assert.equal(await page.locator('.running').count(), 1);
    await page.locator('.conversation .open', {hasText: 'Add 15'}).click();
    await page.waitForSelector('.message.answer.streaming');
    await page.keyboard.press('Escape');
    await answered(page);
});

pageTest('a page that is closed during an answer keeps what had come', {}, async (page) => {
    await makeTalkative(page);
    await ask(page, 'Add 15 and 27.');
    const text = () => page.locator('.message.answer > .prose').innerText();
    await until('text comes', async () => (await text()).length > 10);
    await page.waitForTimeout(1200); /* it is saved every second */
    await page.reload();
    await page.waitForSelector('.notice:has-text("The page was closed during this answer.")');
    assert.match(await text(), /42|15/);
    assert.ok(await page.getByRole('button', {name: 'Go on'}).isVisible());
});
