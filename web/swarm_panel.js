/* The swarm at a glance: one button in the top bar, and the panel that it opens. */

import {h, iconButton} from './dom.js';
import {connection} from './connection.js';
import {HeatMap} from './heat.js';
import {swarm} from './swarm.js';

const CELLS_MAX = 8;
const STATES = {up: 'up', lost: 'lost', probing: 'probing'};

const whole = (n) => (Number.isFinite(n) ? Math.round(n).toLocaleString('en') : '–');
const rate = (n) => (Number.isFinite(n) && n >= 0.05 && n < 10 ? n.toFixed(1) : whole(n));
const percent = (part, all) => (all > 0 ? `${Math.round((100 * part) / all)} %` : '–');

function bytes(n) {
    if (!Number.isFinite(n)) return '–';
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    const power = n < 1 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), units.length - 1);
    const value = n / 1000 ** power;
    return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

function duration(s) {
    if (!Number.isFinite(s)) return '–';
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

const milliseconds = (ms) => (Number.isFinite(ms) ? (ms < 10 ? ms.toFixed(2) : Math.round(ms)) : '–');
const busyOf = (node) => Math.min(1, Math.max(0, Number.isFinite(node.busy) ? node.busy : 0));
const stateOf = (node) => STATES[node.state] ?? 'lost';

function meter(value, label) {
    const bar = h('span', {class: 'meter', role: 'img', 'aria-label': label}, h('i'));
    bar.firstChild.style.width = `${Math.round(100 * Math.min(1, Math.max(0, value)))}%`;
    return bar;
}

const figure = (label, value, unit) => h('div', {class: 'figure'}, h('dt', {}, label), h('dd', {}, value, unit && h('small', {}, ` ${unit}`)));
const row = (label, value, bar) => h('div', {class: 'row'}, h('dt', {}, label), h('dd', {}, bar, value));
const section = (title, ...content) => h('section', {}, h('h3', {}, title), ...content);

/* Tokens a second over the last minute. */
class Spark {
    constructor() {
        this.canvas = h('canvas', {class: 'spark', role: 'img', 'aria-label': 'Tokens a second over the last minute'});
    }

    draw() {
        const {canvas} = this;
        const scale = window.devicePixelRatio || 1;
        const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
        if (width === 0) return;
        Object.assign(canvas, {width, height});
        const context = canvas.getContext('2d');
        const style = getComputedStyle(canvas);
        const top = Math.max(...swarm.rates, 1) * 1.1;
        const at = (i) => [width - ((swarm.rates.length - 1 - i) * width) / 59, height - 2 * scale - (swarm.rates[i] / top) * (height - 4 * scale)];
        context.beginPath();
        swarm.rates.forEach((_, i) => context.lineTo(...at(i)));
        context.lineWidth = 1.5 * scale;
        context.lineJoin = 'round';
        context.strokeStyle = style.getPropertyValue('--honey');
        context.stroke();
        context.lineTo(width, height);
        context.lineTo(at(0)[0], height);
        context.globalAlpha = 0.14;
        context.fillStyle = style.getPropertyValue('--honey');
        context.fill();
    }
}

function nodeRow(node) {
    const state = stateOf(node);
    const latency = node.latency_ms ?? {};
    const facts = [
        ['Experts', whole(node.experts)],
        ['Calls', `${rate(node.calls_per_s)}/s`],
        ['Half within', `${milliseconds(latency.p50)} ms`],
        ['99 % within', `${milliseconds(latency.p99)} ms`],
        ['Rows out', `${bytes(node.bytes_out_per_s)}/s`],
        ['Sums in', `${bytes(node.bytes_in_per_s)}/s`],
    ];
    return h(
        'li',
        {class: `node ${state}`},
        h('div', {class: 'node-head'}, h('i', {class: 'hex'}), h('strong', {}, node.name ?? '?'), h('span', {class: 'node-where'}, node.endpoint ?? ''), h('span', {class: 'node-state'}, state)),
        state === 'lost' ? null : meter(busyOf(node), `busy ${percent(busyOf(node), 1)}`),
        state === 'lost'
            ? h('p', {class: 'node-note'}, `Its ${whole(node.experts)} experts are answered for by others, or missed.`)
            : h('dl', {class: 'node-facts'}, facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    );
}

export class SwarmPanel {
    /* hooks: toggle(). */
    constructor({toggle}) {
        this.node = document.getElementById('swarm');
        this.cells = h('span', {class: 'pill-cells', 'aria-hidden': 'true'});
        this.words = h('span', {class: 'pill-words'});
        this.pill = h(
            'button',
            {type: 'button', class: 'pill', id: 'swarm-button', 'aria-expanded': 'false', 'aria-controls': 'swarm', onclick: toggle, title: 'The swarm'},
            this.cells,
            this.words,
        );
        this.heat = new HeatMap();
        this.spark = new Spark();
        this.now = h('button', {type: 'button', class: 'chip', 'aria-pressed': 'false', onclick: () => this.switchHeat()}, h('i', {class: 'chip-dot'}), 'Only now');
        this.body = h('div', {class: 'swarm-body'});
        this.model = h('div');
        this.engine = h('div');
        this.nodes = h('div');
        this.heatSection = section('Heat of the experts', h('div', {class: 'heat-head'}, h('p', {}, 'Each row a layer, each cell an expert.'), this.now), this.heat.node);
        this.empty = h('p', {class: 'swarm-empty'});
        this.body.append(this.empty, this.model, this.engine, this.heatSection, this.nodes);
        this.node.append(h('header', {class: 'swarm-head'}, h('h2', {}, 'The swarm'), iconButton('close', 'Close', toggle)), this.body);
        swarm.addEventListener('change', () => this.refresh());
        connection.addEventListener('change', () => this.refresh());
        this.refresh();
    }

    switchHeat() {
        this.now.setAttribute('aria-pressed', String(this.now.getAttribute('aria-pressed') !== 'true'));
        this.refresh();
    }

    open(on) {
        this.node.hidden = !on;
        this.pill.setAttribute('aria-expanded', String(on));
        swarm.look(on);
        this.refresh();
    }

    refreshPill() {
        const nodes = swarm.data?.nodes ?? [];
        const cells = nodes.slice(0, CELLS_MAX).map((node) => {
            const cell = h('i', {class: `hex ${stateOf(node)}`});
            if (stateOf(node) === 'up') cell.style.opacity = String(0.45 + 0.55 * busyOf(node));
            return cell;
        });
        this.cells.replaceChildren(...cells, nodes.length > CELLS_MAX ? `+${nodes.length - CELLS_MAX}` : '');
        const up = nodes.filter((node) => node.state === 'up').length;
        const speed = swarm.data?.engine?.decode_tokens_per_s ?? 0;
        const of = up === nodes.length ? `${up} node${up === 1 ? '' : 's'}` : `${up} of ${nodes.length} nodes`;
        const absent = {loading: 'Loading', away: 'Away', unknown: '…'}[connection.state] ?? 'Swarm';
        const flows = speed >= 0.05;
        this.words.replaceChildren(
            ...(swarm.data ? [h('span', {class: flows ? 'pill-nodes' : null}, of), flows ? h('span', {}, `${rate(speed)} tok/s`) : ''] : [absent]),
        );
        this.pill.classList.toggle('bad', connection.state === 'away' || up < nodes.length);
    }

    refresh() {
        this.refreshPill();
        if (this.node.hidden) return;
        const {data, error} = swarm;
        for (const part of [this.model, this.engine, this.nodes, this.heatSection]) part.hidden = !data;
        this.empty.hidden = Boolean(data);
        if (!data) {
            this.empty.textContent =
                error?.status === 401 ? 'The server wants an API key before it tells.' : connection.state === 'loading' ? 'The model is being loaded.' : 'The server does not say.';
            return;
        }
        this.showModel(data.model ?? {});
        this.showEngine(data.engine ?? {});
        const nodes = data.nodes ?? [];
        this.nodes.replaceChildren(section(nodes.length === 1 ? 'One node' : `${nodes.length} nodes`, h('ul', {class: 'nodes'}, nodes.map(nodeRow))));
        this.heatSection.hidden = !swarm.counts?.length;
        if (swarm.counts?.length) this.heat.show(data.heat.layers, this.now.getAttribute('aria-pressed') === 'true' ? swarm.recent : swarm.counts);
    }

    showModel(model) {
        this.model.replaceChildren(
            section(
                model.name ?? 'Model',
                h(
                    'p',
                    {class: 'model-facts'},
                    `${model.architecture ?? '–'} · ${whole(model.layers)} layers, ${whole(model.moe_layers)} of them with ${whole(model.experts)} experts, ` +
                        `${whole(model.experts_per_token)} a token · context ${whole(model.context)}`,
                ),
            ),
        );
    }

    showEngine(engine) {
        const prompt = engine.prompt_tokens ?? 0;
        this.engine.replaceChildren(
            section(
                'Now',
                h('dl', {class: 'figures'}, figure('Writing', rate(engine.decode_tokens_per_s), 'tok/s'), figure('Reading', rate(engine.prefill_tokens_per_s), 'tok/s')),
                this.spark.canvas,
                h(
                    'dl',
                    {class: 'rows'},
                    row('Answers', `${whole(engine.running)} running, ${whole((engine.waiting ?? 0) + (engine.queued ?? 0))} waiting`),
                    row('KV memory', percent(engine.kv_pages_used, engine.kv_pages), meter(engine.kv_pages_used / engine.kv_pages || 0, 'KV memory used')),
                    row('Prompts known', percent(engine.cache_hit_tokens, prompt), meter(engine.cache_hit_tokens / prompt || 0, 'prompt tokens found in the cache')),
                    row('Up for', duration(engine.uptime_s)),
                ),
            ),
        );
        this.spark.draw();
    }
}
