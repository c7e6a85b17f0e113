/* The settings, and the keys of the keyboard, each a dialog. */

import {h, iconButton} from './dom.js';
import {change, settings} from './settings.js';

const optional = (value) => (value.trim() === '' ? null : Number(value));

function field(label, note, input) {
    const id = `setting-${label.toLowerCase().replace(/[^a-z]+/g, '-')}`;
    input.id = id;
    if (note) input.setAttribute('aria-describedby', `${id}-note`);
    return h('div', {class: 'field'}, h('label', {for: id}, label), input, note && h('p', {class: 'field-note', id: `${id}-note`}, note));
}

function dialogOf(title, ...content) {
    const dialog = h('dialog', {class: 'dialog', 'aria-labelledby': 'dialog-title'});
    dialog.append(
        h('header', {class: 'dialog-head'}, h('h2', {id: 'dialog-title'}, title), iconButton('close', 'Close', () => dialog.close())),
        ...content,
    );
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    dialog.addEventListener('close', () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
}

/* saved(): the settings have changed; kept tells whether the browser keeps them. */
export function openSettings({saved, focusKey = false, wipe}) {
    const key = h('input', {type: 'password', autocomplete: 'off', spellcheck: 'false', value: settings.key});
    const system = h('textarea', {rows: '4'});
    system.value = settings.system;
    const temperature = h('input', {type: 'number', min: '0', max: '2', step: 'any', inputmode: 'decimal', placeholder: 'the model’s own', value: settings.temperature ?? ''});
    const max_tokens = h('input', {type: 'number', min: '1', max: '1000000', step: '1', inputmode: 'numeric', placeholder: 'as the context allows', value: settings.maxTokens ?? ''});
    const think = h('input', {type: 'checkbox', class: 'switch'});
    think.checked = settings.think;
    const themes = ['auto', 'light', 'dark'].map((theme) => {
        const radio = h('input', {type: 'radio', name: 'theme', value: theme});
        radio.checked = settings.theme === theme;
        radio.addEventListener('change', () => change({theme}));
        return h('label', {class: 'segment'}, radio, h('span', {}, {auto: 'As the system', light: 'Light', dark: 'Dark'}[theme]));
    });
    const form = h(
        'form',
        {class: 'dialog-body', method: 'dialog'},
        field('API key', 'Kept in this browser, sent to this server only.', key),
        field('System prompt', null, system),
        h('div', {class: 'field-pair'}, field('Temperature', '0 is the likeliest answer, always the same.', temperature), field('Longest answer', 'In tokens, thoughts included.', max_tokens)),
        h('label', {class: 'switch-row'}, h('span', {}, 'Think before answering'), think),
        h('fieldset', {class: 'segments'}, h('legend', {}, 'Appearance'), ...themes),
        h(
            'div',
            {class: 'dialog-foot'},
            h('button', {type: 'button', class: 'button danger', onclick: () => wipe(dialog)}, 'Delete all conversations'),
            h('button', {type: 'submit', class: 'button primary'}, 'Done'),
        ),
    );
    const dialog = dialogOf('Settings', form);
    const take = () => {
        const values = {key: key.value.trim(), system: system.value, think: think.checked};
        if (temperature.validity.valid) values.temperature = optional(temperature.value);
        if (max_tokens.validity.valid) values.maxTokens = optional(max_tokens.value);
        saved(change(values));
    };
    dialog.addEventListener('close', take);
    if (focusKey) key.focus();
}

const KEYS = [
    [['/'], 'write a message'],
    [['Enter'], 'send it'],
    [['Shift', 'Enter'], 'begin a new line'],
    [['↑'], 'in the empty field: the last question again'],
    [['Esc'], 'stop the answer; close what is open'],
    [['N'], 'new conversation'],
    [['S'], 'the swarm'],
    [[','], 'settings'],
    [['↑', '↓'], 'walk the list of conversations'],
    [['F2'], 'there: rename'],
    [['Delete'], 'there: delete'],
    [['?'], 'this help'],
];

export function openKeys() {
    const rows = KEYS.map(([keys, what]) => [h('dt', {}, keys.map((key) => h('kbd', {}, key))), h('dd', {}, what)]);
    dialogOf('Keys', h('dl', {class: 'dialog-body key-list'}, rows.flat()));
}
