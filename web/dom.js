/* Nodes are built, never parsed: nothing here takes markup, so no text of a model can become one. */

const SVG = 'http://www.w3.org/2000/svg';

function put(node, name, value) {
    if (value === undefined || value === null || value === false) return;
    if (name.startsWith('on')) {
        if (typeof value !== 'function') throw new TypeError(`${name}: a listener is a function`);
        node.addEventListener(name.slice(2), value);
    } else if (name === 'style') {
        throw new TypeError('style: use classes or node.style');
    } else {
        node.setAttribute(name, value === true ? '' : String(value));
    }
}

function fill(node, children) {
    for (const child of children.flat()) {
        if (child === undefined || child === null || child === false) continue;
        node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
}

/* h('button', {class: 'x', onclick: f}, 'text', node): attributes, listeners under on…, children. */
export function h(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) put(node, name, value);
    return fill(node, children);
}

/* Drawn in a square of 20, in strokes of the text's colour. */
const ICONS = {
    plus: ['M10 4v12M4 10h12'],
    send: ['M10 16V4M5 9l5-5 5 5'],
    copy: ['M7 7h9v9H7z', 'M4 13V4h9'],
    check: ['M4 10.5l4 4 8-9'],
    retry: ['M15.5 7A6.5 6.5 0 1 0 16.5 11', 'M16 3v4h-4'],
    pencil: ['M4 16l1-4 8.5-8.5 3 3L8 15z'],
    trash: ['M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6'],
    export: ['M10 4v9M6 9.5l4 4 4-4M4 16.5h12'],
    gear: ['M3 6h7M14 6h3M3 14h3M10 14h7', 'M12 4a2 2 0 1 0 .01 0z', 'M8 12a2 2 0 1 0 .01 0z'],
    menu: ['M3 6h14M3 10h14M3 14h9'],
    close: ['M5 5l10 10M15 5L5 15'],
    down: ['M10 4v12M5 11l5 5 5-5'],
    chevron: ['M7 5l5 5-5 5'],
    forward: ['M4 10h11M11 6l4 4-4 4'],
    sun: ['M10 6.5a3.5 3.5 0 1 0 .01 0z', 'M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1 1M14.7 14.7l1 1M4.3 15.7l1-1M14.7 5.3l1-1'],
    moon: ['M16 12A7 7 0 0 1 8 4a6.5 6.5 0 1 0 8 8z'],
    auto: ['M10 3a7 7 0 1 0 .01 0z', 'M10 3v14M10 6h4.5M10 9h6.5M10 12h6.5M10 15h4'],
};

export function icon(name) {
    const node = document.createElementNS(SVG, 'svg');
    for (const [key, value] of Object.entries({class: 'icon', viewBox: '0 0 20 20', 'aria-hidden': 'true'}))
        node.setAttribute(key, value);
    for (const d of ICONS[name]) {
        const path = document.createElementNS(SVG, 'path');
        path.setAttribute('d', d);
        node.append(path);
    }
    return node;
}

/* A button that shows an icon; its label is said and shown as a hint. */
export function iconButton(name, label, onclick, attributes = {}) {
    return h('button', {type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick, ...attributes}, icon(name));
}

/* Says something to those who listen instead of looking. */
export function announce(text) {
    document.getElementById('announcer').textContent = text;
}

export async function copyText(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    /* Without HTTPS browsers have only the old way. */
    const area = h('textarea', {class: 'unseen', 'aria-hidden': 'true', tabindex: '-1'});
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    focused?.focus();
    if (!done) throw new Error('the browser did not let us copy');
}

export function download(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], {type}));
    const link = h('a', {href: url, download: name, hidden: true});
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
