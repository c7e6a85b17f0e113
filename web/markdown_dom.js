/* A markdown tree as nodes. Text only ever becomes text nodes; the only attribute that a text decides is a link's address. */

import {copyText, h, icon} from './dom.js';
import {highlight} from './highlight.js';
import {parseMarkdown} from './markdown.js';

const LENGTH_MAX = 400_000; /* longer texts are shown as they are */

const inlineNodes = (nodes) => nodes.map(inlineNode);

function inlineNode(node) {
    switch (node.type) {
        case 'text':
            return document.createTextNode(node.text);
        case 'code':
            return h('code', {}, node.text);
        case 'formula':
            return h('span', {class: 'formula'}, node.text);
        case 'break':
            return h('br');
        case 'em':
            return h('em', {}, inlineNodes(node.children));
        case 'strong':
            return h('strong', {}, inlineNodes(node.children));
        case 'strike':
            return h('s', {}, inlineNodes(node.children));
        case 'link':
            return h(
                'a',
                {href: node.address, title: node.address, target: '_blank', rel: 'noopener noreferrer nofollow'},
                inlineNodes(node.children),
            );
        case 'span':
            return h('span', {}, inlineNodes(node.children));
        default:
            throw new TypeError(`markdown: no such inline node: ${node.type}`);
    }
}

function copyButton(text) {
    const button = h('button', {type: 'button', class: 'quiet-button', 'aria-label': 'Copy the code'}, icon('copy'), h('span', {}, 'Copy'));
    button.addEventListener('click', async () => {
        const label = button.lastChild;
        try {
            await copyText(text);
            label.textContent = 'Copied';
        } catch (error) {
            label.textContent = error.message;
        }
        setTimeout(() => (label.textContent = 'Copy'), 1600);
    });
    return button;
}

function codeNode(block) {
    const pieces = highlight(block.text, block.lang).map(({kind, text}) =>
        kind === null ? document.createTextNode(text) : h('span', {class: `code-${kind}`}, text),
    );
    const head = h('div', {class: 'code-head'}, h('span', {class: 'code-lang'}, block.lang || 'text'), copyButton(block.text));
    return h('div', {class: 'code'}, head, h('pre', {tabindex: '0', 'aria-label': `Code${block.lang ? ` in ${block.lang}` : ''}`, role: 'region'}, h('code', {}, pieces)));
}

function itemNode(item, loose) {
    const only = !loose && item.blocks[0]?.type === 'paragraph';
    const first = only ? inlineNodes(item.blocks[0].inline) : [];
    const rest = (only ? item.blocks.slice(1) : item.blocks).map(blockNode);
    if (item.task === null) return h('li', {}, first, rest);
    const box = h('span', {class: 'task', role: 'img', 'aria-label': item.task ? 'done' : 'open'}, item.task ? icon('check') : null);
    return h('li', {class: 'task-item'}, box, first, rest);
}

function listNode(block) {
    const attributes = block.ordered && block.start !== 1 ? {start: block.start} : {};
    return h(block.ordered ? 'ol' : 'ul', attributes, block.items.map((item) => itemNode(item, block.loose)));
}

function tableNode(block) {
    const cell = (tag, inline, i) => h(tag, {class: block.align[i] ? `align-${block.align[i]}` : null, scope: tag === 'th' ? 'col' : null}, inlineNodes(inline));
    const table = h(
        'table',
        {},
        h('thead', {}, h('tr', {}, block.head.map((inline, i) => cell('th', inline, i)))),
        h('tbody', {}, block.rows.map((row) => h('tr', {}, row.map((inline, i) => cell('td', inline, i))))),
    );
    return h('div', {class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Table'}, table);
}

function blockNode(block) {
    switch (block.type) {
        case 'paragraph':
            return h('p', {dir: 'auto'}, inlineNodes(block.inline));
        case 'heading':
            /* h1 is the page's own. */
            return h(`h${Math.max(block.level, 2)}`, {class: `heading-${block.level}`, dir: 'auto'}, inlineNodes(block.inline));
        case 'code':
            return codeNode(block);
        case 'quote':
            return h('blockquote', {}, block.blocks.map(blockNode));
        case 'list':
            return listNode(block);
        case 'table':
            return tableNode(block);
        case 'formula':
            return h('p', {class: 'formula'}, block.text);
        case 'rule':
            return h('hr');
        default:
            throw new TypeError(`markdown: no such block: ${block.type}`);
    }
}

/* A node that shows a text which grows: blocks that did not change keep their nodes, with the reader's selection in them. */
export class MarkdownView {
    constructor() {
        this.node = h('div', {class: 'prose'});
        this.drawn = [];
    }

    show(text) {
        if (text.length > LENGTH_MAX) {
            this.drawn = [];
            this.node.replaceChildren(h('pre', {class: 'plain', tabindex: '0'}, text));
            return;
        }
        const blocks = parseMarkdown(text);
        let same = 0;
        while (same < blocks.length && same < this.drawn.length && blocks[same].raw === this.drawn[same].raw) same++;
        if (this.drawn.length === 0) this.node.replaceChildren();
        for (const {node} of this.drawn.splice(same)) node.remove();
        for (const block of blocks.slice(same)) {
            const node = blockNode(block);
            this.node.append(node);
            this.drawn.push({raw: block.raw, node});
        }
    }
}
