/* The page: puts the parts together, and owns what concerns all of them: drawers, keys of the keyboard, the banner. */

import {Chat} from './chat.js';
import {setKey} from './client.js';
import {Composer} from './composer.js';
import {connection} from './connection.js';
import {h, icon, iconButton} from './dom.js';
import {Hive} from './hive.js';
import {runs} from './run.js';
import {applyTheme, change, settings} from './settings.js';
import {openKeys, openSettings} from './settings_dialog.js';
import {Sidebar} from './sidebar.js';
import {openStore} from './store.js';
import {swarm} from './swarm.js';
import {SwarmPanel} from './swarm_panel.js';

const $ = (id) => document.getElementById(id);
const wide = matchMedia('(min-width: 1180px)'); /* room for the swarm beside the conversation */
const narrow = matchMedia('(max-width: 820px)'); /* conversations are a drawer */

const TINY = ['How many r’s are in strawberry?', 'Add 15 and 27.', 'Sort 9, 4, 7 and 1.', 'Spell “swarm” backwards.'];
const LARGE = ['Explain mixture of experts with an everyday picture', 'Write a C function that reverses a linked list', 'Plan a weekend in the Jura, by train', 'Prove that √2 is irrational'];

async function main() {
    applyTheme();
    setKey(settings.key);
    const store = await openStore();
    const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('essaim') : null;
    const tell = (id) => tabs?.postMessage({id});
    const hive = new Hive($('hive'));

    /* A key that was missing or is another now: what was refused is asked again. */
    const settings_saved = (kept) => {
        setKey(settings.key);
        composer.refresh();
        swarm.ask();
        if (!kept) banner('This browser keeps no settings: they hold until the page is closed.');
    };
    const show_settings = (focusKey = false) => openSettings({saved: settings_saved, focusKey: focusKey === true, wipe});

    const chat = new Chat(store, {settings: () => show_settings(true)});
    const composer = new Composer({
        send: (text) => chat.ask(text),
        stop: () => chat.stop(),
        busy: () => chat.run !== undefined,
        lastQuestion: () => chat.conversation.messages.findLast((message) => message.role === 'user')?.content,
    });
    const sidebar = new Sidebar(store, {
        open: (id) => open(id),
        current: () => chat.conversation.id,
        removed: (id) => {
            tell(id);
            if (id === chat.conversation.id) open();
        },
        renamed: (id, title) => {
            tell(id);
            if (id === chat.conversation.id) chat.rename(title);
        },
    });
    const panel = new SwarmPanel({toggle: () => showPanel($('swarm').hidden)});

    async function open(id) {
        if (!(await chat.show(id))) return open();
        drawer(false);
        if (!narrow.matches || id === undefined) composer.input.focus();
    }

    function wipe(dialog) {
        const button = dialog.querySelector('.danger');
        if (!button.classList.contains('sure')) {
            button.classList.add('sure');
            button.textContent = 'Really all? They cannot be brought back';
            return;
        }
        for (const run of runs.live.values()) run.stop();
        store
            .all()
            .then((all) => Promise.all(all.map(({id}) => store.remove(id))))
            .then(() => open())
            .then(() => sidebar.refresh());
        dialog.close();
    }

    /* Drawers: the conversations on narrow pages, the swarm where it has no place beside. */
    function overlay() {
        const list = narrow.matches && document.body.classList.contains('list-open');
        const aside = !wide.matches && !$('swarm').hidden;
        $('scrim').hidden = !(list || aside);
        $('main').inert = list || aside;
        $('sidebar').inert = aside || (narrow.matches && !list);
    }
    function drawer(on) {
        const was = document.body.classList.toggle('list-open', on);
        overlay();
        if (was && narrow.matches) $('new-chat').focus();
    }
    function showPanel(on) {
        panel.open(on);
        if (wide.matches) change({panel: on});
        overlay();
        if (on && !wide.matches) $('swarm').querySelector('button').focus();
        else if (!on) panel.pill.focus();
    }

    function banner(text, progress = null) {
        const node = $('banner');
        node.hidden = text === '';
        node.replaceChildren(h('span', {}, text));
        if (progress !== null) {
            const bar = h('progress', {max: '1', 'aria-label': 'Loading the model'});
            bar.value = progress;
            node.append(bar, h('span', {class: 'banner-figure'}, `${Math.round(100 * progress)} %`));
        }
    }

    let back = 0;
    connection.addEventListener('change', ({detail}) => {
        clearTimeout(back);
        if (connection.state === 'loading') return banner('The model is being loaded', connection.progress);
        if (connection.state === 'away') return banner('The server does not answer. Trying again until it does.');
        if (connection.state === 'draining') return banner('The server is being stopped: it takes no more questions.');
        if (connection.state !== 'ok') return banner('The server is not ready.');
        const returned = detail.before === 'away' || detail.before === 'loading';
        banner(returned ? 'The server is back.' : '');
        if (returned) back = setTimeout(() => banner(''), 4000);
    });

    function refresh() {
        /* The address names the conversation, so that a reload comes back to it. */
        history.replaceState(null, '', chat.empty ? location.pathname : `#${chat.conversation.id}`);
        $('title').replaceChildren(chat.empty ? h('span', {class: 'unseen'}, 'New conversation') : chat.conversation.title);
        document.title = chat.empty ? 'Essaim' : `${chat.conversation.title} · Essaim`;
        $('welcome').hidden = !chat.empty;
        $('main').classList.toggle('fresh', chat.empty);
        hive.show(chat.empty);
        swarm.busy = runs.live.size > 0;
        composer.refresh();
        sidebar.refresh();
    }
    chat.addEventListener('change', refresh);
    runs.addEventListener('end', ({detail}) => tell(detail.id));
    tabs?.addEventListener('message', ({data}) => {
        if (data?.id === chat.conversation.id) chat.reload();
        sidebar.refresh();
    });

    function welcome() {
        const {model, nodes} = swarm.data ?? {};
        $('welcome-about').textContent = model
            ? `${model.name}: ${model.experts} experts in each of ${model.moe_layers} layers, on ${nodes?.length === 1 ? 'one node' : `${nodes?.length ?? 0} nodes`}. The warmest cells are asked most.`
            : 'One large model, computed by many ordinary machines.';
        const choices = model && model.experts < 64 ? TINY : LARGE;
        if ($('suggestions').dataset.of === choices[0]) return;
        $('suggestions').dataset.of = choices[0];
        $('suggestions').replaceChildren(
            ...choices.map((text) => h('li', {}, h('button', {type: 'button', class: 'suggestion', onclick: () => chat.ask(text)}, text))),
        );
    }
    swarm.addEventListener('change', welcome);

    function escape() {
        if (!$('scrim').hidden) {
            if (document.body.classList.contains('list-open')) {
                drawer(false);
                menu.focus();
            } else showPanel(false);
        } else chat.stop();
    }

    document.addEventListener('keydown', (event) => {
        if (event.isComposing || event.defaultPrevented || document.querySelector('dialog[open]')) return;
        if (event.key === 'Escape') return escape();
        if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select')) return;
        const action = {
            '/': () => composer.input.focus(),
            n: () => open(),
            s: () => showPanel($('swarm').hidden),
            ',': () => show_settings(),
            '?': () => openKeys(),
        }[event.key.toLowerCase()];
        if (!action) return;
        event.preventDefault();
        action();
    });

    const menu = iconButton('menu', 'Conversations', () => drawer(true), {class: 'icon-button menu'});
    $('topbar').prepend(menu);
    $('topbar').append(panel.pill);
    $('new-chat').append(icon('plus'), h('span', {}, 'New conversation'));
    $('new-chat').addEventListener('click', () => open());
    $('to-end').append(icon('down'), h('span', {}, 'To the end'));
    $('sidebar-foot').append(
        h('button', {type: 'button', class: 'foot-button', onclick: show_settings}, icon('gear'), h('span', {}, 'Settings')),
        h('button', {type: 'button', class: 'foot-button', onclick: openKeys}, h('kbd', {}, '?'), h('span', {}, 'Keys')),
    );
    $('scrim').addEventListener('click', escape);
    narrow.addEventListener('change', overlay);
    wide.addEventListener('change', overlay);
    addEventListener('hashchange', () => location.hash.length > 1 && open(location.hash.slice(1)));
    /* What an answer under way has said so far is kept when the page goes. */
    addEventListener('pagehide', () => runs.live.forEach((run) => run.save(true)));

    if (!store.lasting) banner('This browser keeps no conversations: they are gone when the page is closed.');
    panel.open(settings.panel === true && wide.matches);
    overlay();
    welcome();
    await open(location.hash.slice(1) || undefined);
    await connection.start();
    await swarm.start();
}

main();
