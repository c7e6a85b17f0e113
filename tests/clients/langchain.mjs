/* LangChain's DeepSeek chat model. */

import assert from 'node:assert/strict';

import {AIMessage, HumanMessage, SystemMessage, ToolMessage} from '@langchain/core/messages';
import {ChatDeepSeek} from '@langchain/deepseek';

import {base, CALCULATOR, clientTest, isCalculation, isPerson, key, MODEL, PERSON, SUM} from './common.mjs';

const chat = (more = {}) => new ChatDeepSeek({model: MODEL, apiKey: key, temperature: 0, maxRetries: 0, configuration: {baseURL: base}, ...more});

clientTest('langchain: a question gets its answer, its thoughts apart', async () => {
    const message = await chat().invoke(SUM);
    assert.match(message.content, /42/);
    assert.ok(message.additional_kwargs.reasoning_content.length > 0);
    assert.ok(message.usage_metadata.output_tokens > 0);
});

clientTest('langchain: a stream says what the whole answer says', async () => {
    const whole = await chat().invoke(SUM);
    let [text, thoughts, tokens] = ['', '', 0];
    for await (const chunk of await chat().stream(SUM)) {
        text += chunk.content;
        thoughts += chunk.additional_kwargs.reasoning_content ?? '';
        tokens = chunk.usage_metadata?.output_tokens ?? tokens;
    }
    assert.equal(text, whole.content);
    assert.equal(thoughts, whole.additional_kwargs.reasoning_content);
    assert.equal(tokens, whole.usage_metadata.output_tokens);
});

clientTest('langchain: tools are bound, called and answered', async () => {
    const definition = {type: 'function', function: {name: 'calculate', description: 'Adds or subtracts', parameters: CALCULATOR}};
    const model = chat({maxTokens: 400}).bindTools([definition], {tool_choice: 'required'});
    const question = [new SystemMessage('Be exact.'), new HumanMessage(SUM)];
    const message = await model.invoke(question);
    assert.ok(message.tool_calls.length >= 1);
    for (const call of message.tool_calls) assert.ok(isCalculation(call.args), JSON.stringify(call.args));
    const results = message.tool_calls.map((call) => new ToolMessage({tool_call_id: call.id, content: '42'}));
    const next = await chat({maxTokens: 60}).invoke([...question, message, ...results]);
    assert.ok(next instanceof AIMessage);
});

clientTest('langchain: structured output, by schema and by function', async () => {
    for (const method of ['jsonSchema', 'functionCalling']) {
        const value = await chat({maxTokens: 600}).withStructuredOutput(PERSON, {name: 'person', method}).invoke('Describe someone.');
        assert.ok(isPerson(value), JSON.stringify(value));
    }
});

clientTest('langchain: several questions at once', async () => {
    const messages = await chat().batch(['Add 15 and 27.', 'Add 2 and 3.', 'Add 40 and 4.']);
    assert.deepEqual(messages.map((message) => /42|5|44/.test(message.content)), [true, true, true]);
});

clientTest('langchain: an answer that is no longer wanted is stopped', async () => {
    const controller = new AbortController();
    await assert.rejects(async () => {
        for await (const chunk of await chat().stream('Sort 9, 4, 7 and 1.', {signal: controller.signal}))
            if (chunk.content !== '' || chunk.additional_kwargs.reasoning_content) controller.abort();
    });
});
