// An oidc-provider on 127.0.0.1, set up as the documentation's recipe has it: opaque access tokens,
// introspection (RFC 7662, RFC 9701), revocation, and a JWT beside every access token.
//
//     node server.js PORT [CERTIFICATE KEY]
//
// With a certificate and its key it speaks HTTPS and asks clients for theirs.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const [port, certificate, key] = process.argv.slice(2);
const issuer = `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`;
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

// The gateway's clients ask about access tokens alone: without the kind's check a refresh token
// would be active too.
const isAccessToken = (token) => ['AccessToken', 'ClientCredentials'].includes(token.kind);

const machine = {
  client_secret: 'Password1',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
};

const provider = new Provider(issuer, {
  clients: [
    { ...machine, client_id: 'app', scope: 'read' },
    { ...machine, client_id: 'short-lived', scope: 'read' },
    {
      ...machine,
      client_id: 'person',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: ['https://127.0.0.1/callback'],
      scope: 'openid offline_access read',
    },
    { ...machine, client_id: 'api-gateway' },
    // Form-urlencoding changes this secret (RFC 6749 section 2.3.1).
    { ...machine, client_id: 'api:gateway', client_secret: 'p+ss w%rd/&' },
    { ...machine, client_id: 'api-gateway-post', token_endpoint_auth_method: 'client_secret_post' },
    { ...machine, client_id: 'api-gateway-signed', introspection_signed_response_alg: 'RS256' },
  ],
  extraTokenClaims: async (ctx, token) => ({ phantom_token: await phantomToken(token) }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: {
      enabled: true,
      allowedPolicy: (ctx, client, token) =>
        client.clientId.startsWith('api') && isAccessToken(token),
    },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
  },
  jwks: { keys: [signingKey] },
  scopes: ['openid', 'offline_access', 'read', 'write'],
  ttl: { ClientCredentials: (ctx, token, client) => (client.clientId === 'short-lived' ? 2 : 300) },
});

const server = certificate
  ? https.createServer(
      {
        cert: readFileSync(certificate),
        key: readFileSync(key),
        requestCert: true,
        rejectUnauthorized: false,
      },
      provider.callback(),
    )
  : http.createServer(provider.callback());
server.listen(Number(port), '127.0.0.1');
