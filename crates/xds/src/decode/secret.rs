//! Secrets by SDS: keys with their chains, and trust bundles. No message of this file holds their bytes.

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use hauberk_config::secret::{KeyPair, Material, Secret};

use super::value::inline;
use super::{At, Decoded, required};

pub fn secret(told: &tls::Secret) -> Decoded<Secret> {
    let material = material(told).at(&told.name)?;
    Ok(Secret {
        name: told.name.as_str().into(),
        material,
    })
}

fn material(told: &tls::Secret) -> Decoded<Material> {
    use tls::secret::Type as T;
    Ok(match required(told.r#type.as_ref(), "type")? {
        T::TlsCertificate(pair) => Material::Certificate(KeyPair {
            private_key_pem: Bytes::from(
                inline(pair.private_key.as_ref())
                    .map_err(|_| WHERE)
                    .at("private_key")?,
            ),
            chain_pem: Bytes::from(
                inline(pair.certificate_chain.as_ref())
                    .map_err(|_| WHERE)
                    .at("certificate_chain")?,
            ),
        }),
        T::ValidationContext(context) => Material::TrustBundle {
            pem: Bytes::from(
                inline(context.trusted_ca.as_ref())
                    .map_err(|_| WHERE)
                    .at("trusted_ca")?,
            ),
        },
        _ => {
            return Err(
                "type: expected tls_certificate or validation_context, found another".into(),
            );
        }
    })
}

const WHERE: &str = "expected inline data, found a reference";

impl<T> At<T> for Result<T, &'static str> {
    fn at(self, place: &str) -> Decoded<T> {
        self.map_err(|error| format!("{place}: {error}"))
    }
}
