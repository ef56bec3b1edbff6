"""Verifies JWTs as an API or an authorization server does, by PyPI's joserfc or PyJWT.

python peer.py joserfc|pyjwt FILE: the file's JSON has key sets, and what each JWT must be. Prints, for
each set and each JWT, its claims or why it was refused.
"""

import json
import sys
import warnings

REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti"]

# Both warn of Ed25519's first name, which is the one that most verifiers know.
warnings.simplefilter("ignore")


def by_joserfc(jwks):
    from joserfc import jwt
    from joserfc.jwk import KeySet, OctKey

    key_set = KeySet.import_key_set(jwks) if jwks["keys"] else None

    def verify(check):
        secret = check["secret"]
        key = key_set if secret is None else OctKey.import_key(secret)
        token = jwt.decode(check["token"], key, algorithms=[check["algorithm"]])
        if check["typ"] is not None and token.header.get("typ") != check["typ"]:
            raise ValueError("another typ")
        required = {name: {"essential": True} for name in REQUIRED}
        required["iss"]["value"] = check["issuer"]
        required["aud"]["value"] = check["audience"]
        jwt.JWTClaimsRegistry(**required).validate(token.claims)
        return token.claims

    return verify


def by_pyjwt(jwks):
    import jwt

    key_set = jwt.PyJWKSet.from_dict(jwks) if jwks["keys"] else None

    def key_of(token):
        kid = jwt.get_unverified_header(token).get("kid")
        if kid is None and len(key_set.keys) == 1:
            return key_set.keys[0]
        return key_set[kid]

    def verify(check):
        secret, token = check["secret"], check["token"]
        if check["typ"] is not None and jwt.get_unverified_header(token).get("typ") != check["typ"]:
            raise ValueError("another typ")
        return jwt.decode(
            token,
            key_of(token) if secret is None else secret,
            algorithms=[check["algorithm"]],
            issuer=check["issuer"],
            audience=check["audience"],
            options={"require": REQUIRED},
        )

    return verify


def verdicts(verify, checks):
    said = []
    for check in checks:
        try:
            said.append({"claims": verify(check)})
        # Each library has its own.
        except Exception as error:
            said.append({"refused": f"{type(error).__name__}: {error}"})
    return said


def main():
    library, file = sys.argv[1:]
    with open(file, encoding="utf-8") as text:
        given = json.load(text)
    by = {"joserfc": by_joserfc, "pyjwt": by_pyjwt}[library]
    print(json.dumps([verdicts(by(one["jwks"]), one["checks"]) for one in given]))


main()
