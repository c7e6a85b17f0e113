/* Which experts work: a map of layers by experts, and its words for those who do not see it. */

import {h} from './dom.js';

const FEW_LAYERS = 12; /* have room for taller rows */

/* From rest to heat, as the theme has it: the colours are read from the page's own. */
export function ramp(element) {
    const style = getComputedStyle(element);
    const stops = ['--heat-0', '--heat-1', '--heat-2', '--heat-3'].map((name) => {
        const hex = style.getPropertyValue(name).trim().slice(1);
        return [0, 2, 4].map((i) => Number.parseInt(hex.slice(i, i + 2), 16));
    });
    return (value) => {
        const at = Math.min(Math.max(value, 0), 1) * (stops.length - 1);
        const low = Math.min(Math.floor(at), stops.length - 2);
        return stops[low].map((channel, i) => Math.round(channel + (at - low) * (stops[low + 1][i] - channel)));
    };
}

/* Each expert's share of its layer's work: 1 is what all would have if they had the same. */
export function sharesOf(counts) {
    return counts.map((row) => {
        const sum = row.reduce((a, b) => a + b, 0);
        return row.map((count) => (sum > 0 ? (count * row.length) / sum : 0));
    });
}

/* A share as heat from 0 to 1: the mean is at a third, four times the mean at the top. */
export const heatOf = (share) => (share <= 1 ? share / 3 : Math.min(1, 1 / 3 + (Math.log2(share) / 2) * (2 / 3)));

export class HeatMap {
    constructor() {
        this.canvas = h('canvas', {class: 'heat-canvas', role: 'img', 'aria-label': 'Heat of the experts'});
        this.line = h('p', {class: 'heat-line'});
        this.table = h('tbody');
        this.details = h(
            'details',
            {class: 'heat-words'},
            h('summary', {}, 'In words'),
            h('table', {}, h('thead', {}, h('tr', {}, ['Layer', 'Hottest experts', 'Idle'].map((text) => h('th', {scope: 'col'}, text)))), this.table),
        );
        this.node = h('div', {class: 'heat'}, this.canvas, this.line, this.details);
        this.canvas.addEventListener('pointermove', (event) => this.point(event));
        this.canvas.addEventListener('pointerdown', (event) => this.point(event));
        this.canvas.addEventListener('pointerleave', () => this.point(null));
        new ResizeObserver(() => this.draw()).observe(this.canvas);
        document.addEventListener('theme', () => this.draw());
    }

    show(layers, counts) {
        Object.assign(this, {layers, counts, shares: sharesOf(counts)});
        this.draw();
        this.tell();
        if (this.details.open || this.table.childElementCount !== layers.length) this.write();
    }

    draw() {
        if (!this.shares?.length) return;
        const {canvas, shares} = this;
        const scale = window.devicePixelRatio || 1;
        const width = Math.round(canvas.clientWidth * scale);
        if (width === 0) return;
        const columns = shares[0].length;
        const cell = width / columns;
        const gap = cell >= 5 * scale ? Math.round(scale) : 0;
        const least = shares.length <= FEW_LAYERS ? 16 : 3;
        const rowHeight = Math.round(Math.min(Math.max(cell, least * scale), 18 * scale));
        canvas.width = width;
        canvas.height = rowHeight * shares.length;
        canvas.style.height = `${canvas.height / scale}px`;
        const context = canvas.getContext('2d');
        const colour = ramp(canvas);
        shares.forEach((row, l) =>
            row.forEach((share, e) => {
                const left = Math.round(e * cell);
                context.fillStyle = `rgb(${colour(heatOf(share)).join(' ')})`;
                context.fillRect(left, l * rowHeight, Math.max(1, Math.round((e + 1) * cell) - left - gap), rowHeight - gap);
            }),
        );
    }

    point(event) {
        this.at = null;
        if (event && this.shares?.length) {
            const box = this.canvas.getBoundingClientRect();
            const clamp = (value, n) => Math.min(Math.max(Math.floor(value * n), 0), n - 1);
            this.at = {
                l: clamp((event.clientY - box.top) / box.height, this.shares.length),
                e: clamp((event.clientX - box.left) / box.width, this.shares[0].length),
            };
        }
        this.tell();
    }

    tell() {
        if (!this.shares?.length) return;
        const {shares, layers, counts, at} = this;
        if (at && shares[at.l]?.[at.e] !== undefined) {
            const n = Math.round(counts[at.l][at.e]).toLocaleString('en');
            this.line.textContent = `Layer ${layers[at.l]}, expert ${at.e}: ${n} rows, ${shares[at.l][at.e].toFixed(1)}× the mean`;
            return;
        }
        const all = shares.flat();
        const idle = all.filter((share) => share === 0).length;
        const top = Math.max(...shares.map((row) => Math.max(...row)));
        const words = top === 0 ? 'No expert has worked yet' : `Hottest ${top.toFixed(1)}× the mean, ${idle} of ${all.length.toLocaleString('en')} idle`;
        this.line.textContent = words;
        this.canvas.setAttribute('aria-label', `Heat of ${shares[0].length} experts in ${layers.length} layers. ${words}.`);
    }

    write() {
        const rows = this.shares.map((row, l) => {
            const order = row.map((share, e) => [share, e]).sort((a, b) => b[0] - a[0]).slice(0, 4);
            const hottest = order.filter(([share]) => share > 0).map(([share, e]) => `${e} (${share.toFixed(1)}×)`).join(', ');
            return h('tr', {}, h('th', {scope: 'row'}, this.layers[l]), h('td', {}, hottest || 'none'), h('td', {}, row.filter((share) => share === 0).length));
        });
        this.table.replaceChildren(...rows);
    }
}
