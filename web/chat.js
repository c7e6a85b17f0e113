/* The conversation that is looked at: its messages, and what is done with them. */

import {announce, calm} from './dom.js';
import {AnswerView, UserView} from './message_view.js';
import {newAnswer, runs, startRun} from './run.js';
import {newConversation, titleOf} from './store.js';

const NEAR_END_PX = 80;

/* 'change': another conversation, or another title or state of this one. */
export class Chat extends EventTarget {
    constructor(store, {settings}) {
        super();
        this.store = store;
        this.openSettings = settings;
        this.list = document.getElementById('messages');
        this.scroller = document.getElementById('scroller');
        this.toEnd = document.getElementById('to-end');
        this.conversation = newConversation();
        this.views = [];
        this.pinned = true; /* the end of the text stays in sight */
        this.drawn = 0;
        this.scroller.addEventListener('scroll', () => this.watchScroll(), {passive: true});
        new ResizeObserver(() => this.follow()).observe(this.list);
        this.toEnd.addEventListener('click', () => this.scrollToEnd(true));
        runs.addEventListener('update', ({detail}) => detail.id === this.conversation.id && this.plan());
        runs.addEventListener('end', ({detail}) => this.ended(detail.id));
    }

    get run() {
        return runs.of(this.conversation.id);
    }

    get empty() {
        return this.conversation.messages.length === 0;
    }

    changed() {
        this.dispatchEvent(new Event('change'));
    }

    /* Shows a conversation, a new one without id. false when it is not kept any more. */
    async show(id) {
        const conversation = id === undefined ? newConversation() : (runs.of(id)?.conversation ?? (await this.store.get(id)));
        if (!conversation) return false;
        this.conversation = conversation;
        this.draw();
        this.pinned = true;
        this.follow();
        this.changed();
        return true;
    }

    /* Another tab has written this conversation. */
    async reload() {
        if (this.run || this.empty) return;
        const conversation = await this.store.get(this.conversation.id);
        if (!conversation || this.run || conversation.id !== this.conversation.id) return;
        this.conversation = conversation;
        this.draw();
        this.changed();
    }

    viewOf(message) {
        if (message.role === 'user') return new UserView(message, {edit: (edited, text) => this.ask(text, edited)});
        return new AnswerView(message, {retry: () => this.retry(), proceed: () => this.proceed(), settings: this.openSettings});
    }

    draw() {
        this.views = this.conversation.messages.map((message) => this.viewOf(message));
        this.list.replaceChildren(...this.views.map((view) => view.node));
        this.refresh(true);
    }

    refresh(all) {
        const last = this.views.length - 1;
        this.views.forEach((view, i) => {
            if (view instanceof AnswerView && (all || i === last)) view.refresh(i === last ? this.run : undefined, i === last);
        });
        const waiting = this.run?.waiting;
        if (waiting) setTimeout(() => this.plan(), 500); /* its seconds go by */
    }

    /* Draws once a frame, however many tokens came. */
    plan() {
        if (this.drawn) return;
        this.drawn = requestAnimationFrame(() => {
            this.drawn = 0;
            this.refresh(false);
        });
    }

    watchScroll() {
        const {scrollTop, scrollHeight, clientHeight} = this.scroller;
        this.pinned = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
        this.toEnd.hidden = this.pinned;
    }

    follow() {
        if (this.empty) this.scroller.scrollTop = 0;
        else if (this.pinned) this.scroller.scrollTop = this.scroller.scrollHeight;
        else this.watchScroll();
    }

    scrollToEnd(smoothly) {
        this.pinned = true;
        this.scroller.scrollTo({top: this.scroller.scrollHeight, behavior: smoothly && !calm() ? 'smooth' : 'auto'});
    }

    /* Asks; in place of an earlier message and what follows it, when that is given. */
    ask(text, instead) {
        if (this.run || text.trim() === '') return false;
        const {messages} = this.conversation;
        if (instead) messages.splice(messages.indexOf(instead));
        if (messages.length === 0 && !this.conversation.named) this.conversation.title = titleOf(text);
        messages.push({role: 'user', content: text.trim(), at: Date.now()});
        this.answer();
        return true;
    }

    answer() {
        const answer = newAnswer();
        this.conversation.messages.push(answer);
        this.begin(answer);
    }

    begin(answer) {
        const run = startRun(this.store, this.conversation, answer);
        run.save(true).catch(() => {}); /* the save at its end says so */
        this.draw();
        this.scrollToEnd(false);
        this.changed();
    }

    retry() {
        if (this.run) return;
        const {messages} = this.conversation;
        while (messages.at(-1)?.role === 'assistant') messages.pop();
        if (messages.length > 0) this.answer();
    }

    proceed() {
        const last = this.conversation.messages.at(-1);
        if (!this.run && last?.role === 'assistant') this.begin(last);
    }

    stop() {
        this.run?.stop();
    }

    ended(id) {
        if (id === this.conversation.id) {
            this.refresh(true);
            this.follow();
            const {state} = this.conversation.messages.at(-1);
            announce(state === 'done' ? 'The answer is complete.' : state === 'stopped' ? 'Stopped.' : 'The answer is not complete.');
        }
        this.changed();
    }

    rename(title) {
        this.conversation.title = title;
        this.conversation.named = true;
        this.changed();
    }
}
