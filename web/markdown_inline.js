/* The text inside a block to a tree. One pass from left to right makes tokens; runs of * _ ~ are then paired with a stack, as CommonMark
 * describes, which takes time in proportion to the text; the pairs become a tree of bounded depth. */

const DEPTH_MAX = 16;
const LINK_MAX = 2048;
const FORMULA_MAX = 1000;
const ALT_MAX = 400;
const ENTITIES = {'&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&apos;': "'", '&#39;': "'", '&nbsp;': '\u00A0'};
const MARKS = {'*': {1: 'em', 2: 'strong'}, _: {1: 'em', 2: 'strong'}, '~': {2: 'strike'}};
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const SPACE = /\s/u;
const WORD = /[\p{L}\p{N}_]/u;
const SCHEME = /^(?:https?:\/\/|mailto:)/i;
/* Text up to a character that may begin something. */
const PLAIN = /[^\\`*_~[\]!<&$hH\n]+/y;
const BARE_URL = /https?:\/\/[^\s<>"'`\u3000-\u303F\uFF00-\uFF0F\uFF1A-\uFF1F\uFF3B-\uFF40\uFF5B-\uFF65]+/iy;
const ANGLE_URL = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2048})>/iy;
const LINE_BREAK = /<br ?\/?>/iy;
const ENTITY = /&(?:amp|lt|gt|quot|apos|#39|nbsp);/y;

/* The address as it may be followed, or null: only http, https and mailto. */
export function safeAddress(address) {
    const text = address.replace(/[\u0000-\u0020\u007F-\u009F\u200B-\u200F\u2028-\u202E\u2066-\u2069]/g, '');
    return SCHEME.test(text) && URL.canParse?.(text) !== false ? text : null;
}

function at(pattern, text, i) {
    pattern.lastIndex = i;
    return pattern.exec(text);
}

class Scanner {
    constructor(text) {
        this.text = text;
        this.i = 0;
        this.tokens = [];
        this.brackets = [];
        this.closers = new Map(); /* where each was found last, so that no stretch is searched twice */
        this.runs = null;
    }

    plain(text) {
        const last = this.tokens.at(-1);
        if (last?.type === 'text') last.text += text;
        else this.tokens.push({type: 'text', text});
    }

    /* Where `closer` stands at or behind `from`, or -1. */
    find(closer, from) {
        const known = this.closers.get(closer) ?? 0;
        if (known < 0 || known >= from) return known;
        this.closers.set(closer, this.text.indexOf(closer, from));
        return this.closers.get(closer);
    }

    code() {
        const {text, i} = this;
        let n = 1;
        while (text[i + n] === '`') n++;
        const end = this.runBehind(n, i);
        this.i = i + n;
        if (end === undefined) return this.plain('`'.repeat(n));
        let body = text.slice(i + n, end).replaceAll('\n', ' ');
        if (body.startsWith(' ') && body.endsWith(' ') && body.trim() !== '') body = body.slice(1, -1);
        this.tokens.push({type: 'code', text: body});
        this.i = end + n;
    }

    /* Where the next run of exactly n backticks behind i stands. */
    runBehind(n, i) {
        if (!this.runs) {
            this.runs = new Map();
            for (const run of this.text.matchAll(/`+/g)) {
                if (!this.runs.has(run[0].length)) this.runs.set(run[0].length, {places: [], next: 0});
                this.runs.get(run[0].length).places.push(run.index);
            }
        }
        const runs = this.runs.get(n);
        while (runs && runs.places[runs.next] <= i) runs.next++;
        return runs?.places[runs.next];
    }

    /* A formula from i to its closer stays as it is written; false when none ends here. */
    formula(open, close) {
        const end = this.find(close, this.i + open.length);
        if (end < 0 || end - this.i > FORMULA_MAX) return false;
        const body = this.text.slice(this.i + open.length, end);
        if (open === '$' && (body === '' || SPACE.test(body[0]) || SPACE.test(body.at(-1)) || body.includes('\n') || /\d/.test(this.text[end + 1] ?? '')))
            return false;
        this.tokens.push({type: 'formula', text: this.text.slice(this.i, end + close.length)});
        this.i = end + close.length;
        return true;
    }

    backslash() {
        const next = this.text[this.i + 1] ?? '';
        if (next === '(' && this.formula('\\(', '\\)')) return;
        if (next === '[' && this.formula('\\[', '\\]')) return;
        if (next === '\n') {
            this.tokens.push({type: 'break'});
            this.i += 2;
        } else if (next !== '' && PUNCTUATION.test(next) && next !== '(' && next !== '[') {
            this.plain(next);
            this.i += 2;
        } else {
            this.plain('\\');
            this.i += 1;
        }
    }

    run(mark) {
        const {text, i} = this;
        let n = 1;
        while (text[i + n] === mark) n++;
        const before = text[i - 1] ?? ' ';
        const after = text[i + n] ?? ' ';
        const within = mark === '_' && WORD.test(before) && WORD.test(after);
        const token = {type: 'run', mark, at: i, left: n, was: n, opens: [], closes: []};
        token.canOpen = !SPACE.test(after) && !within;
        token.canClose = !SPACE.test(before) && !within;
        this.tokens.push(token);
        this.i += n;
    }

    open(image) {
        this.brackets.push({at: this.tokens.length, image});
        this.tokens.push({type: 'text', text: image ? '![' : '['});
        this.tokens.push({type: 'text', text: ''}); /* nothing is to be appended to the bracket itself */
        this.i += image ? 2 : 1;
    }

    /* (address "title") behind a closing bracket: {address, end} or null. */
    target(from) {
        const {text} = this;
        if (text[from] !== '(') return null;
        const limit = Math.min(text.length, from + LINK_MAX);
        let depth = 0;
        let i = from + 1;
        let address = '';
        let quote = null;
        for (; i < limit; i++) {
            const c = text[i];
            if (c === '\n') return null;
            if (quote !== null) {
                if (c === quote) quote = null;
            } else if ((c === '"' || c === "'") && SPACE.test(text[i - 1])) {
                quote = c;
            } else if (c === ')' && depth-- === 0) {
                return {address: address.trim().split(/\s/)[0].replace(/^<|>$/g, ''), end: i + 1};
            } else {
                if (c === '(') depth++;
                address += c;
            }
        }
        return null;
    }

    close() {
        const bracket = this.brackets.pop();
        const target = bracket ? this.target(this.i + 1) : null;
        const address = target ? safeAddress(target.address) : null;
        this.i += 1;
        if (!target) return this.plain(']');
        /* An address that may not be followed: what it was to be called stays, as text. */
        const inside = this.tokens.splice(bracket.at);
        inside.shift();
        pair(inside);
        let children = treeOf(inside);
        if (bracket.image) children = [{type: 'text', text: textOf(children).slice(0, ALT_MAX) || target.address}];
        else this.brackets = []; /* no link inside a link */
        this.tokens.push({type: address === null ? 'span' : 'link', address, children});
        this.i = target.end;
    }

    bareAddress() {
        const match = this.i > 0 && WORD.test(this.text[this.i - 1]) ? null : at(BARE_URL, this.text, this.i);
        if (!match) return false;
        let address = match[0].slice(0, LINK_MAX);
        for (let last = address.at(-1); ; last = address.at(-1)) {
            const unbalanced = last === ')' && address.split(')').length > address.split('(').length;
            if (!unbalanced && !/[.,;:!?*_~\]}|\\$]/.test(last)) break;
            address = address.slice(0, -1);
        }
        if (safeAddress(address) !== address) return false;
        this.tokens.push({type: 'link', address, children: [{type: 'text', text: address}]});
        this.i += address.length;
        return true;
    }

    angle() {
        const url = at(ANGLE_URL, this.text, this.i);
        const address = url ? safeAddress(url[1]) : null;
        if (address !== null) {
            this.tokens.push({type: 'link', address, children: [{type: 'text', text: url[1]}]});
            this.i += url[0].length;
            return;
        }
        const line_break = at(LINE_BREAK, this.text, this.i);
        if (line_break) this.tokens.push({type: 'break'});
        else this.plain('<');
        this.i += line_break ? line_break[0].length : 1;
    }

    character(c) {
        if (c === 'h' || c === 'H') {
            if (this.bareAddress()) return;
        } else if (c === '&') {
            const entity = at(ENTITY, this.text, this.i);
            if (entity) {
                this.plain(ENTITIES[entity[0]]);
                this.i += entity[0].length;
                return;
            }
        } else if (c === '$' && (this.text[this.i + 1] === '$' ? this.formula('$$', '$$') : this.formula('$', '$'))) {
            return;
        }
        this.plain(c);
        this.i += 1;
    }

    step() {
        const c = this.text[this.i];
        if (c === '\\') this.backslash();
        else if (c === '`') this.code();
        else if (c in MARKS) this.run(c);
        else if (c === '[') this.open(false);
        else if (c === '!' && this.text[this.i + 1] === '[') this.open(true);
        else if (c === ']') this.close();
        else if (c === '<') this.angle();
        else if (c === '\n') {
            this.tokens.push({type: 'break'});
            this.i += 1;
        } else {
            const match = at(PLAIN, this.text, this.i);
            if (!match) return this.character(c);
            this.plain(match[0]);
            this.i += match[0].length;
        }
    }

    all() {
        while (this.i < this.text.length) this.step();
        pair(this.tokens);
        return treeOf(this.tokens);
    }
}

/* Pairs the runs among tokens: each pair is noted at both ends, in the order in which they stand inside each other. */
function pair(tokens) {
    const stack = [];
    const bottom = new Map(); /* before this place in the text there is no opener for such a closer */
    for (const token of tokens) {
        if (token.type !== 'run') continue;
        const key = `${token.mark}${token.canOpen}${token.was % 3}${token.was > 1}`;
        let height = stack.length;
        while (token.canClose && token.left > 0 && height > 0 && stack[height - 1].at >= (bottom.get(key) ?? 0)) {
            const opener = stack[--height];
            const sum = opener.was + token.was;
            const odd = (opener.canClose || token.canOpen) && sum % 3 === 0 && !(opener.was % 3 === 0 && token.was % 3 === 0);
            if (opener.mark !== token.mark || odd) continue;
            const use = opener.left >= 2 && token.left >= 2 ? 2 : 1;
            const kind = MARKS[token.mark][use];
            if (!kind) continue;
            opener.left -= use;
            token.left -= use;
            opener.opens.unshift(kind);
            token.closes.push(kind);
            stack.length = opener.left > 0 ? height + 1 : height;
            height = stack.length;
        }
        if (token.canClose && token.left > 0) bottom.set(key, token.at);
        if (token.canOpen && token.left > 0) stack.push(token);
    }
}

function treeOf(tokens) {
    const root = {children: []};
    const path = [root];
    let ignored = 0; /* pairs deeper than we go */
    for (const token of tokens) {
        if (token.type !== 'run') {
            if (token.type !== 'text' || token.text !== '') path.at(-1).children.push(token);
            continue;
        }
        for (let i = 0; i < token.closes.length; i++) {
            if (ignored > 0) ignored--;
            else if (path.length > 1) path.pop();
        }
        if (token.left > 0) path.at(-1).children.push({type: 'text', text: token.mark.repeat(token.left)});
        for (const kind of token.opens) {
            if (path.length > DEPTH_MAX) {
                ignored++;
                continue;
            }
            const node = {type: kind, children: []};
            path.at(-1).children.push(node);
            path.push(node);
        }
    }
    return root.children;
}

/* What of a tree is text. */
export function textOf(nodes) {
    return nodes.map((node) => node.text ?? (node.type === 'break' ? ' ' : textOf(node.children))).join('');
}

export function parseInline(text) {
    return new Scanner(text).all();
}
