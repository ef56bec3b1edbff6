// Verifies JWTs as an API or an authorization server does, by npm's jose.
//
// node peer.js FILE: the file's JSON has a key set, and what each JWT must be. Prints, for each, its
// claims or why it was refused.

import { readFileSync } from "node:fs";
import { createLocalJWKSet, jwtVerify } from "jose";

const { jwks, checks } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const set = createLocalJWKSet(jwks);

async function verify({ token, issuer, audience, algorithm, typ, secret }) {
  const key = secret === null ? set : new TextEncoder().encode(secret);
  const options = {
    issuer,
    audience,
    algorithms: [algorithm],
    requiredClaims: ["iss", "sub", "aud", "exp", "iat", "jti"],
    ...(typ !== null && { typ }),
  };
  try {
    const { payload } = await jwtVerify(token, key, options);
    return { claims: payload };
  } catch (error) {
    return { refused: `${error.code}: ${error.message}` };
  }
}

console.log(JSON.stringify(await Promise.all(checks.map(verify))));
