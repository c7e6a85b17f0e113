/* JSON Schemas made from the types that the clients themselves are published with, and kept beside them until they change. */

import {existsSync, readFileSync, writeFileSync} from 'node:fs';

import Ajv from 'ajv';
import {createGenerator} from 'ts-json-schema-generator';

import {environment} from './server.mjs';

const ANTHROPIC = ['Message', 'RawMessageStreamEvent', 'MessageTokensCount'];

const SOURCES = [
    ['openai/resources/chat/completions/completions.d.ts', ['ChatCompletion', 'ChatCompletionChunk']],
    ['openai/resources/completions.d.ts', ['Completion']],
    ['openai/resources/models.d.ts', ['Model']],
    ['openai/resources/shared.d.ts', ['ErrorObject']],
    ['@anthropic-ai/sdk/resources/messages/messages.d.ts', ANTHROPIC],
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

/* Anthropic's types say of everything that was ever added that it is there, if only as null; servers older than an addition leave it
 * out, and so do we. What this server has to say is still asked for. */
const OURS = ['stop_reason', 'stop_sequence', 'cache_creation_input_tokens', 'cache_read_input_tokens'];
const ADDED = ['caller'];

function withoutAdditions(schema) {
    if (Array.isArray(schema)) return schema.map((item) => withoutAdditions(item));
    if (schema === null || typeof schema !== 'object') return schema;
    const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, withoutAdditions(value)]));
    const may_be_null = ({type, anyOf = []}) => type === 'null' || (Array.isArray(type) && type.includes('null')) || anyOf.some(may_be_null);
    if (Array.isArray(copy.required) && copy.properties)
        copy.required = copy.required.filter((name) => OURS.includes(name) || !(ADDED.includes(name) || may_be_null(copy.properties[name])));
    return copy;
}

function compile(type, schema) {
    return ajv.compile(ANTHROPIC.includes(type) ? withoutAdditions(schema) : schema);
}

const ajv = new Ajv({strict: false, allErrors: true, allowUnionTypes: true});
const validators = Object.fromEntries(Object.entries(load()).map(([type, schema]) => [type, compile(type, schema)]));

/* Throws when value is no `type`, saying where. */
export function validate(type, value) {
    const valid = validators[type];
    if (valid(ofTypes(value, ''))) return;
    const problems = valid.errors.slice(0, 6).map(({instancePath, message, params}) => `${instancePath || '/'} ${message} ${JSON.stringify(params)}`);
    throw new Error(`not a ${type}: ${problems.join('; ')}\n${JSON.stringify(value)}`);
}
