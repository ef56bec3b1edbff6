//! Every kind of file that may be named as a key.

use super::{PRIVATE, open, verifies};
use crate::jose::algorithm::{Algorithm, KeyKind};
use crate::jose::key::{Key, KeyError, PublicKey, SigningKey, read};
use crate::jose::sign::Header;

#[test]
fn a_key_of_each_kind_signs_by_each_algorithm_of_its_kind() {
    for (name, kind, pem) in PRIVATE {
        let key = SigningKey::from_pem(pem).expect(name);
        assert_eq!(key.algorithm(), kind.algorithm(), "{name}");
        for algorithm in Algorithm::ALL {
            let key = key.clone().with_algorithm(algorithm);
            if algorithm.kind() != kind {
                assert_eq!(key.err(), Some(KeyError::Algorithm), "{name} {algorithm:?}");
                continue;
            }
            let key = key.expect(name);
            let header = Header { typ: Some("t\"t"), kid: Some("k") };
            let jws = key.sign(header, b"{\"a\":1}").expect("a JWS");
            let (header, payload, ..) = open(&jws);
            let alg = algorithm.name();
            assert_eq!(header, serde_json::json!({ "alg": alg, "typ": "t\"t", "kid": "k" }));
            assert_eq!(payload, serde_json::json!({ "a": 1 }));
            assert!(verifies(key.public(), &jws), "{name} {algorithm:?}");
            for other in Algorithm::ALL {
                let Ok(other_key) = key.public().clone().with_algorithm(other) else { continue };
                let same = other == algorithm || kind == KeyKind::Ed25519;
                assert_eq!(verifies(&other_key, &jws), same, "{name} {algorithm:?} {other:?}");
            }
        }
    }
}

#[test]
fn a_public_key_is_its_private_key_s() {
    for (name, private, public) in [
        ("p256", PRIVATE[0].2, &include_bytes!("keys/p256.pub.pem")[..]),
        ("p384", PRIVATE[1].2, include_bytes!("keys/p384.pub.pem")),
        ("ed25519", PRIVATE[2].2, include_bytes!("keys/ed25519.pub.pem")),
        ("rsa2048", PRIVATE[3].2, include_bytes!("keys/rsa2048.pub.pem")),
    ] {
        let private = SigningKey::from_pem(private).expect(name);
        let known = PublicKey::from_pem(public).expect(name);
        assert_eq!(private.public(), &known, "{name}");
        assert_eq!(private.kid(), known.kid());
        assert_eq!(PublicKey::from_pem(PRIVATE[0].2), Err(KeyError::PublicNeeded));
        assert_eq!(SigningKey::from_pem(public).err(), Some(KeyError::PrivateNeeded));
    }
    let largest = PublicKey::from_pem(include_bytes!("keys/rsa8192.pub.pem")).expect("8192 bits");
    assert_eq!(largest.algorithm(), Algorithm::Rs256);
}

/// Files that are refused, each for its own reason.
#[test]
fn another_file_is_refused_with_words_for_it() {
    macro_rules! files {
        ($($name:literal: $error:ident),+ $(,)?) => {
            [$(($name, &include_bytes!(concat!("keys/refused/", $name))[..], KeyError::$error)),+]
        };
    }
    for (name, file, error) in files![
        "certificate.pem": Certificate,
        "curve_explicit.pem": Curve,
        "curve_p521.pem": Curve,
        "curve_p521.pub.pem": Curve,
        "curve_secp256k1.pem": Curve,
        "encrypted.pem": Encrypted,
        "kind_dsa.pem": Kind,
        "kind_ed448.pem": Kind,
        "kind_rsa_pss.pem": Kind,
        "kind_x25519.pem": Kind,
        "label_openssh.pem": Label,
        "no_pem.der": NoPem,
        "not_pkcs8_pkcs1.pem": NotPkcs8,
        "not_pkcs8_pkcs1_encrypted.pem": NotPkcs8,
        "not_pkcs8_sec1.pem": NotPkcs8,
        "not_pkcs8_sec1_with_parameters.pem": NotPkcs8,
        "pkcs1_public.pub.pem": Pkcs1Public,
        "point_compressed.pem": Point,
        "point_compressed.pub.pem": PublicPoint,
        "point_none.pem": Point,
        "rsa_private_size.pem": RsaPrivateSize,
        "rsa_too_small.pem": RsaTooSmall,
        "rsa_too_small.pub.pem": RsaTooSmall,
        "several_keys.pem": Several,
        "several_with_certificate.pem": Several,
    ] {
        assert_eq!(read(file).err(), Some(error), "{name}");
        let words = error.to_string();
        assert!(words.starts_with("the ") || words.starts_with("it ") || words.starts_with("its "));
        assert!(!words.contains("  ") && !words.ends_with('.'), "{words}");
    }
    for text in ["", "\n", "-----BEGIN PRIVATE KEY", "p256.pem"] {
        assert_eq!(read(text.as_bytes()).err(), Some(KeyError::NoPem), "{text}");
    }
}

#[test]
fn text_around_the_block_and_other_line_ends_make_no_difference() {
    let pem = std::str::from_utf8(PRIVATE[0].2).expect("text");
    let kid = SigningKey::from_pem(pem.as_bytes()).expect("a key").kid();
    for text in [
        pem.replace('\n', "\r\n"),
        pem.trim_end().to_owned(),
        format!("Bag Attributes\n    friendlyName: key\n{pem}\n"),
        pem.lines().map(|line| format!("{line}  \n")).collect(),
    ] {
        assert_eq!(SigningKey::from_pem(text.as_bytes()).expect("a key").kid(), kid);
    }
    let damaged = [
        pem.replace("-----END PRIVATE KEY-----", ""),
        pem.replace("-----END PRIVATE", "-----END PUBLIC"),
        pem.replacen('M', "", 1),
        pem.replacen("\nMIG", "\nMIH", 1),
        pem.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n", 1),
    ];
    for text in damaged {
        assert_eq!(SigningKey::from_pem(text.as_bytes()).err(), Some(KeyError::Damaged), "{text}");
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let pem = std::str::from_utf8(PRIVATE[0].2).expect("text");
    let wide: Vec<_> = format!("\u{feff}{pem}").encode_utf16().collect();
    for text in [
        format!("\u{feff}{pem}").into_bytes(),
        wide.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        wide.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
    ] {
        assert_eq!(read(&text).err(), Some(KeyError::ByteOrderMark));
    }
}

/// A key whose parts were changed is never taken, wherever the change is.
#[test]
fn a_damaged_key_is_refused_or_is_another_sound_one() {
    for (name, kind, pem) in &PRIVATE[..4] {
        let own = SigningKey::from_pem(pem).expect(name).kid();
        let len = pem.len() / 3 * 2;
        // RSA is slow here: every 37th byte will do.
        for at in (0..len).step_by(if *kind == KeyKind::Rsa { 37 } else { 1 }) {
            let text =
                changed(pem, |der| der.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1));
            if let Ok(Key::Private(key)) = read(&text) {
                // An Ed25519 seed is 32 bytes of any kind; RSA's `d` is not used.
                assert!(key.kid() == own || *kind == KeyKind::Ed25519, "{name} at {at}");
                let jws = key.sign(Header::default(), b"{}").expect("a JWS");
                assert!(verifies(key.public(), &jws), "{name} at {at}");
            }
        }
    }
}

/// Public keys that are no keys of their kind.
#[test]
fn a_point_off_the_curve_and_a_hopeless_exponent_are_refused() {
    let ec: [&[u8]; 2] = [include_bytes!("keys/p256.pub.pem"), include_bytes!("keys/p384.pub.pem")];
    for pem in ec {
        for at in [1, 20, 40] {
            let refused =
                read(&changed(pem, |der| *der.iter_mut().nth_back(at).expect("a byte") ^= 1));
            assert_eq!(refused.err(), Some(KeyError::Damaged));
        }
    }
    let rsa = include_bytes!("keys/rsa2048.pub.pem");
    // The exponent is the last of it: 65537.
    for (exponent, fits) in [([1, 0, 1], true), ([0, 0x80, 1], true), ([1, 0, 0], false)] {
        let pem = changed(rsa, |der| {
            let at = der.len() - 3;
            der[at..].copy_from_slice(&exponent);
        });
        assert_eq!(read(&pem).is_ok(), fits, "{exponent:?}");
    }
    let even = changed(rsa, |der| {
        let at = der.len() - 6;
        der[at] &= 0xfe;
    });
    assert_eq!(read(&even).err(), Some(KeyError::Damaged));
}

/// The same block with other bytes in it.
fn changed(pem: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let pem = std::str::from_utf8(pem).expect("text");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = base64.decode(&body).expect("base64");
    change(&mut der);
    let lines: Vec<_> = pem.lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    format!("{first}\n{}\n{last}\n", base64.encode(&der)).into_bytes()
}
