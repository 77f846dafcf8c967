// Looks one citizen up through the gateway, with undici (npm install undici; Node 18 or newer).
//
//   export GATEWAY_URL=https://gateway.example:8443
//   export GATEWAY_CA=gateway-ca.pem        # the authority of the gateway's certificate
//   export GATEWAY_IDENTITY=system.pem      # this system's certificate and private key
//   node lookup.js < keys.json              # {"id": "...", "full_name": "...", "date_of_birth": "..."}
//
// Prints the fields that this system may see, one a line. Ends with 2 if nobody matches, with 1 if refused.
'use strict';

const fs = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { Agent, request } = require('undici');

const { GATEWAY_URL, GATEWAY_CA, GATEWAY_IDENTITY, GATEWAY_PURPOSE = 'assessment' } = process.env;
const ATTEMPTS = 5;
const LONGEST = 60; // seconds: what would take longer is for an operator

async function lookUp(agent, keys) {
    for (let attempt = 1; ; attempt++) {
        const { statusCode, headers, body } = await request(`${GATEWAY_URL}/population/v1/citizens/lookup`, {
            dispatcher: agent,
            method: 'POST',
            headers: { 'content-type': 'application/json', 'gateway-purpose': GATEWAY_PURPOSE },
            body: JSON.stringify(keys),
            headersTimeout: 30_000,
        });
        const answer = await body.json();
        // Over the rate, or something behind the gateway is down for now: it says in how many seconds to come again.
        const wait = Number(headers['retry-after'] ?? LONGEST + 1);
        if (![429, 503, 504].includes(statusCode) || wait > LONGEST || attempt === ATTEMPTS) {
            return { statusCode, headers, answer };
        }
        console.error(`${statusCode} ${answer.code}: again in ${wait} s`);
        await sleep(wait * 1000);
    }
}

// Every field with its path, such as `permanent_residence.province`. A field that is withheld is not there.
function* fields(value, name = '') {
    if (value !== null && typeof value === 'object') {
        for (const [key, member] of Object.entries(value)) yield* fields(member, name ? `${name}.${key}` : key);
    } else {
        yield [name, value];
    }
}

async function main() {
    const identity = fs.readFileSync(GATEWAY_IDENTITY);
    const agent = new Agent({ connect: { ca: fs.readFileSync(GATEWAY_CA), cert: identity, key: identity } });
    try {
        const { statusCode, headers, answer } = await lookUp(agent, JSON.parse(fs.readFileSync(0, 'utf8')));
        if (statusCode === 200) {
            for (const [name, value] of fields(answer)) console.log(`${name}: ${value}`);
            return 0;
        }
        // application/problem+json: `code` is stable, `detail` says what to do.
        if (answer.code === 'no_match') {
            console.error('nobody matches: check the number, the name and the date of birth');
            return 2;
        }
        console.error(`refused: ${answer.code}: ${answer.detail} (request ${headers['gateway-request-id']})`);
        return 1;
    } finally {
        await agent.close();
    }
}

main().then(
    (code) => (process.exitCode = code),
    (error) => {
        console.error(`no answer: ${error.message}`);
        process.exitCode = 1;
    },
);
