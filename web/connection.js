/* Is the server there and ready? Asked rarely while all is well, often while it is not. 'change' tells. */

import {health} from './client.js';

const WELL_MS = 15_000;
const LOADING_MS = 700;
const AWAY_MS = [500, 1000, 2000, 3000, 5000];

class Connection extends EventTarget {
    constructor() {
        super();
        this.state = 'unknown'; /* unknown, ok, loading, away, or what /health says */
        this.progress = null;
        this.timer = 0;
        this.failures = 0;
        this.asking = null;
    }

    start() {
        document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && this.check());
        addEventListener('online', () => this.check());
        return this.check();
    }

    /* Asks now; everyone who waits shares the answer. */
    check() {
        clearTimeout(this.timer);
        this.asking ??= this.ask().finally(() => (this.asking = null));
        return this.asking;
    }

    async ask() {
        let state = 'away';
        let progress = null;
        try {
            ({status: state, progress} = await health());
        } catch {
            /* away it is */
        }
        this.failures = state === 'away' ? this.failures + 1 : 0;
        const wait = state === 'ok' ? WELL_MS : state === 'away' ? AWAY_MS[Math.min(this.failures, AWAY_MS.length) - 1] : LOADING_MS;
        this.timer = setTimeout(() => this.check(), wait);
        const before = this.state;
        if (state === before && progress === this.progress) return;
        Object.assign(this, {state, progress});
        this.dispatchEvent(new CustomEvent('change', {detail: {before}}));
    }
}

export const connection = new Connection();
