/* The page in Debian's Chromium, against the real server. */

import {after} from 'node:test';
import {mkdirSync} from 'node:fs';

import {environment, startServer} from '../clients/server.mjs';
import {openBrowser} from './browser.mjs';

const server = await startServer();
const browser = await openBrowser();
const shots = `${environment('ESSAIM_NPM')}/shots`;
mkdirSync(shots, {recursive: true});
after(async () => {
    await browser.close();
    await stage.server.stop();
});

/* Where all of it happens; the restart puts another server here. */
export const stage = {server, browser, shots};

for (const part of ['chat', 'conversations', 'markdown', 'trouble', 'looks']) await import(`./${part}.mjs`);
