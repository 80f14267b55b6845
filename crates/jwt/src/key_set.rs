//! An issuer's public keys (RFC 7517), and whether one of them made a signature.

use aws_lc_rs::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Keys that can be used. A set that cannot be read has none, and verifies nothing.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl KeySet {
    /// The keys of a JSON text that are RSA, P-256, P-384 or Ed25519 and for signatures.
    pub fn parse(text: &str) -> Self {
        let told: Value = serde_json::from_str(text).unwrap_or_default();
        let keys = told.get("keys").and_then(Value::as_array);
        Self {
            keys: keys.into_iter().flatten().filter_map(key).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key that may have made it made this signature. A key with another `kid` or `alg` may not, nor one of
    /// another kind than the algorithm's.
    pub fn verifies(&self, id: Option<&str>, algorithm: &str, data: &[u8], made: &[u8]) -> bool {
        self.keys.iter().any(|key| {
            let named = match (id, &key.id) {
                (Some(wanted), Some(own)) => wanted == own,
                _ => true,
            };
            let fits = key.algorithm.as_deref().is_none_or(|own| own == algorithm);
            named && fits && key.material.verifies(algorithm, data, made)
        })
    }
}

fn key(told: &Value) -> Option<Key> {
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let point = |size: usize| -> Option<Vec<u8>> {
        let (x, y) = (bytes("x")?, bytes("y")?);
        (x.len() == size && y.len() == size).then(|| [&[4][..], &x, &y].concat())
    };
    let material = match (text("kty")?, text("crv")) {
        ("RSA", _) => Material::Rsa {
            n: bytes("n")?,
            e: bytes("e")?,
        },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|key| key.len() == 32)?),
        _ => return None,
    };
    Some(Key {
        id: text("kid").map(str::to_owned),
        algorithm: text("alg").map(str::to_owned),
        material,
    })
}

impl Material {
    fn verifies(&self, algorithm: &str, data: &[u8], made: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => rsa(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, data, made).is_ok()
            }),
            Self::P256(point) => {
                let known: &'static dyn VerificationAlgorithm = &signature::ECDSA_P256_SHA256_FIXED;
                algorithm == "ES256" && verifies(known, point, data, made)
            }
            Self::P384(point) => {
                let known: &'static dyn VerificationAlgorithm = &signature::ECDSA_P384_SHA384_FIXED;
                algorithm == "ES384" && verifies(known, point, data, made)
            }
            Self::Ed25519(key) => {
                algorithm == "EdDSA" && verifies(&signature::ED25519, key, data, made)
            }
        }
    }
}

fn verifies(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    data: &[u8],
    made: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key)
        .verify(data, made)
        .is_ok()
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
