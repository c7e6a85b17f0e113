/* Conversations, in the browser's database; in memory where it has none. A conversation is
 * {id, title, named, created, updated, messages: [{role, content, …}]}. */

const NAME = 'essaim';
const TABLE = 'conversations';

function promised(request) {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
}

class DatabaseStore {
    constructor(database) {
        this.database = database;
        this.lasting = true;
    }

    table(mode) {
        return this.database.transaction(TABLE, mode).objectStore(TABLE);
    }

    all() {
        return promised(this.table('readonly').getAll());
    }

    get(id) {
        return promised(this.table('readonly').get(id));
    }

    put(conversation) {
        return promised(this.table('readwrite').put(conversation));
    }

    remove(id) {
        return promised(this.table('readwrite').delete(id));
    }
}

class MemoryStore {
    constructor() {
        this.kept = new Map();
        this.lasting = false;
    }

    async all() {
        return structuredClone([...this.kept.values()]);
    }

    async get(id) {
        return structuredClone(this.kept.get(id));
    }

    async put(conversation) {
        this.kept.set(conversation.id, structuredClone(conversation));
    }

    async remove(id) {
        this.kept.delete(id);
    }
}

export async function openStore() {
    try {
        const request = indexedDB.open(NAME, 1);
        request.onupgradeneeded = () => request.result.createObjectStore(TABLE, {keyPath: 'id'});
        return new DatabaseStore(await promised(request));
    } catch {
        return new MemoryStore();
    }
}

/* A new name for a conversation; randomUUID is there only with HTTPS or on this machine. */
export function newId() {
    return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function newConversation() {
    const now = Date.now();
    return {id: newId(), title: 'New conversation', named: false, created: now, updated: now, messages: []};
}

/* What a conversation is called by itself: the first words that were said. */
export function titleOf(text) {
    const line = text.trim().replace(/\s+/g, ' ');
    return line.length <= 60 ? line : `${line.slice(0, 57).replace(/\s\S{0,12}$/, '')}…`;
}

/* The conversation as a document to keep. */
export function asMarkdown(conversation) {
    const parts = [`# ${conversation.title}`];
    for (const message of conversation.messages) {
        parts.push(message.role === 'user' ? '## You' : '## Essaim');
        if (message.reasoning) parts.push(message.reasoning.trim().replace(/^/gm, '> '));
        parts.push(message.content.trim());
    }
    return `${parts.join('\n\n')}\n`;
}
