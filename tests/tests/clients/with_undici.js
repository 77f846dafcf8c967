// Asks the gateway with Node's undici (npm install undici).
//
//   node with_undici.js https://gateway.example:8443 gateway-ca.pem system.pem 2
//
// system.pem holds the system's certificate and its private key; the last argument is the HTTP version, 1.1 or 2.
// Prints one JSON object with the answers.
'use strict';

const fs = require('node:fs');
const { Pool } = require('undici');

const [gateway, authority, identity, version] = process.argv.slice(2);
const citizen = { id: '001187974118', full_name: 'Lê Thị Hoa', date_of_birth: '1987-03-14' };
const forAssessment = { 'gateway-purpose': 'assessment' };

const pem = fs.readFileSync(identity);
const client = new Pool(gateway, {
    allowH2: version === '2',
    connect: { ca: fs.readFileSync(authority), cert: pem, key: pem },
});

const post = (path, body) =>
    client.request({
        path,
        method: 'POST',
        headers: { ...forAssessment, 'content-type': 'application/json' },
        body: JSON.stringify(body),
    });

async function shown(answer) {
    const { statusCode, body } = await answer;
    const json = await body.json();
    if (statusCode !== 200) throw new Error(`refused: ${statusCode} ${json.code}`);
    return json;
}

async function main() {
    // Names are UTF-8. Composed (NFC) and decomposed (NFD) spellings are the same name.
    const lookups = [];
    for (const form of ['NFC', 'NFD']) {
        const keys = { ...citizen, full_name: citizen.full_name.normalize(form) };
        lookups.push(await shown(post('/population/v1/citizens/lookup', keys)));
    }

    const path = `/population/v1/citizens/${citizen.id}`;
    const read = await shown(client.request({ path, method: 'GET', headers: forAssessment }));

    // Which of these claims are right? The answer is yes or no for each.
    const verified = await shown(post('/population/v1/citizens/verify', { ...citizen, phone: '0900000000' }));

    // Without a purpose the gateway refuses: application/problem+json, where `code` is stable and `detail` says what to do.
    const answer = await client.request({ path, method: 'GET' });
    const { code, detail } = await answer.body.json();
    const refused = { status: answer.statusCode, code, detail };

    console.log(JSON.stringify({ lookups, read, verified, refused }));
}

main()
    .catch((error) => {
        console.error(error);
        process.exitCode = 1;
    })
    .finally(() => client.close());
