/* The conversations that this browser keeps. One is a row: a button that opens it, and what can be done with it. */

import {asMarkdown} from './store.js';
import {announce, download, h, icon, iconButton} from './dom.js';
import {runs} from './run.js';

const DAY_MS = 86_400_000;
const UNDO_MS = 8000;

function ageOf(time) {
    const midnight = new Date().setHours(0, 0, 0, 0);
    if (time >= midnight) return 'Today';
    if (time >= midnight - DAY_MS) return 'Yesterday';
    return time >= midnight - 6 * DAY_MS ? 'This week' : 'Earlier';
}

function fileName(title) {
    return `${title.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '').slice(0, 60) || 'conversation'}.md`;
}

export class Sidebar {
    /* hooks: open(id), current() the id, removed(id), renamed(id, title). */
    constructor(store, hooks) {
        this.store = store;
        this.hooks = hooks;
        this.list = document.getElementById('conversations');
        this.empty = document.getElementById('list-empty');
        this.toast = h('div', {class: 'toast', role: 'status', hidden: true});
        document.body.append(this.toast);
        this.list.addEventListener('keydown', (event) => this.key(event));
    }

    async refresh() {
        const all = (await this.store.all()).filter((conversation) => conversation.messages.length > 0);
        all.sort((a, b) => b.updated - a.updated);
        const focused = document.activeElement?.closest?.('#conversations li')?.dataset.id;
        const rows = [];
        let age = '';
        for (const conversation of all) {
            if (ageOf(conversation.updated) !== age) {
                age = ageOf(conversation.updated);
                rows.push(h('li', {class: 'age'}, age));
            }
            rows.push(this.row(conversation));
        }
        if (this.list.querySelector('.rename')) return; /* a name is being written: it is drawn after that */
        this.list.replaceChildren(...rows);
        this.empty.hidden = all.length > 0;
        if (focused) this.list.querySelector(`[data-id="${focused}"] .open`)?.focus();
    }

    row(conversation) {
        const {id, title} = conversation;
        const current = id === this.hooks.current();
        const open = h(
            'button',
            {type: 'button', class: 'open', 'aria-current': current ? 'true' : null, title, onclick: () => this.hooks.open(id)},
            runs.of(id) && h('i', {class: 'running', role: 'img', 'aria-label': 'answering: '}),
            h('span', {}, title),
        );
        const row = h(
            'li',
            {class: 'conversation', 'data-id': id},
            open,
            h(
                'span',
                {class: 'row-actions'},
                iconButton('pencil', 'Rename', () => this.rename(row, conversation)),
                iconButton('export', 'Export as Markdown', () => this.save(id)),
                iconButton('trash', 'Delete', () => this.remove(id)),
            ),
        );
        return row;
    }

    /* Arrows walk the list, F2 renames, Delete deletes. */
    key(event) {
        const row = event.target.closest('li.conversation');
        if (!row || event.target.tagName === 'INPUT') return;
        const rows = [...this.list.querySelectorAll('li.conversation')];
        const to = {ArrowDown: rows.indexOf(row) + 1, ArrowUp: rows.indexOf(row) - 1, Home: 0, End: rows.length - 1}[event.key];
        if (to !== undefined) {
            event.preventDefault();
            rows[Math.min(Math.max(to, 0), rows.length - 1)].querySelector('.open').focus();
        } else if (event.key === 'Delete') {
            const next = rows[rows.indexOf(row) + 1] ?? rows[rows.indexOf(row) - 1];
            next?.querySelector('.open').focus();
            this.remove(row.dataset.id);
        } else if (event.key === 'F2') {
            event.preventDefault();
            this.store.get(row.dataset.id).then((conversation) => conversation && this.rename(row, conversation));
        }
    }

    async current(id) {
        return runs.of(id)?.conversation ?? this.store.get(id);
    }

    rename(row, {id, title}) {
        const input = h('input', {class: 'rename', 'aria-label': 'New name', maxlength: '120', value: title});
        let over = false;
        const finish = async (keep) => {
            if (over) return;
            over = true;
            const name = input.value.trim();
            input.remove();
            row.classList.remove('renaming');
            const conversation = keep && name !== '' && name !== title ? await this.current(id) : null;
            if (conversation) {
                Object.assign(conversation, {title: name, named: true});
                await this.store.put(conversation);
                this.hooks.renamed(id, name);
            }
            await this.refresh();
            this.list.querySelector(`[data-id="${id}"] .open`)?.focus();
        };
        input.addEventListener('keydown', (event) => {
            if (event.isComposing) return;
            if (event.key === 'Enter' || event.key === 'Escape') {
                event.preventDefault();
                event.stopPropagation();
                finish(event.key === 'Enter');
            }
        });
        input.addEventListener('blur', () => finish(true));
        row.classList.add('renaming');
        row.prepend(input);
        input.focus();
        input.select();
    }

    async save(id) {
        const conversation = await this.current(id);
        if (conversation) download(fileName(conversation.title), 'text/markdown;charset=utf-8', asMarkdown(conversation));
    }

    /* Deleting asks nothing, but can be taken back for a while. */
    async remove(id) {
        runs.of(id)?.stop();
        const conversation = await this.current(id);
        if (!conversation) return;
        const gone = () => this.store.remove(id).then(() => this.refresh());
        if (runs.of(id)) runs.addEventListener('end', gone, {once: true});
        await gone();
        this.hooks.removed(id);
        this.offerUndo(conversation);
    }

    offerUndo(conversation) {
        clearTimeout(this.toastTimer);
        const hide = () => (this.toast.hidden = true);
        const undo = h('button', {type: 'button', class: 'button'}, 'Undo');
        undo.addEventListener('click', async () => {
            hide();
            await this.store.put(conversation);
            await this.refresh();
            this.hooks.open(conversation.id);
        });
        this.toast.replaceChildren(icon('trash'), h('span', {}, `“${conversation.title}” is deleted`), undo);
        this.toast.hidden = false;
        announce('Deleted. It can be undone for a few seconds.');
        this.toastTimer = setTimeout(hide, UNDO_MS);
    }
}
