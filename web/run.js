/* Answers under way. Each belongs to its conversation, goes on when another one is looked at, and is saved as it grows, so that a
 * page that is closed or a server that falls keeps what was said. */

import {models, streamChat} from './client.js';
import {connection} from './connection.js';
import {settings} from './settings.js';

const SAVE_MS = 1000;
const WAIT_MAX_S = 600; /* for a server that is busy, loading or away */
const BUSY_WAIT_S = 2;
const READY_PAUSE_MS = 500;

/* 'update' {id}: text came; 'end' {id}: it is over, however. */
export const runs = new (class extends EventTarget {
    constructor() {
        super();
        this.live = new Map(); /* conversation id to Run */
    }

    of(id) {
        return this.live.get(id);
    }

    tell(type, id) {
        this.dispatchEvent(new CustomEvent(type, {detail: {id}}));
    }
})();

let model_name = null;

async function modelName() {
    model_name ??= (await models())[0]?.id ?? null;
    return model_name ?? 'deepseek-reasoner';
}
connection.addEventListener('change', () => (model_name = null)); /* another server may hold another model */

/* What the model is to see: everything before the answer, and of an answer that is to go on what stands. */
function requestOf(conversation, answer, model) {
    const messages = [];
    if (settings.system.trim() !== '') messages.push({role: 'system', content: settings.system});
    for (const message of conversation.messages) {
        if (message === answer) break;
        if (message.role === 'user' || message.content !== '') messages.push({role: message.role, content: message.content});
    }
    if (answer.content !== '') messages.push({role: 'assistant', content: answer.content, prefix: true});
    const body = {model, messages, stream: true, stream_options: {include_usage: true}};
    if (settings.temperature !== null) body.temperature = settings.temperature;
    if (settings.maxTokens !== null) body.max_tokens = settings.maxTokens;
    if (!settings.think || answer.content !== '') body.thinking = {type: 'disabled'};
    return body;
}

class Run {
    constructor(store, conversation, answer) {
        Object.assign(this, {store, conversation, answer, waiting: null, saved: 0});
        this.controller = new AbortController();
        this.begun = performance.now();
    }

    stop() {
        this.controller.abort();
    }

    get stopped() {
        return this.controller.signal.aborted;
    }

    async save(now) {
        if (!now && performance.now() - this.saved < SAVE_MS) return;
        this.saved = performance.now();
        this.conversation.updated = Date.now();
        await this.store.put(this.conversation);
    }

    chunk(chunk) {
        const {answer} = this;
        const now = performance.now();
        if (chunk.usage) answer.usage = chunk.usage;
        const choice = chunk.choices?.[0];
        if (!choice) return;
        const thought = choice.delta?.reasoning_content ?? '';
        const text = choice.delta?.content ?? '';
        if (thought !== '' || text !== '') {
            this.first ??= now;
            this.last = now;
            answer.firstMs ??= now - this.begun;
        }
        if (thought !== '') {
            this.thoughtFrom ??= now;
            answer.reasoning += thought;
        }
        answer.content += text;
        if (this.thoughtFrom !== undefined && (text === '' || answer.thoughtMs === undefined)) answer.thoughtMs = now - this.thoughtFrom;
        if (choice.finish_reason) answer.finish = choice.finish_reason;
    }

    /* Waits for a server that will not take the request yet; true when to ask again. */
    async wait(error) {
        const {signal} = this.controller;
        const busy = error.kind === 'status' && error.status === 429;
        const unready = error.kind === 'away' || (error.kind === 'status' && error.status === 503);
        const waited = (performance.now() - this.begun) / 1000;
        if (!(busy || unready) || waited > WAIT_MAX_S) return false;
        const from = performance.now();
        const until = from + 1000 * (error.retryAfter ?? BUSY_WAIT_S);
        /* The server may be ready sooner than it said. */
        const ready = () => unready && connection.state === 'ok' && performance.now() > from + READY_PAUSE_MS;
        this.waiting = {why: busy ? 'busy' : error.kind === 'away' ? 'away' : 'unready', until};
        runs.tell('update', this.conversation.id);
        if (unready) await connection.check();
        while (!signal.aborted && performance.now() < until && !ready()) await new Promise((resolve) => setTimeout(resolve, 100));
        return !signal.aborted;
    }

    async receive() {
        for (;;) {
            try {
                const body = requestOf(this.conversation, this.answer, await modelName());
                for await (const chunk of streamChat(body, this.controller.signal)) {
                    this.waiting = null;
                    this.chunk(chunk);
                    runs.tell('update', this.conversation.id);
                    this.save(false).catch(() => {}); /* the last save says so if it cannot */
                }
                return;
            } catch (error) {
                if (this.first !== undefined || this.stopped || !(await this.wait(error))) throw error;
            }
        }
    }

    /* How it ended: done, length, stopped, lost or error. */
    end(error) {
        const {answer} = this;
        answer.state = 'done';
        if (answer.finish === 'length') answer.state = 'length';
        if (error) {
            answer.state = this.stopped ? 'stopped' : this.first !== undefined && error.status === 0 ? 'lost' : 'error';
            if (!this.stopped) answer.error = {message: error.message, status: error.status ?? 0};
        }
        if (this.last > this.first && answer.usage?.completion_tokens > 1)
            answer.tokensPerSecond = ((answer.usage.completion_tokens - 1) * 1000) / (this.last - this.first);
    }

    async go() {
        let problem = null;
        try {
            await this.receive();
        } catch (error) {
            problem = error;
        }
        this.waiting = null;
        this.end(problem);
        if (problem && !this.stopped) connection.check();
        await this.save(true).catch((error) => (this.answer.unsaved = error.message));
        runs.live.delete(this.conversation.id);
        runs.tell('end', this.conversation.id);
    }
}

/* Begins the answer that is the conversation's last message, or goes on with it. */
export function startRun(store, conversation, answer) {
    if (runs.of(conversation.id)) throw new Error('an answer is under way here');
    const run = new Run(store, conversation, answer);
    Object.assign(answer, {state: 'streaming', error: undefined, finish: undefined, usage: undefined, tokensPerSecond: undefined});
    runs.live.set(conversation.id, run);
    run.go();
    return run;
}

export const newAnswer = () => ({role: 'assistant', content: '', reasoning: '', state: 'streaming', at: Date.now()});
