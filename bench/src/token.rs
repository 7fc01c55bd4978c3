//! Tokens for a node: an ES256 key of one's own, its public half as `token.keys` wants it, and a JWT.

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use sealwire_tests::world::World;
use serde_json::json;

/// Seconds; longer than any benchmark runs.
const LIFETIME_S: i64 = 86_400;

/// Writes the public key into the world; gives the lines of a node's configuration that ask for tokens of it, and a
/// token.
///
/// # Errors
/// No key could be made.
pub fn required(world: &World) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let path = world.write("token.pem", &key.public_key_pem());
    let config = format!("[token]\nkeys = [{path:?}]\n");
    let claims = json!({ "sub": "bench", "exp": jiff::Timestamp::now().as_second() + LIFETIME_S });
    let signer = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes())?;
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &signer).context("a token")?;
    Ok((config, token))
}
