// An oidc-provider on 127.0.0.1, set up for phantom tokens: opaque access tokens, introspection
// (RFC 7662, RFC 9701), revocation, and a JWT beside every access token.
//
//     node server.js PORT
//
// Prints "ready" once it listens, and ends when its standard input does.

import { webcrypto } from 'node:crypto';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';

globalThis.crypto ??= webcrypto; // Node.js 18
const { Provider } = await import('oidc-provider');

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = await generateKeyPair('RS256', { extractable: true });
const signingKey = { ...(await exportJWK(privateKey)), alg: 'RS256', kid: 'signing', use: 'sig' };

// The phantom token: a claim of the access token, so that introspection answers carry it.
async function phantomToken(token) {
  const jwt = new SignJWT({ client_id: token.clientId, scope: token.scope })
    .setProtectedHeader({ alg: 'RS256', kid: 'signing', typ: 'at+jwt' })
    .setIssuer(issuer)
    .setSubject(token.accountId ?? token.clientId)
    .setAudience('api')
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + token.expiration);
  return jwt.sign(privateKey);
}

const machine = {
  client_secret: 'Password1',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
};

const provider = new Provider(issuer, {
  clients: [
    { ...machine, client_id: 'test-client', scope: 'read write' },
    { ...machine, client_id: 'short-lived', scope: 'read' },
    // Its tokens have no JWT beside them.
    { ...machine, client_id: 'without-jwt', scope: 'read' },
    { ...machine, client_id: 'introspection-client' },
    // Form-urlencoding changes this secret (RFC 6749 section 2.3.1).
    { ...machine, client_id: 'introspection:client', client_secret: 'p+ss w%rd/&' },
    {
      ...machine,
      client_id: 'introspection-post',
      token_endpoint_auth_method: 'client_secret_post',
    },
    {
      ...machine,
      client_id: 'introspection-signed',
      introspection_signed_response_alg: 'RS256',
    },
  ],
  extraTokenClaims: async (ctx, token) =>
    token.clientId === 'without-jwt' ? undefined : { phantom_token: await phantomToken(token) },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: {
      enabled: true,
      allowedPolicy: (ctx, client, token) =>
        client.clientId.startsWith('introspection') &&
        ['AccessToken', 'ClientCredentials'].includes(token.kind),
    },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
  },
  jwks: { keys: [signingKey] },
  // With the last one there are refresh tokens.
  scopes: ['read', 'write', 'offline_access'],
  ttl: { ClientCredentials: (ctx, token, client) => (client.clientId === 'short-lived' ? 2 : 300) },
});

// A refresh token, which no grant of these clients gives.
provider.use(async (ctx, next) => {
  if (ctx.path !== '/refresh-token') return next();
  const client = await provider.Client.find('test-client');
  const accountId = 'alice';
  const grantId = await new provider.Grant({ clientId: client.clientId, accountId }).save();
  const token = new provider.RefreshToken({
    accountId, client, grantId, gty: 'authorization_code', scope: 'read',
  });
  ctx.body = await token.save();
});

provider.listen(port, '127.0.0.1', () => console.log('ready'));
process.stdin.on('end', () => process.exit(0)).resume();
