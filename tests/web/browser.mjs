/* A page in a browser, as tests want it: everything that goes wrong in it is noted, everything it asks for is counted. */

import assert from 'node:assert/strict';
import {existsSync} from 'node:fs';
import {test} from 'node:test';

import {chromium} from 'playwright-core';

import {stage} from './stage.mjs';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const END_TOKEN = 1; /* tiny-r1's */
const WAIT_MS = 15_000;

export const SIZES = {desktop: {width: 1440, height: 900}, phone: {width: 390, height: 844}, small: {width: 320, height: 568}};

export async function openBrowser() {
    const executablePath = PLACES.find(existsSync);
    assert.ok(executablePath, 'chromium is needed: ./dev test installs it');
    const args = ['--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update'];
    if (process.getuid() === 0) args.push('--no-sandbox');
    return chromium.launch({executablePath, args});
}

/* A fresh page: {page, problems, hosts, close}. */
export async function openPage({size = SIZES.desktop, theme = 'light', touch = false, problems_expected = false} = {}) {
    const context = await stage.browser.newContext({viewport: size, colorScheme: theme, reducedMotion: 'reduce', hasTouch: touch, acceptDownloads: true});
    /* The likeliest answer, so that it is the same each time. */
    await context.addInitScript(() => {
        if (localStorage.getItem('essaim.settings') === null) localStorage.setItem('essaim.settings', JSON.stringify({temperature: 0}));
    });
    const page = await context.newPage();
    const problems = [];
    const hosts = new Set();
    page.setDefaultTimeout(WAIT_MS);
    page.on('pageerror', (error) => problems.push(`error in the page: ${error.stack}`));
    page.on('dialog', (dialog) => {
        problems.push(`a dialog opened: ${dialog.message()}`);
        dialog.dismiss();
    });
    page.on('console', (message) => {
        const expected = problems_expected && /Failed to load resource|net::ERR/.test(message.text());
        if (['error', 'warning'].includes(message.type()) && !expected) problems.push(`console: ${message.text()}`);
    });
    page.on('request', (request) => !request.url().startsWith('blob:') && hosts.add(new URL(request.url()).host));
    await page.goto(stage.server.url);
    await page.waitForFunction(() => document.querySelector('#swarm-button')); /* its program has begun */
    const end = async () => {
        await context.close();
        assert.deepEqual(problems, []);
        assert.deepEqual([...hosts], [new URL(stage.server.url).host], 'the page asks its own server only');
    };
    return {page, end};
}

/* A test with a page of its own. */
export function pageTest(name, options, run) {
    test(name, {timeout: 90_000}, async () => {
        const {page, end} = await openPage(options);
        try {
            await run(page);
        } catch (error) {
            await page.screenshot({path: `${stage.shots}/failed.png`}).catch(() => {});
            throw error;
        }
        await end();
    });
}

/* From here on the model never ends an answer by itself. */
export async function makeTalkative(page) {
    await page.route('**/v1/chat/completions', (route) => {
        const body = route.request().postDataJSON();
        route.continue({postData: JSON.stringify({...body, logit_bias: {[END_TOKEN]: -100}})});
    });
}

export async function ask(page, text) {
    await page.fill('#input', text);
    await page.press('#input', 'Enter');
}

export const answer = (page) => page.locator('.message.answer').last();

/* Waits until the last answer has ended, and returns its text. */
export async function answered(page) {
    await page.waitForSelector('.message.answer:last-child:not(.streaming)');
    return answer(page).locator('> .prose').innerText();
}

/* Waits until what is asked for is true. */
export async function until(what, question, ms = WAIT_MS) {
    const deadline = Date.now() + ms;
    for (;;) {
        if (await question()) return;
        assert.ok(Date.now() < deadline, `${what}: not within ${ms / 1000} s`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

export async function runningAnswers() {
    return (await (await fetch(`${stage.server.url}/cluster`)).json()).engine.running;
}
