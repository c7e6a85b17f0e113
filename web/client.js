/* What the page asks of the server. Addresses are relative, so that the page also works behind a proxy's prefix. */

const SILENCE_MS = 90_000; /* a stream sends a keep-alive every few seconds, however long the prompt */
const QUERY_MS = 10_000;
const ERROR_TEXT_MAX = 600;

/* kind: 'away' (no answer at all), 'lost' (broke off), 'stopped' (by us), 'status' (the server said no). */
export class ServerError extends Error {
    constructor(kind, message, {status = 0, code = '', retryAfter = null} = {}) {
        super(message);
        Object.assign(this, {kind, status, code, retryAfter});
    }
}

let key = '';
export function setKey(value) {
    key = value;
}

function headers(body) {
    const all = {};
    if (body) all['content-type'] = 'application/json';
    if (key) all.authorization = `Bearer ${key}`;
    return all;
}

function secondsOf(response) {
    const text = response.headers.get('retry-after');
    const seconds = text === null || text.trim() === '' ? NaN : Number(text);
    return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 600) : null;
}

async function errorOf(response) {
    const text = await response.text().catch(() => '');
    let error = null;
    try {
        error = JSON.parse(text).error;
    } catch {
        /* not ours, a proxy's perhaps: the status line has to do */
    }
    const message = typeof error?.message === 'string' ? error.message : `${response.status} ${response.statusText}`;
    return new ServerError('status', message.slice(0, ERROR_TEXT_MAX), {
        status: response.status,
        code: String(error?.code ?? ''),
        retryAfter: secondsOf(response),
    });
}

async function ask(path, options, signal) {
    try {
        return await fetch(new URL(path, document.baseURI), {cache: 'no-store', ...options, signal});
    } catch (error) {
        if (error.name === 'AbortError') throw new ServerError('stopped', 'stopped');
        throw new ServerError('away', 'The server does not answer.');
    }
}

async function query(path) {
    const response = await ask(path, {headers: headers()}, AbortSignal.timeout(QUERY_MS));
    if (!response.ok) throw await errorOf(response);
    try {
        return await response.json();
    } catch {
        throw new ServerError('away', `${path}: not an answer in JSON`);
    }
}

export const cluster = () => query('cluster');
export const models = async () => (await query('v1/models')).data ?? [];

/* {status: 'ok' | 'loading' | …, progress}; a server that is not ready answers 503 and says so too. */
export async function health() {
    const response = await ask('health', {}, AbortSignal.timeout(QUERY_MS));
    const body = await response.json().catch(() => ({}));
    const status = typeof body.status === 'string' ? body.status : response.ok ? 'ok' : 'unavailable';
    return {status, progress: Number.isFinite(body.progress) ? Math.min(1, Math.max(0, body.progress)) : null};
}

/* The data of each event of a stream, cut anywhere. */
export class EventSplitter {
    constructor() {
        this.rest = '';
        this.data = [];
    }

    push(text) {
        const events = [];
        const lines = (this.rest + text).split('\n');
        this.rest = lines.pop();
        for (const line of lines) {
            const clean = line.endsWith('\r') ? line.slice(0, -1) : line;
            if (clean === '') {
                if (this.data.length > 0) events.push(this.data.join('\n'));
                this.data = [];
            } else if (clean.startsWith('data:')) {
                this.data.push(clean.slice(clean[5] === ' ' ? 6 : 5));
            }
        }
        return events;
    }
}

async function* chunksOf(response, controller) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let timer = 0;
    try {
        for (;;) {
            timer = setTimeout(() => controller.abort(new Error('silence')), SILENCE_MS);
            const {done, value} = await reader.read();
            clearTimeout(timer);
            if (done) return;
            yield decoder.decode(value, {stream: true});
        }
    } finally {
        clearTimeout(timer);
        reader.cancel().catch(() => {});
    }
}

function readEvent(data) {
    let event;
    try {
        event = JSON.parse(data);
    } catch {
        throw new ServerError('lost', 'The server sent something that is no JSON.');
    }
    if (event.error) throw new ServerError('lost', String(event.error.message ?? 'The server gave up on this answer.').slice(0, ERROR_TEXT_MAX));
    return event;
}

/* The chunks of a chat completion. Ends when the server says it is complete; a stream that breaks off before throws 'lost'. */
export async function* streamChat(body, signal) {
    const controller = new AbortController();
    const stop = () => controller.abort();
    signal.addEventListener('abort', stop, {once: true});
    if (signal.aborted) stop();
    try {
        const response = await ask('v1/chat/completions', {method: 'POST', headers: headers(true), body: JSON.stringify(body)}, controller.signal);
        if (!response.ok) throw await errorOf(response);
        const splitter = new EventSplitter();
        for await (const text of chunksOf(response, controller)) {
            for (const data of splitter.push(text)) {
                if (data === '[DONE]') return;
                yield readEvent(data);
            }
        }
        throw new ServerError('lost', 'The connection ended in the middle of the answer.');
    } catch (error) {
        if (signal.aborted) throw new ServerError('stopped', 'stopped');
        if (error instanceof ServerError) throw error;
        throw new ServerError('lost', 'The connection was lost in the middle of the answer.');
    } finally {
        signal.removeEventListener('abort', stop);
        controller.abort();
    }
}
