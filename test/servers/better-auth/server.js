// better-auth with its OAuth provider on 127.0.0.1: opaque access tokens for one API, and a client
// of a gateway's that may ask about them.
//
//     node server.js PORT [CERTIFICATE KEY]
//
// All is in memory: clients and the user are made at each start, by its own interface.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { oauthProvider } from '@better-auth/oauth-provider';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { toNodeHandler } from 'better-auth/node';

const [port, certificate, key] = process.argv.slice(2);
const limit = Number(process.env.INTROSPECTIONS_A_MINUTE);
const introspect = limit ? { window: 60, max: limit } : false;
const origin = `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`;

const API = 'https://api.example.com';
const SHORT = 'https://short.example.com';
const OTHER = 'https://other.example.com';

// It makes up ids and secrets itself unless it is told how.
let next = {};

const tables = ['user', 'session', 'account', 'verification', 'jwks', 'rateLimit'].concat(
  ['oauthClient', 'oauthResource', 'oauthClientResource', 'oauthAccessToken', 'oauthRefreshToken'],
  ['oauthConsent', 'oauthClientAssertion'],
);

const auth = betterAuth({
  baseURL: origin,
  secret: 'of a test, and longer than thirty-two letters',
  database: memoryAdapter(Object.fromEntries(tables.map((name) => [name, []]))),
  emailAndPassword: { enabled: true },
  // Node.js does not say "production" here; a server that runs somewhere does.
  rateLimit: { enabled: true },
  telemetry: { enabled: false },
  plugins: [
    oauthProvider({
      loginPage: '/login',
      consentPage: '/consent',
      scopes: ['openid', 'offline_access', 'read', 'write'],
      // Access tokens for a resource are JWTs otherwise, and cannot be revoked.
      disableJwtPlugin: true,
      resources: [API, OTHER, { identifier: SHORT, accessTokenTtl: 4 }],
      enforcePerClientResources: false,
      clientPrivileges: () => true,
      resourcePrivileges: () => true,
      generateClientId: () => next.id,
      generateClientSecret: () => next.secret,
      // 100 a minute unless it is told otherwise, invented tokens too: a gateway's calls are more.
      rateLimit: { authorize: false, introspect, revoke: false, token: false },
    }),
  ],
});

const user = { name: 'Alice', email: 'alice@example.com', password: 'wonderland' };
const signedUp = await auth.api.signUpEmail({ body: user, asResponse: true });
const cookies = signedUp.headers.getSetCookie().map((cookie) => cookie.split(';')[0]);
const headers = new Headers({ cookie: cookies.join('; ') });

async function client(id, secret, more) {
  next = { id, secret };
  const body = { client_name: id, redirect_uris: ['https://app.example.com/callback'], ...more };
  await auth.api.adminCreateOAuthClient({ body, headers });
}

// Who may ask about a resource's tokens.
async function link(client_id, identifier) {
  await auth.api.adminLinkClientResource({ params: { identifier, client_id }, headers });
}

const machine = {
  grant_types: ['client_credentials'],
  client_credentials_scopes: ['read', 'write'],
  token_endpoint_auth_method: 'client_secret_basic',
};
await client('api-gateway', 'Password1', machine);
await client('special', 'p+ss w%rd/&=u"', machine);
await client('app', 'Password1', machine);
await client('person', 'Password1', {
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  scope: 'openid offline_access read',
  skip_consent: true,
  token_endpoint_auth_method: 'client_secret_basic',
});

for (const gateway of ['api-gateway', 'special']) {
  await link(gateway, API);
  await link(gateway, SHORT);
}

const handler = toNodeHandler(auth);
const server = certificate
  ? https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, handler)
  : http.createServer(handler);
server.listen(Number(port), '127.0.0.1');
