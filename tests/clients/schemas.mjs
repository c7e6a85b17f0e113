/* JSON Schemas made from the types that the clients themselves are published with, and kept beside them until they change. */

import {existsSync, readFileSync, writeFileSync} from 'node:fs';

import Ajv from 'ajv';
import {createGenerator} from 'ts-json-schema-generator';

import {environment} from './server.mjs';

const SOURCES = [
    ['openai/resources/chat/completions/completions.d.ts', ['ChatCompletion', 'ChatCompletionChunk']],
    ['openai/resources/completions.d.ts', ['Completion']],
    ['openai/resources/models.d.ts', ['Model']],
    ['openai/resources/shared.d.ts', ['ErrorObject']],
    ['@anthropic-ai/sdk/resources/messages/messages.d.ts', ['Message', 'RawMessageStreamEvent', 'MessageTokensCount']],
];

function generate(modules) {
    const schemas = {};
    for (const [source, types] of SOURCES) {
        const generator = createGenerator({path: `${modules}/${source}`, skipTypeCheck: true, additionalProperties: false, encodeRefs: false});
        for (const type of types) schemas[type] = generator.createSchema(type);
    }
    return schemas;
}

function load() {
    const home = environment('ESSAIM_NPM');
    const kept = `${home}/schemas.json`;
    const versions = readFileSync(`${home}/installed`, 'utf8') + JSON.stringify(SOURCES);
    if (existsSync(kept)) {
        const {of, schemas} = JSON.parse(readFileSync(kept, 'utf8'));
        if (of === versions) return schemas;
    }
    const schemas = generate(`${home}/node_modules`);
    writeFileSync(kept, JSON.stringify({of: versions, schemas}));
    return schemas;
}

const isText = (value) => value === null || typeof value === 'string';
const isCount = (value) => Number.isInteger(value) && value >= 0;

/* What is there beside OpenAI's types: DeepSeek's own, and what other servers say of a model; by the place where it stands and what it
 * must be. Everything else that is not in the types is an error. */
const BESIDE = {
    'delta.reasoning_content': isText,
    'message.reasoning_content': isText,
    'message.tool_calls.index': isCount,
    'logprobs.reasoning_content': (value) => value === null || Array.isArray(value),
    'usage.prompt_cache_hit_tokens': isCount,
    'usage.prompt_cache_miss_tokens': isCount,
    '.root': isText,
    '.max_model_len': isCount,
};

function checkBeside(path, value) {
    const name = Object.keys(BESIDE).find((place) => place === path || (!place.startsWith('.') && path.endsWith(`.${place}`)));
    if (name && !BESIDE[name](value)) throw new Error(`${path} is ${JSON.stringify(value)}`);
    return name !== undefined;
}

/* A copy without what stands beside the types. */
function ofTypes(value, path) {
    if (Array.isArray(value)) return value.map((item) => ofTypes(item, path));
    if (value === null || typeof value !== 'object') return value;
    const members = Object.entries(value).filter(([key, member]) => !checkBeside(`${path}.${key}`, member));
    return Object.fromEntries(members.map(([key, member]) => [key, ofTypes(member, `${path}.${key}`)]));
}

const ajv = new Ajv({strict: false, allErrors: true, allowUnionTypes: true});
const validators = Object.fromEntries(Object.entries(load()).map(([type, schema]) => [type, ajv.compile(schema)]));

/* Throws when value is no `type`, saying where. */
export function validate(type, value) {
    const valid = validators[type];
    if (valid(ofTypes(value, ''))) return;
    const problems = valid.errors.slice(0, 6).map(({instancePath, message, params}) => `${instancePath || '/'} ${message} ${JSON.stringify(params)}`);
    throw new Error(`not a ${type}: ${problems.join('; ')}\n${JSON.stringify(value)}`);
}
