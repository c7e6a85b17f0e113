/* Markdown to a tree of plain objects; markdown_dom.js makes nodes of it. No regular expression here backtracks over more than one
 * line's run, nesting is bounded, and what is not understood stays text: HTML is text, images are links, formulas are left alone. */

import {parseInline} from './markdown_inline.js';

const NESTING_MAX = 8;
const COLUMNS_MAX = 64;

const FENCE = /^( *)(`{3,}|~{3,})[ \t]*(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +|$)/;
const TASK = /^\[([ xX])\] /;
const FORMULA = /^ *(\$\$|\\\[)/;

const blank = (line) => line.trim() === '';
const indent = (line) => line.length - line.trimStart().length;

/* The text as lines: one kind of line end, no tabs in front, no NUL. */
function linesOf(text) {
    return text
        .replaceAll('\r\n', '\n')
        .replaceAll('\r', '\n')
        .replaceAll('\0', '\uFFFD')
        .split('\n')
        .map((line) => (line.startsWith(' ') || line.startsWith('\t') ? line.replace(/^[ \t]+/, (run) => run.replaceAll('\t', '    ')) : line));
}

/* Cells of a table's row: split at bars that no backslash precedes. */
function cellsOf(line) {
    let row = line.trim();
    if (row.startsWith('|')) row = row.slice(1);
    const cells = [];
    let cell = '';
    for (let i = 0; i < row.length; i++) {
        if (row[i] === '\\' && row[i + 1] === '|') {
            cell += '|';
            i++;
        } else if (row[i] === '|') {
            cells.push(cell.trim());
            cell = '';
        } else {
            cell += row[i];
        }
    }
    if (cell.trim() !== '') cells.push(cell.trim());
    return cells;
}

/* The alignments that a table's second line states, or null when it is none. */
function alignmentsOf(line) {
    if (line === undefined || !line.includes('-') || !/^[ \t|:-]+$/.test(line)) return null;
    const cells = cellsOf(line);
    if (cells.length === 0 || cells.length > COLUMNS_MAX || !cells.every((cell) => /^:?-+:?$/.test(cell))) return null;
    return cells.map((cell) => (cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'right') : cell.startsWith(':') ? 'left' : null));
}

function tableAt(lines, i) {
    if (!lines[i].includes('|')) return null;
    const align = alignmentsOf(lines[i + 1]);
    return align && cellsOf(lines[i]).length === align.length ? align : null;
}

function beginsBlock(lines, i) {
    const line = lines[i];
    return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line) || tableAt(lines, i) !== null;
}

function readFence(lines, i, match) {
    const [, space, fence, info] = match;
    const body = [];
    let end = i + 1;
    let closed = false;
    for (; end < lines.length && !closed; end++) {
        const line = lines[end].trim();
        closed = line.length >= fence.length && line[0] === fence[0] && line === fence[0].repeat(line.length);
        if (!closed) body.push(lines[end].slice(Math.min(indent(lines[end]), space.length)));
    }
    return {end, block: {type: 'code', lang: info.trim().split(/\s/)[0].slice(0, 40), text: body.join('\n'), closed}};
}

function readHeading(line, match) {
    let text = line.slice(match[0].length).trim();
    let end = text.length;
    while (end > 0 && text[end - 1] === '#') end--;
    if (end < text.length && (end === 0 || text[end - 1] === ' ')) text = text.slice(0, end).trimEnd();
    return {type: 'heading', level: match[1].length, inline: parseInline(text)};
}

function readQuote(lines, i, depth) {
    const body = [];
    let end = i;
    while (end < lines.length && !blank(lines[end]) && (QUOTE.test(lines[end]) || !beginsBlock(lines, end))) {
        body.push(lines[end].replace(QUOTE, ''));
        end++;
    }
    return {end, block: {type: 'quote', blocks: parseLines(body, depth + 1)}};
}

/* A list's items are its lines with the same kind of marker; deeper lines belong to the item above them. */
function readList(lines, i, depth) {
    const first = ITEM.exec(lines[i]);
    const ordered = /\d/.test(first[2]);
    const base = first[1].length;
    const items = [];
    let body = null;
    let width = 0;
    let loose = false;
    let end = i;
    for (; end < lines.length; end++) {
        const line = lines[end];
        if (blank(line)) {
            body.push('');
            continue;
        }
        const marker = RULE.test(line) ? null : ITEM.exec(line);
        const inside = body !== null && indent(line) >= Math.min(width, base + 2);
        if (marker && !inside) {
            if (indent(line) < base - 1 || /\d/.test(marker[2]) !== ordered || marker[2].at(-1) !== first[2].at(-1)) break;
            loose ||= body !== null && body.at(-1) === '';
            width = Math.min(marker[0].length, marker[1].length + marker[2].length + 4);
            body = [line.slice(marker[0].length)];
            items.push(body);
        } else if (inside || (body.at(-1) !== '' && !beginsBlock(lines, end))) {
            body.push(line.slice(Math.min(indent(line), width)));
        } else {
            break;
        }
    }
    const parsed = items.map((lines_of_item) => {
        const task = TASK.exec(lines_of_item[0]);
        if (task) lines_of_item[0] = lines_of_item[0].slice(task[0].length);
        return {task: task ? task[1] !== ' ' : null, blocks: parseLines(lines_of_item, depth + 1)};
    });
    return {end, block: {type: 'list', ordered, start: ordered ? Number.parseInt(first[2], 10) : null, loose, items: parsed}};
}

function readTable(lines, i, align) {
    const row = (line) => {
        const cells = cellsOf(line).slice(0, align.length);
        while (cells.length < align.length) cells.push('');
        return cells.map((cell) => parseInline(cell));
    };
    const head = row(lines[i]);
    const rows = [];
    let end = i + 2;
    while (end < lines.length && !blank(lines[end]) && lines[end].includes('|')) rows.push(row(lines[end++]));
    return {end, block: {type: 'table', align, head, rows}};
}

function readFormula(lines, i, match) {
    const close = match[1] === '$$' ? '$$' : '\\]';
    let end = i;
    while (end < lines.length && !blank(lines[end])) {
        const text = end === i ? lines[end].slice(match[0].length) : lines[end];
        end++;
        if (text.includes(close)) break;
    }
    return {end, block: {type: 'formula', text: lines.slice(i, end).join('\n').trim()}};
}

function readParagraph(lines, i) {
    let end = i + 1;
    while (end < lines.length && !blank(lines[end]) && !beginsBlock(lines, end) && !FORMULA.test(lines[end])) end++;
    const text = lines.slice(i, end).map((line) => line.trimStart()).join('\n');
    return {end, block: {type: 'paragraph', inline: parseInline(text.trimEnd())}};
}

function readBlock(lines, i, depth) {
    const line = lines[i];
    let match;
    if ((match = FENCE.exec(line)) && !(match[2][0] === '`' && match[3].includes('`'))) return readFence(lines, i, match);
    if ((match = HEADING.exec(line))) return {end: i + 1, block: readHeading(line, match)};
    if (RULE.test(line)) return {end: i + 1, block: {type: 'rule'}};
    if (depth < NESTING_MAX && QUOTE.test(line)) return readQuote(lines, i, depth);
    if (depth < NESTING_MAX && ITEM.test(line)) return readList(lines, i, depth);
    if ((match = tableAt(lines, i))) return readTable(lines, i, match);
    if ((match = FORMULA.exec(line))) return readFormula(lines, i, match);
    return readParagraph(lines, i);
}

/* raw is the block's own source: a block whose source stayed the same need not be drawn again. */
function parseLines(lines, depth) {
    const blocks = [];
    for (let i = 0; i < lines.length; ) {
        if (blank(lines[i])) {
            i++;
            continue;
        }
        const {end, block} = readBlock(lines, i, depth);
        if (depth === 0) block.raw = lines.slice(i, end).join('\n');
        blocks.push(block);
        i = end;
    }
    return blocks;
}

export function parseMarkdown(text) {
    return parseLines(linesOf(text), 0);
}
