/* Where one writes. The button sends, or stops the answer that comes. */

import {announce, h, icon} from './dom.js';
import {change, settings} from './settings.js';

const HEIGHT_MAX_PX = 260;

export class Composer {
    /* hooks: send(text) tells whether it was taken, stop(), busy(), lastQuestion(). */
    constructor(hooks) {
        this.hooks = hooks;
        this.form = document.getElementById('composer');
        this.input = document.getElementById('input');
        this.think = h('button', {type: 'button', class: 'chip', onclick: () => this.toggleThink()}, h('i', {class: 'chip-dot'}), 'Think first');
        this.note = h('span', {class: 'composer-note'});
        this.button = h('button', {type: 'submit', class: 'send'});
        document.getElementById('composer-row').append(this.think, this.note, this.button);
        this.form.addEventListener('submit', (event) => {
            event.preventDefault();
            this.submit();
        });
        this.form.addEventListener('click', (event) => event.target === this.form && this.input.focus());
        this.input.addEventListener('input', () => this.refresh());
        this.input.addEventListener('keydown', (event) => this.key(event));
        this.refresh();
    }

    key(event) {
        if (event.isComposing || event.key === 'Process') return;
        if (event.key === 'Enter' && !event.shiftKey && !event.altKey) {
            event.preventDefault();
            if (!this.hooks.busy()) this.submit();
        } else if (event.key === 'ArrowUp' && this.input.value === '') {
            const last = this.hooks.lastQuestion();
            if (last) {
                event.preventDefault();
                this.write(last);
            }
        }
    }

    submit() {
        if (this.hooks.busy()) return this.hooks.stop();
        if (this.hooks.send(this.input.value)) this.write('');
    }

    write(text) {
        this.input.value = text;
        this.refresh();
        this.input.focus();
    }

    toggleThink() {
        change({think: !settings.think});
        announce(settings.think ? 'The model thinks first.' : 'The model answers at once.');
        this.refresh();
    }

    refresh() {
        const busy = this.hooks.busy();
        const {input, button, think} = this;
        input.style.height = 'auto';
        input.style.height = `${Math.min(input.scrollHeight, HEIGHT_MAX_PX)}px`;
        think.setAttribute('aria-pressed', String(settings.think));
        think.title = settings.think ? 'The model thinks before it answers' : 'The model answers at once';
        button.disabled = !busy && input.value.trim() === '';
        if (this.wasBusy !== busy) {
            this.wasBusy = busy;
            const label = busy ? 'Stop' : 'Send';
            button.classList.toggle('stop', busy);
            button.setAttribute('aria-label', label);
            button.title = label;
            button.replaceChildren(busy ? h('i', {class: 'square'}) : icon('send'));
        }
    }
}
