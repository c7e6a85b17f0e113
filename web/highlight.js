/* Light colouring of code: comments, strings, numbers and the language's words. One pass, sticky patterns that take what they match
 * whole; what is not known stays plain. */

const LENGTH_MAX = 60_000;

const C_COMMENT = ['//[^\\n]*', '/\\*[^]*?(?:\\*/|$)'];
const HASH_COMMENT = ['#[^\\n]*'];
const DASH_COMMENT = ['--[^\\n]*'];
const STRINGS = ['"(?:[^"\\\\\\n]|\\\\[^])*"?', "'(?:[^'\\\\\\n]|\\\\[^])*'?"];
const TRIPLES = ['"""[^]*?(?:"""|$)', "'''[^]*?(?:'''|$)"];
const TEMPLATE = ['`(?:[^`\\\\]|\\\\[^])*`?'];
const SQL_STRING = ["'[^']*'?"];

const words = (text) => new Set(text.split(' '));

const C_WORDS =
    'auto break case const continue default do else enum extern for goto if inline register restrict return signed sizeof static struct switch typedef union unsigned volatile while void int char short long float double bool true false NULL size_t';
const JS_WORDS =
    'as async await break case catch class const continue debugger default delete do else export extends finally for from function get if implements import in instanceof interface let new null of private protected public readonly return set static super switch this throw true false try type typeof undefined var void while yield enum declare namespace string number boolean any unknown never';

const LANGUAGES = {
    c: {comment: C_COMMENT, string: STRINGS, words: words(C_WORDS), directive: true},
    cpp: {
        comment: C_COMMENT,
        string: STRINGS,
        words: words(
            `${C_WORDS} class namespace template typename public private protected virtual override new delete this try catch throw using constexpr nullptr operator friend explicit noexcept mutable concept requires co_await co_return co_yield`,
        ),
        directive: true,
    },
    js: {comment: C_COMMENT, string: [...STRINGS, ...TEMPLATE], words: words(JS_WORDS)},
    java: {
        comment: C_COMMENT,
        string: STRINGS,
        words: words(
            'abstract assert boolean break byte case catch char class const continue default do double else enum extends final finally float for if implements import instanceof int interface long native new null package private protected public record return sealed short static super switch synchronized this throw throws transient true false try var void volatile while val fun object when is in override open data internal string using namespace',
        ),
    },
    go: {
        comment: C_COMMENT,
        string: [...STRINGS, ...TEMPLATE],
        words: words(
            'break case chan const continue default defer else fallthrough for func go goto if import interface map package range return select struct switch type var nil true false string int int64 float64 bool byte rune error any make len append',
        ),
    },
    rust: {
        comment: C_COMMENT,
        string: ['"(?:[^"\\\\]|\\\\[^])*"?', "'(?:[^'\\\\\\n]|\\\\[^\\n]{1,8})'"],
        words: words(
            'as async await break const continue crate dyn else enum extern fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true false type unsafe use where while bool char str String i8 i16 i32 i64 u8 u16 u32 u64 usize isize f32 f64 Option Result Some None Ok Err Vec',
        ),
    },
    python: {
        comment: HASH_COMMENT,
        string: [...TRIPLES, ...STRINGS],
        words: words(
            'and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield True False None self print len range int str float list dict set tuple bool',
        ),
    },
    shell: {
        comment: ['(?<=^|\\s)#[^\\n]*'],
        string: STRINGS,
        words: words(
            'if then else elif fi for in do done while until case esac function return local export readonly set unset shift exit echo cd source eval exec trap sudo',
        ),
        variable: true,
    },
    sql: {
        comment: [...DASH_COMMENT, '/\\*[^]*?(?:\\*/|$)'],
        string: SQL_STRING,
        words: words(
            'select from where group by having order limit offset insert into values update set delete create table index view drop alter add column primary key foreign references not null unique default and or in is like between join inner left right outer full on as distinct union all case when then else end exists with count sum avg min max begin commit rollback',
        ),
        anyCase: true,
    },
    json: {comment: C_COMMENT, string: STRINGS, words: words('true false null'), keys: true},
    yaml: {comment: ['(?<=^|\\s)#[^\\n]*'], string: STRINGS, words: words('true false null yes no on off'), keys: true},
    css: {
        comment: ['/\\*[^]*?(?:\\*/|$)'],
        string: STRINGS,
        words: words('important media supports import keyframes font-face layer container from to auto none inherit initial unset flex grid block inline'),
    },
    html: {comment: ['<!--[^]*?(?:-->|$)'], string: STRINGS, words: new Set(), tags: true},
    lua: {
        comment: DASH_COMMENT,
        string: STRINGS,
        words: words('and break do else elseif end false for function goto if in local nil not or repeat return then true until while'),
    },
    ruby: {
        comment: HASH_COMMENT,
        string: STRINGS,
        words: words(
            'alias and begin break case class def do else elsif end ensure false for if in module next nil not or redo rescue retry return self super then true undef unless until when while yield require puts attr_accessor',
        ),
    },
};

const ALIASES = {
    h: 'c', 'c++': 'cpp', cc: 'cpp', cxx: 'cpp', hpp: 'cpp', javascript: 'js', jsx: 'js', ts: 'js', tsx: 'js', typescript: 'js', mjs: 'js',
    kotlin: 'java', cs: 'java', csharp: 'java', scala: 'java', swift: 'rust', rs: 'rust', golang: 'go', py: 'python', python3: 'python',
    sh: 'shell', bash: 'shell', zsh: 'shell', console: 'shell', dockerfile: 'shell', makefile: 'shell', postgresql: 'sql', mysql: 'sql',
    sqlite: 'sql', jsonc: 'json', json5: 'json', jsonl: 'json', yml: 'yaml', toml: 'yaml', ini: 'yaml', scss: 'css', xml: 'html', svg: 'html',
    rb: 'ruby',
};

const NUMBER = '\\b(?:0[xXbBoO][0-9a-fA-F_]+|\\d[\\d_]*(?:\\.\\d[\\d_]*)?(?:[eE][+-]?\\d+)?)[a-zA-Z0-9]*';
const compiled = new Map();

function patternOf(name) {
    if (compiled.has(name)) return compiled.get(name);
    const language = LANGUAGES[name];
    const parts = [`(?<comment>${language.comment.join('|')})`, `(?<string>${language.string.join('|')})`];
    if (language.directive) parts.push('(?<directive>(?<=^|\\n)[ \\t]*#[ \\t]*[a-z]+)');
    if (language.tags) parts.push('(?<tag></?[a-zA-Z][\\w:-]*|/?>)');
    if (language.variable) parts.push('(?<name>\\$(?:[a-zA-Z_]\\w*|\\{[^}\\n]{0,200}\\}|[0-9@#?*!$-]))');
    parts.push(`(?<number>${NUMBER})`, '(?<word>[A-Za-z_][\\w-]*)');
    if (name !== 'css') parts[parts.length - 1] = '(?<word>[A-Za-z_]\\w*)';
    compiled.set(name, new RegExp(parts.join('|'), 'g'));
    return compiled.get(name);
}

function kindOf(language, groups, text, end) {
    if (groups.comment !== undefined) return 'comment';
    if (groups.string !== undefined) return language.keys && /^\s*:/.test(text.slice(end, end + 20)) ? 'name' : 'string';
    if (groups.number !== undefined) return 'number';
    if (groups.directive !== undefined || groups.tag !== undefined) return 'word';
    if (groups.name !== undefined) return 'name';
    if (language.words.has(language.anyCase ? groups.word.toLowerCase() : groups.word)) return 'word';
    if (language.keys && text[end] === ':') return 'name';
    return text[end] === '(' ? 'call' : null;
}

/* The language's name as we know it, or null. */
export function languageOf(lang) {
    const name = lang.toLowerCase();
    return Object.hasOwn(ALIASES, name) ? ALIASES[name] : Object.hasOwn(LANGUAGES, name) ? name : null;
}

/* Pieces {kind, text} that together are the code; kind is null where it is plain. */
export function highlight(code, lang) {
    const name = languageOf(lang);
    if (name === null || code.length > LENGTH_MAX) return [{kind: null, text: code}];
    const pieces = [];
    let from = 0;
    for (const match of code.matchAll(patternOf(name))) {
        const end = match.index + match[0].length;
        const kind = kindOf(LANGUAGES[name], match.groups, code, end);
        if (kind === null) continue;
        if (match.index > from) pieces.push({kind: null, text: code.slice(from, match.index)});
        pieces.push({kind, text: match[0]});
        from = end;
    }
    if (from < code.length) pieces.push({kind: null, text: code.slice(from)});
    return pieces;
}
