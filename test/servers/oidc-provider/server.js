// An oidc-provider on 127.0.0.1, set up as the documentation's recipe has it: opaque access tokens,
// introspection (RFC 7662, RFC 9701), revocation, and a JWT beside every access token.
//
//     node server.js PORT [CERTIFICATE KEY CLIENT]
//
// With a certificate and its key (PEM files) it speaks HTTPS and asks clients for their certificates;
// CLIENT is that of the gateway's client. The environment's CLIENTS is JSON: a list of further clients;
// where one has a member `key`, a private key in PEM, it authenticates by that.

import { X509Certificate, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const [port, certificate, key, client] = process.argv.slice(2);
const issuer = `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`;
const { privateKey } = await generateKeyPair('RS256', { extractable: true });
const signingKey = { ...(await exportJWK(privateKey)), alg: 'RS256', kid: 'signing', use: 'sig' };

// The phantom token: a claim of the access token, so that introspection answers carry it.
async function phantomToken(token) {
  const jwt = new SignJWT({ client_id: token.clientId, scope: token.scope })
    .setProtectedHeader({ alg: 'RS256', kid: 'signing', typ: 'at+jwt' })
    .setIssuer(issuer)
    .setSubject(token.accountId ?? token.clientId)
    .setAudience(token.aud ?? 'api')
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

const clients = [
  { ...machine, client_id: 'app', scope: 'read write' },
  { ...machine, client_id: 'short-lived', scope: 'read' },
  // Its tokens have no JWT beside them.
  { ...machine, client_id: 'without-jwt', scope: 'read' },
  {
    ...machine,
    client_id: 'person',
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: ['https://127.0.0.1/callback'],
    response_types: ['code'],
    scope: 'openid offline_access read',
  },
  { ...machine, client_id: 'mcp-client', scope: 'mcp mcp:write' },
  { ...machine, client_id: 'gateway' },
  // Form-urlencoding changes this secret (RFC 6749 section 2.3.1).
  { ...machine, client_id: 'gateway-special', client_secret: 'p+ss w%rd/&' },
  { ...machine, client_id: 'gateway-signed', introspection_signed_response_alg: 'RS256' },
  {
    ...machine,
    client_id: 'gateway-encrypted',
    client_secret: 'a secret of 32 bytes for A128KW.',
    introspection_encrypted_response_alg: 'A128KW',
    introspection_encrypted_response_enc: 'A128GCM',
  },
];

if (client) {
  // Its key is known, whoever issued the certificate (RFC 8705 section 2.2).
  const { publicKey, raw } = new X509Certificate(readFileSync(client));
  const keys = [{ ...publicKey.export({ format: 'jwk' }), x5c: [raw.toString('base64')] }];
  const byCertificate = {
    ...machine,
    client_secret: undefined,
    jwks: { keys },
    token_endpoint_auth_method: 'self_signed_tls_client_auth',
  };
  clients.push(
    { ...byCertificate, client_id: 'gateway-mtls' },
    {
      ...byCertificate,
      client_id: 'app-mtls',
      scope: 'read',
      tls_client_certificate_bound_access_tokens: true,
    },
  );
}

// They sign assertions (RFC 7523).
for (const { key, ...further } of JSON.parse(process.env.CLIENTS ?? '[]')) {
  const byKey = key && {
    client_secret: undefined,
    jwks: { keys: [createPublicKey(key).export({ format: 'jwk' })] },
  };
  clients.push({ ...machine, ...further, ...byKey });
}

// Resources (RFC 8707): one with opaque tokens, one with JWTs.
const resources = { 'urn:other-api': 'opaque', 'urn:jwt-api': 'jwt' };

const provider = new Provider(issuer, {
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'self_signed_tls_client_auth',
  ],
  clients,
  enabledJWA: {
    introspectionEncryptionAlgValues: ['A128KW'],
    introspectionEncryptionEncValues: ['A128GCM'],
  },
  extraTokenClaims: async (ctx, token) =>
    token.clientId === 'without-jwt' ? undefined : { phantom_token: await phantomToken(token) },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    encryption: { enabled: true },
    introspection: {
      enabled: true,
      allowedPolicy: (ctx, client, token) =>
        client.clientId.startsWith('gateway') && isAccessToken(token),
    },
    jwtIntrospection: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => ctx.req.socket.getPeerX509Certificate?.()?.toString(),
      selfSignedTlsClientAuth: true,
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'read mcp mcp:write',
        accessTokenFormat: resources[resource],
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
    revocation: { enabled: true },
  },
  jwks: { keys: [signingKey] },
  scopes: ['openid', 'offline_access', 'read', 'write', 'mcp', 'mcp:write'],
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
