/* The page in Debian's Chromium, against the real server. */

import {mkdirSync} from 'node:fs';
import {after} from 'node:test';

import {environment, startServer} from '../clients/server.mjs';
import {openBrowser} from './browser.mjs';
import {stage} from './stage.mjs';

stage.shots = `${environment('ESSAIM_NPM')}/shots`;
mkdirSync(stage.shots, {recursive: true});
// The portable kernels: with the quick ones answers are over before one can look at them.
stage.server = await startServer({args: ['--isa', 'ref']});
stage.browser = await openBrowser();
after(async () => {
    await stage.browser.close();
    await stage.server.stop();
});

for (const part of ['trace', 'chat', 'conversations', 'markdown', 'trouble', 'looks']) await import(`./${part}.mjs`);
