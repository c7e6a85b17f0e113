/* Markdown: what it becomes, and what it must never become. */

import assert from 'node:assert/strict';

import {answer, answered, ask, pageTest} from './browser.mjs';

/* Shows a text as the model's answer, cut into chunks at odd places. */
async function show(page, text) {
    await page.route('**/v1/chat/completions', (route) => {
        const pieces = text.match(/[^]{1,7}/gu) ?? [];
        const chunk = (delta, finish_reason = null) => `data: ${JSON.stringify({id: 'x', object: 'chat.completion.chunk', created: 1, model: 'x', choices: [{index: 0, delta, finish_reason}]})}\n\n`;
        const body = [chunk({role: 'assistant', content: ''}), chunk({reasoning_content: text}), ...pieces.map((content) => chunk({content})), chunk({}, 'stop'), 'data: [DONE]\n\n'].join('');
        route.fulfill({status: 200, contentType: 'text/event-stream', body});
    });
    await ask(page, 'Show it.');
    await answered(page);
    return answer(page).locator('> .prose');
}

const CASES = [
    ['# One\n## Two', '<h2>One</h2><h2>Two</h2>'],
    ['a *b* **c** ***d*** ~~e~~ `f`', '<p>a <em>b</em> <strong>c</strong> <em><strong>d</strong></em> <s>e</s> <code>f</code></p>'],
    ['snake_case_name 2 * 3 * 4', '<p>snake_case_name 2 * 3 * 4</p>'],
    ['- a\n  - b\n- c', '<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>'],
    ['3. a\n4. b', '<ol start="3"><li>a</li><li>b</li></ol>'],
    ['| a | b |\n|---|--:|\n| 1 | `x\\|y` |', '<div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td><code>x|y</code></td></tr></tbody></table></div>'],
    ['> q\n> r\n\np', '<blockquote><p>q<br>r</p></blockquote><p>p</p>'],
    ['[l](https://a.example/b_(c))', '<p><a href="https://a.example/b_(c)">l</a></p>'],
    ['see https://a.example/x.', '<p>see <a href="https://a.example/x">https://a.example/x</a>.</p>'],
    ['![alt](https://a.example/i.png)', '<p><a href="https://a.example/i.png">alt</a></p>'],
    ['$a_1*b$ and \\(x_1*y\\) cost $5 and $6', '<p><span>$a_1*b$</span> and <span>\\(x_1*y\\)</span> cost $5 and $6</p>'],
    ['$$\nx_1\n$$', '<p>$$\nx_1\n$$</p>'],
    ['a\n\n---\n\nb', '<p>a</p><hr><p>b</p>'],
    ['a &amp; b<br>c <b>d</b>', '<p>a &amp; b<br>c &lt;b&gt;d&lt;/b&gt;</p>'],
];

pageTest('markdown becomes what it says', {}, async (page) => {
    for (const [markdown, html] of CASES) {
        const got = await page.evaluate(async (text) => {
            const {MarkdownView} = await import('/markdown_dom.js');
            const view = new MarkdownView();
            view.show(text);
            for (const node of view.node.querySelectorAll('*'))
                for (const {name} of [...node.attributes]) if (!['href', 'start'].includes(name)) node.removeAttribute(name);
            return view.node.innerHTML;
        }, markdown);
        assert.equal(got, html, markdown);
    }
});

pageTest('a text that grows ends as the whole text', {}, async (page) => {
    const text = CASES.map(([markdown]) => markdown).join('\n\n') + '\n\n```c\nint x; // y\n```\nend';
    const same = await page.evaluate(async (whole) => {
        const {MarkdownView} = await import('/markdown_dom.js');
        const [grown, at_once] = [new MarkdownView(), new MarkdownView()];
        for (let i = 0; i <= whole.length; i++) grown.show(whole.slice(0, i));
        at_once.show(whole);
        return grown.node.innerHTML === at_once.node.innerHTML;
    }, text);
    assert.ok(same);
});

pageTest('code is coloured, keeps its text and is copied', {}, async (page) => {
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    const code = 'int main(void)\n{\n    return 0; // <b>fine</b>\n}';
    const prose = await show(page, `Here:\n\n\`\`\`c\n${code}\n\`\`\`\n`);
    assert.equal(await prose.locator('pre').innerText(), code);
    assert.ok((await prose.locator('.code-word').count()) >= 3);
    await prose.getByRole('button', {name: 'Copy the code'}).click();
    await prose.getByText('Copied').waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), code);
});

const HOSTILE = [
    '<script>window.hacked = 1</script>',
    '<img src=x onerror="window.hacked = 1">',
    '<svg onload="window.hacked = 1"><a xlink:href="javascript:window.hacked=1">x</a></svg>',
    '<iframe src="javascript:parent.hacked=1"></iframe><object data="x"></object><embed src="x">',
    '<style>body { display: none }</style><link rel=stylesheet href="https://evil.example/x.css"><base href="https://evil.example/">',
    '[a](javascript:window.hacked=1) [b](JaVaScRiPt:window.hacked=1) [c](java\u0000script:alert(1)) [d](\u0001javascript:alert(1))',
    '[e](data:text/html,<script>window.hacked=1</script>) [f](vbscript:x) [g](blob:x) [h](file:///etc/passwd) [i](//evil.example) [j](&#106;avascript:x)',
    '![k](javascript:window.hacked=1) ![l](https://evil.example/pixel.png) ![m](x" onerror="window.hacked=1)',
    '<javascript:window.hacked=1> <https://a.example/" onmouseover="window.hacked=1>',
    'https://a.example/"onmouseover="window.hacked=1 and http://a.example/<script>window.hacked=1</script>',
    '[n](https://a.example "title" onclick="window.hacked=1") [o](https://a.example/"onclick="x)',
    '```"><script>window.hacked=1</script>\n</code></pre><script>window.hacked=1</script>\n```',
    '| <script>window.hacked=1</script> | b |\n|---|---|\n| <img src=x onerror=window.hacked=1> | [p](javascript:x) |',
    '# <img src=x onerror=window.hacked=1>\n> <script>window.hacked=1</script>\n\n- [ ] <script>window.hacked=1</script>',
    '$<script>window.hacked=1</script>$ \\(<img src=x onerror=window.hacked=1>\\) `<script>window.hacked=1</script>`',
    '&lt;script&gt;window.hacked=1&lt;/script&gt; <form action="https://evil.example"><input name=x><button>go</button></form>',
];

pageTest('hostile markdown stays text: no element, no handler, no address of its own comes of it', {}, async (page) => {
    const prose = await show(page, HOSTILE.join('\n\n'));
    await page.locator('.thought-button').click(); /* its thoughts are the same text */
    const found = await page.evaluate(() => {
        const allowed = 'A BLOCKQUOTE BR BUTTON CODE DIV EM H2 H3 H4 H5 H6 HR LI OL P PRE S SPAN STRONG TABLE TBODY TD TH THEAD TR UL svg path I'.split(' ');
        const all = [...document.querySelectorAll('#messages *')];
        return {
            hacked: window.hacked,
            elements: all.filter((node) => !allowed.includes(node.tagName)).map((node) => node.tagName),
            handlers: all.flatMap((node) => [...node.attributes].filter(({name}) => name.startsWith('on') || name === 'style' || name === 'src').map(({name}) => name)),
            schemes: [...new Set([...document.querySelectorAll('#messages a')].map((link) => link.protocol))],
            links: [...document.querySelectorAll('#messages a')].every((link) => link.rel.includes('noopener') && link.target === '_blank'),
            base: document.baseURI,
        };
    });
    assert.deepEqual({...found, base: undefined}, {hacked: undefined, elements: [], handlers: [], schemes: ['https:', 'http:'].filter((scheme) => found.schemes.includes(scheme)), links: true, base: undefined});
    assert.ok(found.schemes.length > 0 && !found.base.includes('evil'));
    assert.match(await prose.innerText(), /<script>window\.hacked = 1<\/script>/);
    for (const link of await prose.locator('a').all()) {
        await link.hover();
        await link.focus();
    }
    assert.equal(await page.evaluate(() => window.hacked), undefined);
});

pageTest('a hostile question, name and settings stay text too', {}, async (page) => {
    const payload = '<img src=x onerror="window.hacked=1">';
    await show(page, payload);
    await ask(page, payload);
    await answered(page);
    const row = page.locator('.conversation');
    await row.hover();
    await row.getByRole('button', {name: 'Rename'}).click();
    await page.getByLabel('New name').fill(payload);
    await page.keyboard.press('Enter');
    await page.getByRole('button', {name: 'Settings'}).click();
    await page.getByLabel('System prompt').fill(payload);
    await page.getByRole('button', {name: 'Done'}).click();
    await page.reload();
    await answered(page);
    assert.equal(await page.locator('#messages img, #sidebar li img, #title img').count(), 0);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
});

pageTest('texts made to be slow are not', {}, async (page) => {
    const slow = await page.evaluate(async () => {
        const {parseMarkdown} = await import('/markdown.js');
        const {highlight} = await import('/highlight.js');
        const units = ['*a ', '**a *b ', '[', '![', '[a](', '[a](http://b)', '`a``b', '\\(', '$a ', '<http://a', '> ', '- ', '- a\n', '|a\n', 'http://', '# ', '_a_', '/*', '"""', 'a-', '<', '#'];
        const late = [];
        for (const unit of units) {
            const text = unit.repeat(20_000);
            const begun = performance.now();
            parseMarkdown(text);
            for (const language of ['c', 'js', 'python', 'shell', 'html', 'sql']) highlight(text.slice(0, 50_000), language);
            if (performance.now() - begun > 3000) late.push([unit, performance.now() - begun]);
        }
        return late;
    });
    assert.deepEqual(slow, []);
});
