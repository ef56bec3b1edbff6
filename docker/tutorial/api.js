// The API of the tutorial: it shows the JWT it was sent, and what is in it. It checks nothing; a real
// API verifies the signature, issuer, audience and lifetime first.

const { createServer } = require('node:http');

const port = Number(process.argv[2] ?? 3000);

const server = createServer((request, response) => {
  const jwt = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const answer = { message: `API Received JWT: ${jwt ?? '[NONE]'}` };
  if (jwt) {
    answer.tokenPayload = JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url'));
  }
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(`${JSON.stringify(answer, null, 2)}\n`);
});

server.listen(port, () => console.log(`Server listening on port ${server.address().port}`));
