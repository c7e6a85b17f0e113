/* What the server says of itself, asked as often as somebody looks. 'change' comes with each answer. */

import {cluster} from './client.js';
import {connection} from './connection.js';

const LOOKED_AT_MS = 1000;
const GLANCE_MS = 4000;
const HISTORY = 60;
const FADE = 0.8; /* of what is recent, what stays from one answer to the next */

const finite = (value, otherwise = 0) => (Number.isFinite(value) ? value : otherwise);

/* counts[layer][expert], as numbers, or null when there are none. */
function countsOf(heat) {
    if (!Array.isArray(heat?.layers) || !Array.isArray(heat.counts) || heat.counts.length !== heat.layers.length) return null;
    const experts = finite(heat.experts);
    if (experts < 1 || heat.counts.some((row) => !Array.isArray(row) || row.length !== experts)) return null;
    return heat.counts.map((row) => row.map((count) => finite(count)));
}

class Swarm extends EventTarget {
    constructor() {
        super();
        this.data = null;
        this.error = null;
        this.counts = null;
        this.recent = null;
        this.rates = [];
        this.lookedAt = false; /* the panel is open */
        this.busy = false; /* an answer of ours comes */
        this.timer = 0;
    }

    start() {
        document.addEventListener('visibilitychange', () => this.ask());
        connection.addEventListener('change', () => this.ask());
        return this.ask();
    }

    look(on) {
        this.lookedAt = on;
        this.ask();
    }

    async ask() {
        clearTimeout(this.timer);
        if (document.visibilityState === 'hidden' || this.asking) return;
        this.asking = true;
        try {
            if (connection.state === 'ok') this.take(await cluster());
            else this.data = null;
        } catch (error) {
            this.error = error;
            this.data = null;
            if (error.kind === 'away') connection.check();
        }
        this.asking = false;
        this.dispatchEvent(new Event('change'));
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.ask(), this.lookedAt || this.busy ? LOOKED_AT_MS : GLANCE_MS);
    }

    take(data) {
        const counts = countsOf(data.heat);
        const before = this.counts;
        const same = before && counts && before.length === counts.length && before[0]?.length === counts[0]?.length;
        this.recent = counts?.map((row, l) =>
            row.map((count, e) => (same ? FADE * (this.recent?.[l]?.[e] ?? 0) + Math.max(0, count - before[l][e]) : 0)),
        );
        this.data = data;
        this.error = null;
        this.counts = counts;
        this.rates.push(finite(data.engine?.decode_tokens_per_s));
        this.rates.splice(0, this.rates.length - HISTORY);
    }
}

export const swarm = new Swarm();
