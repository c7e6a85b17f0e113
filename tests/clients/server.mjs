/* The real server: `essaim up` with the small model, on a port of its own. */

import {spawn} from 'node:child_process';
import {createServer} from 'node:net';
import {setTimeout as sleep} from 'node:timers/promises';

const READY_MS = 60_000;
const END_MS = 20_000;

export function environment(name) {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set: run this through ctest`);
    return value;
}

export async function freePort() {
    const socket = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => socket.once('listening', resolve));
    const {port} = socket.address();
    await new Promise((resolve) => socket.close(resolve));
    return port;
}

/* {url, port, kill(signal), stop()}. The coordinator and the nodes end with it. */
export async function startServer({port, args = [], wait = true} = {}) {
    port ??= await freePort();
    const model = `${environment('ESSAIM_SOURCE')}/models/tiny-r1`;
    const words = ['up', '--model', model, '--experts', '2', '--port', String(port), ...args];
    const child = spawn(`${environment('ESSAIM_BUILD')}/essaim`, words, {stdio: ['ignore', 'pipe', 'pipe']});
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output = (output + text).slice(-20_000)));
    const gone = new Promise((resolve) => child.once('exit', (code, signal) => resolve({code, signal})));
    const end = () => child.kill('SIGKILL');
    process.once('exit', end);
    gone.then(() => process.off('exit', end));
    const server = {url: `http://127.0.0.1:${port}`, port, child, gone, output: () => output};
    server.stop = async (signal = 'SIGTERM') => {
        child.kill(signal);
        const ended = await Promise.race([gone, sleep(END_MS, null, {ref: false})]);
        if (ended === null) {
            child.kill('SIGKILL');
            throw new Error(`the server did not end in ${END_MS / 1000} s:\n${output}`);
        }
        return ended;
    };
    if (wait) await untilReady(server);
    return server;
}

export async function untilReady(server) {
    const deadline = Date.now() + READY_MS;
    let ended = null;
    server.gone.then((how) => (ended = how));
    while (Date.now() < deadline) {
        if (ended) throw new Error(`the server ended (${JSON.stringify(ended)}):\n${server.output()}`);
        const ok = await fetch(`${server.url}/health`).then((response) => response.ok, () => false);
        if (ok) return;
        await sleep(50);
    }
    await server.stop('SIGKILL');
    throw new Error(`the server was not ready in ${READY_MS / 1000} s:\n${server.output()}`);
}
