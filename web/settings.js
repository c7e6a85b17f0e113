/* What the user chose; kept in this browser, never sent anywhere but the key and the sampling to this server. */

const PLACE = 'essaim.settings';

const number = (min, max) => (value) => (Number.isFinite(value) && value >= min && value <= max ? value : null);
const text = (max) => (value) => (typeof value === 'string' ? value.slice(0, max) : null);
const one = (...choices) => (value) => (choices.includes(value) ? value : null);

/* name: [initial, what a value must be]. null stands for "the model's own". */
const KNOWN = {
    key: ['', text(400)],
    system: ['', text(50_000)],
    temperature: [null, number(0, 2)],
    maxTokens: [null, number(1, 1_000_000)],
    think: [true, one(true, false)],
    theme: ['auto', one('auto', 'light', 'dark')],
    panel: [null, one(true, false)],
};

function load() {
    let saved = {};
    try {
        saved = JSON.parse(localStorage.getItem(PLACE) ?? '{}') ?? {};
    } catch {
        /* unreadable or forbidden: as if there were none */
    }
    return Object.fromEntries(Object.entries(KNOWN).map(([name, [initial, check]]) => [name, check(saved[name]) ?? initial]));
}

export const settings = load();

/* false when the browser keeps nothing (private windows, blocked storage). */
export function change(changes) {
    Object.assign(settings, changes);
    if ('theme' in changes) applyTheme();
    try {
        localStorage.setItem(PLACE, JSON.stringify(settings));
        return true;
    } catch {
        return false;
    }
}

const night = matchMedia('(prefers-color-scheme: dark)');

/* Also whenever the system's changes. */
export function applyTheme() {
    const dark = settings.theme === 'auto' ? night.matches : settings.theme === 'dark';
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    document.dispatchEvent(new Event('theme'));
}

night.addEventListener('change', applyTheme);
