//! Why a file is not taken as a key, in words that say what to write.

/// What is wrong with a key. Its words hold nothing of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyError {
    /// No PEM at all.
    #[error(
        "it holds no PEM block: write \"openssl genpkey -algorithm EC -pkeyopt \
         ec_paramgen_curve:P-256 -out FILE\", or convert DER with \"openssl pkey -inform DER\""
    )]
    NoPem,
    /// A byte order mark, as of UTF-16.
    #[error("it begins with a byte order mark: save it as plain ASCII text")]
    ByteOrderMark,
    /// More than one PEM block.
    #[error("it holds several PEM blocks: write one key to a file, without certificates")]
    Several,
    /// A PEM block without its end, or with something else than a key in it.
    #[error("the key is damaged")]
    Damaged,
    /// PKCS #8 that asks for a pass phrase.
    #[error("the key is encrypted: write \"openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW_FILE\"")]
    Encrypted,
    /// SEC 1 or PKCS #1.
    #[error(
        "the key is not in PKCS #8: convert it with \"openssl pkcs8 -topk8 -nocrypt -in FILE -out \
         NEW_FILE\""
    )]
    NotPkcs8,
    /// A public key in PKCS #1.
    #[error(
        "the public key has the form of PKCS #1: convert it with \"openssl rsa -RSAPublicKey_in \
         -in FILE -pubout -out NEW_FILE\""
    )]
    Pkcs1Public,
    /// A certificate.
    #[error(
        "it holds a certificate, not a key: take its public key with \"openssl x509 -in FILE \
         -noout -pubkey\""
    )]
    Certificate,
    /// A PEM block of something else.
    #[error(
        "its PEM block is no key: it must begin with \"-----BEGIN PRIVATE KEY-----\", or with \
             \"-----BEGIN PUBLIC KEY-----\""
    )]
    Label,
    /// A curve that is not offered, or one that is not named.
    #[error(
        "the key is on a curve that is not supported: write \"openssl genpkey -algorithm EC \
         -pkeyopt ec_paramgen_curve:P-256\""
    )]
    Curve,
    /// Neither RSA nor EC nor Ed25519.
    #[error(
        "the key is of a kind that is not supported: write \"openssl genpkey -algorithm EC \
         -pkeyopt ec_paramgen_curve:P-256\""
    )]
    Kind,
    /// A private EC key whose point is left out, compressed, or another key's.
    #[error(
        "the key has no public key in it, or a compressed one: write \"openssl ec -in FILE \
         -conv_form uncompressed\", and convert the result with \"openssl pkcs8 -topk8 -nocrypt\""
    )]
    Point,
    /// A public EC key that is compressed.
    #[error(
        "the public key is compressed: write \"openssl ec -pubin -in FILE -conv_form uncompressed \
         -pubout\""
    )]
    PublicPoint,
    /// RSA below 2048 bits.
    #[error(
        "the RSA key is too small: write \"openssl genpkey -algorithm RSA -pkeyopt \
             rsa_keygen_bits:2048\", or take P-256"
    )]
    RsaTooSmall,
    /// RSA above 8192 bits.
    #[error("the RSA key is too large: no more than 8192 bits are supported")]
    RsaTooLarge,
    /// A private RSA key of another size than those that sign.
    #[error(
        "the RSA key has a size that is not supported: a key that signs has 2048, 3072 or \
             4096 bits"
    )]
    RsaPrivateSize,
    /// A public key where one must sign.
    #[error("it holds a public key, and a private one is needed")]
    PrivateNeeded,
    /// A private key where one is only published.
    #[error(
        "it holds a private key, and a public one is needed: write \"openssl pkey -in FILE \
             -pubout\""
    )]
    PublicNeeded,
    /// An algorithm of another kind of key.
    #[error(
        "the algorithm does not fit the key: RS256, RS384, RS512, PS256, PS384 and PS512 take \
             RSA, ES256 takes P-256, ES384 takes P-384, EdDSA takes Ed25519"
    )]
    Algorithm,
    /// A secret for HS256 that is shorter than its digest (RFC 7518 §3.2).
    #[error("the secret is too short: HS256 takes 32 bytes or more")]
    ShortSecret,
}
