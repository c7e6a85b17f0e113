/* Vercel's AI SDK, with its DeepSeek and its OpenAI-compatible provider. */

import assert from 'node:assert/strict';

import {createDeepSeek} from '@ai-sdk/deepseek';
import {createOpenAICompatible} from '@ai-sdk/openai-compatible';
import {generateText, jsonSchema, Output, stepCountIs, streamText, tool} from 'ai';

import {base, CALCULATOR, clientTest, isCalculation, isPerson, key, MODEL, PERSON, SUM} from './common.mjs';

/* This provider sends no temperature when the model thinks: with a seed the answers are the same each time all the same. */
const seeded = (input, init) => fetch(input, {...init, body: JSON.stringify({seed: 1, ...JSON.parse(init.body)})});

const PROVIDERS = {
    '@ai-sdk/deepseek': createDeepSeek({baseURL: base, apiKey: key, fetch: seeded}),
    '@ai-sdk/openai-compatible': createOpenAICompatible({name: 'essaim', baseURL: base, apiKey: key, includeUsage: true, supportsStructuredOutputs: true}),
};

for (const [name, provider] of Object.entries(PROVIDERS)) {
    const ask = (more = {}) => ({model: provider(MODEL), temperature: 0, maxRetries: 0, prompt: SUM, ...more});

    clientTest(`${name}: a question gets its answer, its thoughts apart`, async () => {
        const {text, reasoningText, finishReason, usage} = await generateText(ask());
        assert.match(text, /42/);
        assert.ok(reasoningText.length > 0);
        assert.equal(finishReason, 'stop');
        assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
    });

    clientTest(`${name}: a stream says what the whole answer says`, async () => {
        const whole = await generateText(ask());
        const result = streamText(ask());
        let [text, reasoning] = ['', ''];
        for await (const part of result.fullStream) {
            if (part.type === 'error') throw part.error;
            if (part.type === 'text-delta') text += part.text;
            if (part.type === 'reasoning-delta') reasoning += part.text;
        }
        assert.equal(text, whole.text);
        assert.equal(reasoning, whole.reasoningText);
        assert.ok((await result.totalUsage).outputTokens > 0);
    });

    clientTest(`${name}: a tool is called, its result goes back, the model goes on`, async () => {
        const calls = [];
        const execute = async (input) => {
            calls.push(input);
            return {result: 42};
        };
        const {steps} = await generateText(
            ask({
                tools: {calculate: tool({description: 'Adds or subtracts', inputSchema: jsonSchema(CALCULATOR), execute})},
                toolChoice: 'required',
                stopWhen: stepCountIs(2),
                maxOutputTokens: 400,
            }),
        );
        assert.ok(calls.length >= 1 && calls.every(isCalculation), JSON.stringify(calls));
        assert.equal(steps[0].finishReason, 'tool-calls');
        assert.equal(steps.length, 2);
    });

    clientTest(`${name}: structured output`, async () => {
        const asked = generateText(ask({output: Output.object({schema: jsonSchema(PERSON)}), maxOutputTokens: 600}));
        if (name === '@ai-sdk/openai-compatible') return assert.ok(isPerson((await asked).output));
        /* This provider asks for json_object and tells the schema in words, which the small model does not read: any object may come, and
         * one that does not end within its length. */
        const {text, finishReason} = await asked.then((result) => result, (error) => error);
        assert.match(text, /^\s*\{/);
        if (finishReason !== 'length') assert.equal(typeof JSON.parse(text), 'object');
    });

    clientTest(`${name}: an answer that is no longer wanted is stopped`, async () => {
        const controller = new AbortController();
        let aborted = false;
        const result = streamText(ask({prompt: 'Sort 9, 4, 7 and 1.', abortSignal: controller.signal, onAbort: () => (aborted = true)}));
        for await (const part of result.fullStream) if (part.type === 'reasoning-delta' || part.type === 'text-delta') controller.abort();
        assert.ok(aborted);
    });

    clientTest(`${name}: a model that is not there is an error with its message`, async () => {
        await assert.rejects(generateText(ask({model: provider('no-such-model')})), (error) => error.statusCode === 404 && /no-such-model/.test(error.message));
    });
}
