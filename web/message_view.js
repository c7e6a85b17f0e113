/* One message on the page. An answer's view is told to refresh as its text grows. */

import {copyText, h, icon, iconButton} from './dom.js';
import {MarkdownView} from './markdown_dom.js';

const seconds = (ms) => (ms < 10_000 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000).toString());
const count = (n, word) => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`;

function copyAction(textOf) {
    const button = iconButton('copy', 'Copy', async () => {
        let said = 'Copied';
        try {
            await copyText(textOf());
        } catch (error) {
            said = error.message;
        }
        button.replaceChildren(icon(said === 'Copied' ? 'check' : 'close'));
        button.title = said;
        setTimeout(() => {
            button.replaceChildren(icon('copy'));
            button.title = 'Copy';
        }, 1600);
    });
    return button;
}

/* hooks: edit(message, text). */
export class UserView {
    constructor(message, hooks) {
        this.message = message;
        this.hooks = hooks;
        this.bubble = h('div', {class: 'bubble', dir: 'auto'}, message.content);
        this.editButton = iconButton('pencil', 'Edit and ask again', () => this.edit());
        this.actions = h('div', {class: 'actions'}, this.editButton, copyAction(() => message.content));
        this.node = h('li', {class: 'message user'}, h('span', {class: 'unseen'}, 'You: '), this.bubble, this.actions);
    }

    edit() {
        const area = h('textarea', {class: 'edit', rows: '3', 'aria-label': 'Edit the message'});
        const close = () => {
            form.replaceWith(this.bubble);
            this.actions.hidden = false;
            this.editButton.focus();
        };
        const send = () => {
            if (area.value.trim() === '') return;
            close();
            this.hooks.edit(this.message, area.value);
        };
        const form = h(
            'div',
            {class: 'edit-form'},
            area,
            h(
                'div',
                {class: 'edit-row'},
                h('span', {class: 'edit-note'}, 'What follows is asked anew.'),
                h('button', {type: 'button', class: 'button', onclick: close}, 'Cancel'),
                h('button', {type: 'button', class: 'button primary', onclick: send}, 'Send'),
            ),
        );
        area.value = this.message.content;
        area.addEventListener('keydown', (event) => {
            if (event.isComposing) return;
            if (event.key === 'Escape') {
                event.stopPropagation();
                close();
            } else if (event.key === 'Enter' && !event.shiftKey) {
                event.preventDefault();
                send();
            }
        });
        this.bubble.replaceWith(form);
        this.actions.hidden = true;
        area.focus();
    }
}

/* The thoughts: folded to one line; while they come, their end shows through. */
class Thought {
    constructor() {
        this.label = h('span', {class: 'thought-label'});
        this.button = h(
            'button',
            {type: 'button', class: 'thought-button', 'aria-expanded': 'false', onclick: () => this.toggle()},
            icon('chevron'),
            this.label,
        );
        this.text = new MarkdownView();
        this.body = h('div', {class: 'thought-body', tabindex: '-1'}, this.text.node);
        this.node = h('div', {class: 'thought', hidden: true}, this.button, this.body);
        this.open = false;
    }

    toggle() {
        this.open = !this.open;
        this.button.setAttribute('aria-expanded', String(this.open));
        this.node.classList.toggle('open', this.open);
    }

    refresh(answer, thinking) {
        this.node.hidden = answer.reasoning === '';
        if (this.node.hidden) return;
        this.node.classList.toggle('live', thinking);
        const time = answer.thoughtMs === undefined ? '' : ` ${seconds(answer.thoughtMs)} s`;
        this.label.textContent = thinking ? `Thinking${time && `,${time}`}` : `Thought${time && ` for${time}`}`;
        this.text.show(answer.reasoning.trim());
        if (thinking && !this.open) this.body.scrollTop = this.body.scrollHeight;
    }
}

function swarmDots() {
    return h('span', {class: 'dots', 'aria-hidden': 'true'}, h('i'), h('i'), h('i'), h('i'), h('i'), h('i'), h('i'));
}

function waitingText(run) {
    if (!run?.waiting) return 'Reading the conversation';
    const left = Math.max(0, Math.ceil((run.waiting.until - performance.now()) / 1000));
    if (run.waiting.why === 'busy') return `The server is busy. Asking again in ${left} s`;
    if (run.waiting.why === 'unready') return 'The server is not ready yet. The question waits for it';
    return 'The server does not answer. The question waits for it';
}

const ENDS = {
    stopped: ['Stopped.', ''],
    lost: ['The connection broke off here.', 'What had come is kept.'],
    length: ['The answer reached its maximum length.', ''],
};

function noticeOf(answer) {
    if (answer.state === 'streaming') return ['The page was closed during this answer.', 'What had come is kept.'];
    if (answer.state === 'error') return [answer.error?.status === 401 ? 'The server wants an API key.' : 'No answer.', answer.error?.message ?? ''];
    const [title, more] = ENDS[answer.state] ?? ['', ''];
    const why = answer.state === 'lost' ? answer.error?.message : '';
    return [title, why && !why.startsWith('The connection') ? `${why} ${more}` : more];
}

function statisticsOf(answer) {
    const parts = [];
    const {usage} = answer;
    if (usage) parts.push(count(usage.completion_tokens, 'token'));
    if (answer.tokensPerSecond) parts.push(`${answer.tokensPerSecond.toFixed(answer.tokensPerSecond < 10 ? 1 : 0)} per second`);
    if (answer.firstMs !== undefined) parts.push(`first after ${(answer.firstMs / 1000).toFixed(2)} s`);
    const cached = usage?.prompt_tokens_details?.cached_tokens;
    if (usage) parts.push(`prompt ${usage.prompt_tokens.toLocaleString('en')}${cached ? `, ${cached.toLocaleString('en')} known` : ''}`);
    return parts.join(' · ');
}

/* hooks: retry(), proceed(), settings(). */
export class AnswerView {
    constructor(answer, hooks) {
        this.answer = answer;
        this.hooks = hooks;
        this.thought = new Thought();
        this.text = new MarkdownView();
        this.waitingLabel = h('span');
        this.waiting = h('div', {class: 'waiting', hidden: true}, swarmDots(), this.waitingLabel);
        this.notice = h('div', {class: 'notice', hidden: true});
        this.statistics = h('span', {class: 'statistics'});
        this.retryButton = iconButton('retry', 'Answer again', () => hooks.retry());
        this.actions = h('div', {class: 'actions'}, copyAction(() => answer.content), this.retryButton, this.statistics);
        this.node = h(
            'li',
            {class: 'message answer'},
            h('span', {class: 'unseen'}, 'Essaim: '),
            this.thought.node,
            this.text.node,
            this.waiting,
            this.notice,
            this.actions,
        );
    }

    /* run: the answer's, when it is under way; last: whether it is the conversation's last message. */
    refresh(run, last) {
        const {answer} = this;
        const live = run !== undefined;
        const thinking = live && answer.reasoning !== '' && answer.content === '';
        this.node.classList.toggle('streaming', live);
        this.node.setAttribute('aria-busy', String(live));
        this.thought.refresh(answer, thinking);
        this.text.show(answer.content);
        this.waiting.hidden = !live || (answer.content + answer.reasoning !== '' && run.waiting === null);
        if (!this.waiting.hidden) this.waitingLabel.textContent = waitingText(run);
        this.actions.hidden = live;
        this.retryButton.hidden = !last;
        this.statistics.textContent = statisticsOf(answer);
        this.showNotice(live, last);
    }

    showNotice(live, last) {
        const {answer} = this;
        const [title, more] = live ? ['', ''] : noticeOf(answer);
        const wanted = [title, more, last].join('\n');
        this.notice.hidden = title === '';
        if (this.shown === wanted) return;
        this.shown = wanted;
        const buttons = [];
        const cut = ['lost', 'stopped', 'length', 'streaming'].includes(answer.state) && answer.content !== '';
        if (last && cut) buttons.push(h('button', {type: 'button', class: 'button', onclick: () => this.hooks.proceed()}, 'Go on'));
        if (last && answer.error?.status === 401)
            buttons.push(h('button', {type: 'button', class: 'button', onclick: () => this.hooks.settings()}, 'Enter the key'));
        if (last) buttons.push(h('button', {type: 'button', class: 'button', onclick: () => this.hooks.retry()}, 'Try again'));
        this.notice.classList.toggle('bad', answer.state === 'error' || answer.state === 'lost');
        this.notice.replaceChildren(h('p', {}, h('strong', {}, title), more && ` ${more}`), h('div', {class: 'notice-row'}, buttons));
    }
}
