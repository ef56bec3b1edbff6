// Verifies JWTs as an API or an authorization server does, by npm's jose.
//
// node peer.js FILE: the file's JSON has key sets, and what each JWT must be. Prints, for each set and
// each JWT, its claims or why it was refused.

import { readFileSync } from "node:fs";
import { createLocalJWKSet, jwtVerify } from "jose";

async function verify(set, { token, issuer, audience, algorithm, typ, secret }) {
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

const given = JSON.parse(readFileSync(process.argv[2], "utf8"));
const verdicts = given.map(({ jwks, checks }) => {
  const set = createLocalJWKSet(jwks);
  return Promise.all(checks.map((check) => verify(set, check)));
});
console.log(JSON.stringify(await Promise.all(verdicts)));
