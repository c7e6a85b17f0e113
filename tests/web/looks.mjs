/* What it looks like: to axe, to a phone, to those who see it. */

import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';

import {answered, ask, pageTest, SIZES, until} from './browser.mjs';
import {environment} from '../clients/server.mjs';
import {stage} from './stage.mjs';

const axe_source = readFileSync(`${environment('ESSAIM_NPM')}/node_modules/axe-core/axe.min.js`, 'utf8');

/* No serious or critical problem; the picture is kept for those who want to look. */
async function look(page, name) {
    await page.screenshot({path: `${stage.shots}/${name}.png`});
    await page.evaluate(axe_source);
    const violations = await page.evaluate(async () => (await window.axe.run()).violations);
    const bad = violations.filter(({impact}) => impact === 'serious' || impact === 'critical');
    assert.deepEqual(bad.map(({id, nodes}) => [id, nodes.map(({html, failureSummary}) => `${html} ${failureSummary}`)]), [], name);
    const {scroll, client} = await page.evaluate(() => ({scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth}));
    assert.ok(scroll <= client, `${name}: nothing is wider than the page`);
}

for (const theme of ['light', 'dark']) {
    for (const [name, size] of Object.entries(SIZES)) {
        const wide = name === 'desktop';
        pageTest(`axe finds nothing serious: ${theme}, ${name}`, {theme, size, touch: !wide}, async (page) => {
            await page.getByText('32 experts in each of 3 layers, on 2 nodes').waitFor();
            await look(page, `welcome-${name}-${theme}`);
            await ask(page, 'Add 15 and 27.');
            await answered(page);
            await page.locator('.thought-button').click();
            await look(page, `answer-${name}-${theme}`);
            await page.locator('#swarm-button').click();
            await page.getByRole('heading', {name: '2 nodes'}).waitFor();
            await page.getByText('In words').click();
            await look(page, `swarm-${name}-${theme}`);
            await page.locator('#swarm').getByRole('button', {name: 'Close'}).click();
            if (!wide) await page.getByRole('button', {name: 'Conversations'}).click();
            await page.locator('#sidebar').getByRole('button', {name: 'Keys'}).isVisible();
            if (!wide) await look(page, `list-${name}-${theme}`);
            await page.getByRole('button', {name: 'Settings'}).click();
            await look(page, `settings-${name}-${theme}`);
            await page.keyboard.press('Escape');
        });
    }
}

pageTest('the theme is switched by hand and stays, or goes with the system', {theme: 'light'}, async (page) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByRole('button', {name: 'Settings'}).click();
    await page.getByText('Dark', {exact: true}).click();
    await until('the ground is dark', async () => (await ground()) !== light);
    await page.getByRole('button', {name: 'Done'}).click();
    await page.reload();
    await until('the ground is dark again', async () => (await ground()) !== light);
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
    await page.getByRole('button', {name: 'Settings'}).click();
    await page.getByText('As the system', {exact: true}).click();
    await until('the ground is light, as the system', async () => (await ground()) === light);
    await page.emulateMedia({colorScheme: 'dark'});
    await until('the ground is dark, as the system', async () => (await ground()) !== light);
});

pageTest('the swarm is told at a glance: nodes, rates, KV memory, the heat of the experts', {}, async (page) => {
    await ask(page, 'Add 15 and 27.');
    await answered(page);
    await page.keyboard.press('Escape');
    await page.locator('#swarm-button').click();
    const panel = page.locator('#swarm');
    await panel.getByRole('heading', {name: 'tiny-r1'}).waitFor();
    assert.deepEqual(await panel.locator('.node-state').allInnerTexts(), ['up', 'up']);
    assert.match(await panel.locator('.rows').innerText(), /KV memory\s+\d+ %/);
    const map = panel.locator('.heat-canvas');
    await until('the map says what it shows', async () => /Heat of 32 experts in 3 layers\. Hottest [\d.]+× the mean/.test(await map.getAttribute('aria-label')));
    await map.hover();
    assert.match(await panel.locator('.heat-line').innerText(), /^Layer \d+, expert \d+: [\d,]+ rows, [\d.]+× the mean$/);
    await panel.getByText('In words').click();
    assert.equal(await panel.locator('.heat-words tbody tr').count(), 3);
    await page.reload();
    await page.locator('#swarm').getByRole('heading', {name: 'tiny-r1'}).waitFor(); /* it stays open */
});
