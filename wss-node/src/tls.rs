//! The TLS policy, and why handshakes fail: TLS 1.3 only, two suites, three groups (DESIGN section 5).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{
    AlertDescription, Error, HandshakeKind, PeerIncompatible, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};
use sealwire_proto::probe::DRILL_ALPN;
use sealwire_proto::validate::sha256;

use crate::certs::CertReader;
use crate::client::TlsFacts;
use crate::client_auth::ClientCertificates;
use crate::tickets::Tickets;

/// Most tickets of one handshake, however many a client asks for.
const MAX_TICKETS: usize = 2;

/// What a server offers: AES-256 first, then ChaCha20; hybrid post-quantum key exchange first.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..default_provider()
    }
}

/// The configuration of all handshakes; certificates come from `reader` at each.
///
/// # Errors
/// rustls does not support the policy: a broken build.
pub(crate) fn server_config(
    reader: CertReader,
    tickets: Arc<Tickets>,
    clients: &Arc<ClientCertificates>,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match clients.verifier() {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(reader));
    config.ignore_client_order = true;
    // A drill's first: whoever offers it among others must get no session either.
    config.alpn_protocols = vec![DRILL_ALPN.to_vec(), b"http/1.1".to_vec()];
    config.ticketer = tickets;
    // A client that comes back opens one connection, and gets the next ticket with it; one that wants two says so
    // (RFC 9149), and a proof wants none.
    config.send_tls13_tickets = 1;
    config.max_tls13_tickets = MAX_TICKETS;
    Ok(Arc::new(config))
}

/// What a finished handshake agreed upon, `took` after the accept.
pub(crate) fn facts(connection: &ServerConnection, took: Duration) -> TlsFacts {
    let name = |suite: SupportedCipherSuite| suite.suite().as_str().unwrap_or("unknown");
    let group = |group: &'static dyn SupportedKxGroup| group.name().as_str().unwrap_or("unknown");
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    TlsFacts {
        server_name: connection.server_name().map(str::to_owned),
        cipher_suite: connection.negotiated_cipher_suite().map_or("unknown", name),
        group: connection.negotiated_key_exchange_group().map_or("unknown", group),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        took,
        client_certificate: certificate.map(|leaf| sha256(leaf)),
    }
}

/// Why a handshake failed, as logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The client speaks no TLS 1.3.
    NoSharedVersion,
    /// The client offers none of the two suites.
    NoSharedCipher,
    /// The client offers none of the three groups.
    NoSharedGroup,
    /// No certificate for the name it asked for.
    UnknownSni,
    /// It speaks something else than HTTP/1.1.
    NoApplicationProtocol,
    /// Plain HTTP on a TLS port.
    PlainHttp,
    /// It took too long.
    Timeout,
    /// It cut the connection.
    Reset,
    /// It said goodbye, with or without an alert that tells more.
    ClientAbort,
    /// The client finds our certificate expired.
    CertificateExpired,
    /// The client knows that our certificate is revoked.
    CertificateRevoked,
    /// The client does not trust our root, or our chain is incomplete.
    UnknownCa,
    /// The client finds our certificate malformed, for another name, or signed with another key.
    BadCertificate,
    /// The client refuses our certificate and does not say why.
    CertificateUnknown,
    /// The certificate that the client presents is none of those that are let in.
    ClientCertificate,
    /// Bytes that are not TLS.
    Malformed,
    /// Anything else.
    Other,
}

impl Reason {
    /// Each of them once, in the order of their numbers.
    pub(crate) const ALL: [Self; 17] = [
        Self::NoSharedVersion,
        Self::NoSharedCipher,
        Self::NoSharedGroup,
        Self::UnknownSni,
        Self::NoApplicationProtocol,
        Self::PlainHttp,
        Self::Timeout,
        Self::Reset,
        Self::ClientAbort,
        Self::CertificateExpired,
        Self::CertificateRevoked,
        Self::UnknownCa,
        Self::BadCertificate,
        Self::CertificateUnknown,
        Self::ClientCertificate,
        Self::Malformed,
        Self::Other,
    ];

    /// In snake case.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoSharedVersion => "no_shared_version",
            Self::NoSharedCipher => "no_shared_cipher",
            Self::NoSharedGroup => "no_shared_group",
            Self::UnknownSni => "unknown_sni",
            Self::NoApplicationProtocol => "no_application_protocol",
            Self::PlainHttp => "plain_http",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::ClientAbort => "client_abort",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateRevoked => "certificate_revoked",
            Self::UnknownCa => "unknown_ca",
            Self::BadCertificate => "bad_certificate",
            Self::CertificateUnknown => "certificate_unknown",
            Self::ClientCertificate => "client_certificate",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    /// Classifies what tokio-rustls returned.
    pub(crate) fn of(error: &io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return Self::of_tls(error);
        }
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::ClientAbort,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(incompatible) => match incompatible {
                PeerIncompatible::NoCipherSuitesInCommon => Self::NoSharedCipher,
                PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
                    Self::NoSharedGroup
                }
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                // rustls looks for this extension before it looks at versions. TLS 1.3 does not go without it
                // (RFC 8446 section 9.2), TLS 1.1 and older do not know it.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired => Self::NoSharedVersion,
                _ => Self::Other,
            },
            Error::NoApplicationProtocol => Self::NoApplicationProtocol,
            // The resolver found nothing for the name.
            Error::General(text) if text.contains("no server certificate chain resolved") => Self::UnknownSni,
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::PeerMisbehaved(_) => {
                Self::Malformed
            }
            Error::InvalidCertificate(_) => Self::ClientCertificate,
            Error::AlertReceived(alert) => match alert {
                AlertDescription::ProtocolVersion => Self::NoSharedVersion,
                AlertDescription::CertificateExpired => Self::CertificateExpired,
                AlertDescription::CertificateRevoked => Self::CertificateRevoked,
                AlertDescription::UnknownCA => Self::UnknownCa,
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                // Sent for a signature that does not match, mostly that of a CA of the same name and another key.
                | AlertDescription::DecryptError
                | AlertDescription::BadCertificateStatusResponse => Self::BadCertificate,
                AlertDescription::CertificateUnknown => Self::CertificateUnknown,
                _ => Self::ClientAbort,
            },
            _ => Self::Other,
        }
    }
}

/// Whether the first bytes of a connection are an HTTP request: a TLS record begins with 22.
pub(crate) fn looks_like_http(first: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] =
        [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN", b"PRI "];
    first.len() >= 4 && METHODS.iter().any(|method| first.starts_with(method))
}

/// The answer to plain HTTP on the TLS port.
pub(crate) fn plain_http_answer() -> String {
    let body = "this port speaks TLS only: use https:// or wss://\n";
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
