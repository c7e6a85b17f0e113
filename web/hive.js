/* The comb on the empty page: a cell for each expert, as warm as it works, those that are asked most in the middle. */

import {calm} from './dom.js';
import {ramp} from './heat.js';
import {swarm} from './swarm.js';

const CELLS_MAX = 256;
const CELLS_WITHOUT = 61;
const FLOOR = 0.8; /* of the coolest expert's work is the same for all and no heat */
const FRAME_MS = 50;
const SETTLE = 0.08; /* of the way to where a cell is to be, in each frame */

/* The n places of a comb that are nearest to its middle, nearest first, in units of a cell's radius. */
export function combOf(n) {
    const rings = Math.ceil(Math.sqrt(n));
    const places = [];
    for (let q = -rings; q <= rings; q++)
        for (let r = -rings; r <= rings; r++) places.push([Math.sqrt(3) * (q + r / 2), 1.5 * r]);
    return places.sort((a, b) => Math.hypot(...a) - Math.hypot(...b)).slice(0, n);
}

/* One value a cell: the experts' work over all layers, hottest first, from 0 to 1. */
function valuesOf(counts) {
    const sums = counts[0].map((_, e) => counts.reduce((sum, row) => sum + row[e], 0));
    sums.sort((a, b) => b - a);
    const floor = FLOOR * sums.at(-1);
    const range = Math.max(sums[0] - floor, 1);
    return sums.slice(0, CELLS_MAX).map((sum) => Math.sqrt((sum - floor) / range));
}

export class Hive {
    constructor(canvas) {
        this.canvas = canvas;
        this.context = canvas.getContext('2d');
        this.cells = [];
        this.shown = false;
        this.resize(CELLS_WITHOUT);
        swarm.addEventListener('change', () => this.shown && this.take());
        document.addEventListener('theme', () => this.recolour());
        new ResizeObserver(() => this.draw()).observe(canvas);
    }

    show(on) {
        if (on === this.shown) return;
        this.shown = on;
        clearInterval(this.timer);
        if (!on) return;
        this.recolour();
        this.take();
        if (!calm()) this.timer = setInterval(() => document.visibilityState === 'visible' && this.frame(), FRAME_MS);
    }

    recolour() {
        this.colour = ramp(this.canvas);
        this.draw();
    }

    resize(n) {
        if (this.cells.length === n) return;
        this.cells = combOf(n).map(([x, y], i) => ({x, y, value: 0, target: 0, phase: (i * 2.399963) % (2 * Math.PI)}));
        this.reach = Math.max(...this.cells.map(({x, y}) => Math.hypot(x, y))) + 1;
    }

    take() {
        const values = swarm.counts ? valuesOf(swarm.counts) : null;
        this.resize(values?.length ?? CELLS_WITHOUT);
        this.cells.forEach((cell, i) => {
            cell.target = values ? values[i] : 0;
            if (calm()) cell.value = cell.target;
        });
        if (calm()) this.draw();
    }

    frame() {
        const now = performance.now() / 1000;
        for (const cell of this.cells) {
            cell.value += SETTLE * (cell.target - cell.value);
            cell.breath = 0.07 * Math.sin(now * 0.9 + cell.phase) + 0.05 * Math.sin(now * 0.5 - 0.35 * Math.hypot(cell.x, cell.y));
        }
        this.draw();
    }

    draw() {
        if (!this.shown || !this.colour) return;
        const {canvas, context} = this;
        const scale = window.devicePixelRatio || 1;
        const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
        if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
        context.clearRect(0, 0, width, height);
        const radius = Math.min(width, height) / 2 / this.reach;
        for (const cell of this.cells) {
            const warmth = Math.min(1, Math.max(0, cell.value + (cell.breath ?? 0) + 0.06));
            context.fillStyle = `rgb(${this.colour(warmth).join(' ')})`;
            this.hexagon(width / 2 + cell.x * radius, height / 2 + cell.y * radius, radius * (0.8 + 0.1 * warmth));
        }
    }

    hexagon(x, y, radius) {
        const {context} = this;
        context.beginPath();
        for (let i = 0; i < 6; i++) {
            const angle = (Math.PI / 3) * (i + 0.5);
            context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
        }
        context.closePath();
        context.fill();
    }
}
