//! What the Sealwire agent and the nodes it feeds share: the messages, the Unix sockets they travel on,
//! the checks a bundle must pass on either side, and the handshake that proves what is served.

pub mod anchors;
pub mod ocsp;
#[cfg(feature = "cli")]
pub mod pages;
pub mod probe;
pub mod secret;
pub mod sessions;
mod signatures;
pub mod socket;
pub mod validate;

/// The messages and services of package `sealwire.v1`, generated from `proto/sealwire/v1/*.proto`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("sealwire.v1");

    // Written by hand because prost's own would print the private key.
    impl std::fmt::Debug for Bundle {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Bundle")
                .field("certificate", &self.certificate)
                .field("generation", &self.generation)
                .field("chain_len", &self.chain.len())
                .field("key", &"<secret>")
                .finish_non_exhaustive()
        }
    }

    // The key is wiped wherever a bundle goes out of scope. Copies inside the buffers of HTTP/2 cannot
    // be reached from here: docs/security.md says so.
    impl Drop for Bundle {
        fn drop(&mut self) {
            zeroize::Zeroize::zeroize(&mut self.key);
        }
    }
}

/// Puts the parts of an agent's status together.
///
/// # Errors
/// What the agent or the transport said.
pub async fn whole_status(
    mut parts: tonic::Streaming<v1::StatusReply>,
) -> Result<v1::StatusReply, tonic::Status> {
    let mut whole = v1::StatusReply::default();
    let mut first = true;
    while let Some(part) = parts.message().await? {
        if std::mem::take(&mut first) {
            whole = part;
        } else {
            whole.certificates.extend(part.certificates);
        }
    }
    Ok(whole)
}

/// Version of the delivery protocol spoken by this crate (`Hello.protocol_version`).
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest message either side accepts: a bundle with [`validate::MAX_CHAIN_LEN`] certificates fits many
/// times over.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Lower-case hexadecimal, as digests and serial numbers are shown everywhere.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes aws-lc-rs the TLS provider of the whole process. Every binary calls it first: crates that look
/// up the default provider (reqwest, for one) panic when there is none.
pub fn install_crypto_provider() {
    // An error only says that one is installed already, which is what we want.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
