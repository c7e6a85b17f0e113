/* What the tests share: how one looks like, questions that the small model answers, tools. */

import {test} from 'node:test';

import {recorded} from './record.mjs';

export const url = process.env.ESSAIM_URL;
export const base = `${url}/v1`;
export const key = 'not-needed';
export const MODEL = 'deepseek-reasoner';
export const SUM = 'Add 15 and 27.';

/* A test whose answers are all held against the schemas. */
export function clientTest(name, run) {
    test(name, {timeout: 60_000}, async (context) => {
        await run(context);
        await recorded();
    });
}

export const PERSON = {
    type: 'object',
    properties: {name: {type: 'string', maxLength: 12}, age: {type: 'integer', minimum: 0, maximum: 120}, tags: {type: 'array', items: {enum: ['a', 'b']}, maxItems: 2}},
    required: ['name', 'age', 'tags'],
    additionalProperties: false,
};

export const CALCULATOR = {
    type: 'object',
    properties: {a: {type: 'integer', minimum: 0, maximum: 999}, b: {type: 'integer', minimum: 0, maximum: 999}, operation: {type: 'string', enum: ['add', 'subtract']}},
    required: ['a', 'b', 'operation'],
    additionalProperties: false,
};

export function isCalculation(value) {
    return Number.isInteger(value.a) && Number.isInteger(value.b) && ['add', 'subtract'].includes(value.operation) && Object.keys(value).length === 3;
}

export function isPerson(value) {
    return typeof value.name === 'string' && value.name.length <= 12 && value.age >= 0 && value.age <= 120 && value.tags.length <= 2 && Object.keys(value).length === 3;
}
