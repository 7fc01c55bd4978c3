//! `sealwire inspect`

use std::path::Path;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::probe;
use sealwire_proto::v1::ChainRequest;
use sealwire_proto::validate::LeafFacts;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::client::{connect, failure, question};
use super::text::from_now;
use super::{Failure, Global, Outcome};

/// Limit of the handshake with a server.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A PEM or DER file, HOST:PORT, or the name of a configured certificate.
    what: String,
    /// The name to ask a server for, if it differs from HOST.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

impl Inspect {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let chain = if Path::new(&self.what).is_file() {
            in_file(Path::new(&self.what))?
        } else if self.what.contains(':') {
            self.at_server().await?
        } else {
            at_agent(global, &self.what).await?
        };
        print!("{}", describe(&chain, Timestamp::now())?);
        Ok(())
    }

    async fn at_server(&self) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let usage = |error: probe::ProbeError| Failure::Usage(error.to_string());
        let (host, port) = probe::host_and_port(&self.what).map_err(usage)?;
        let name = self.server_name.as_deref().unwrap_or(&host);
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let seen = probe::handshake(&address, name, TIMEOUT).await;
        let seen = seen.map_err(|error| Failure::Failed(error.to_string()))?;
        println!("{address} as {name}: {} {} in {:.1?}", seen.protocol, seen.cipher_suite, seen.took);
        Ok(seen.chain)
    }
}

fn in_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |detail: String| Failure::Failed(format!("{}: {detail}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    // DER begins with a SEQUENCE of long form; PEM is text.
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(vec![CertificateDer::from(bytes)]);
    }
    crate::store::chain_from_pem(&bytes).map_err(failed)
}

async fn at_agent(global: &Global, name: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let request = ChainRequest { certificate: name.to_owned() };
    let reply = connect(global).await?.chain(question(request)).await.map_err(|status| failure(&status))?;
    let reply = reply.into_inner();
    println!("{name}: generation {}", reply.generation);
    Ok(reply.chain.into_iter().map(CertificateDer::from).collect())
}

fn describe(chain: &[CertificateDer<'static>], now: Timestamp) -> Result<String, Failure> {
    use std::fmt::Write;
    let mut text = String::new();
    for (position, der) in chain.iter().enumerate() {
        let failed = |detail: String| Failure::Failed(format!("certificate {}: {detail}", position + 1));
        let facts = LeafFacts::parse(der).map_err(|rejection| failed(rejection.detail))?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| failed(error.to_string()))?;
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        let (begin, end) = (at(facts.not_before), at(facts.not_after));
        let total = (end.as_second() - begin.as_second()).max(1);
        let used = (now.as_second() - begin.as_second()) * 100 / total;
        let subject = parsed.subject().to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\ncertificate {} of {}", position + 1, chain.len());
        let _ = writeln!(text, "  subject     {}", if subject.is_empty() { "(empty)" } else { &subject });
        let _ = writeln!(text, "  issuer      {}", facts.issuer);
        let _ = writeln!(text, "  serial      {}", facts.serial);
        if !facts.names.is_empty() {
            let _ = writeln!(text, "  names       {}", facts.names.join(", "));
        }
        let _ = writeln!(text, "  valid from  {begin} ({})", from_now(now, begin));
        let _ = writeln!(text, "  valid to    {end} ({}, {used} % used)", from_now(now, end));
        let _ = writeln!(text, "  key         {}", key_of(&parsed));
        let _ = writeln!(text, "  sha256      {}", sealwire_proto::hex(&facts.sha256));
    }
    let trust = match sealwire_proto::validate::trust(chain, &Anchors::platform(), UnixTime::now()) {
        Ok(()) => "yes".to_owned(),
        Err(rejection) => format!("no ({rejection})"),
    };
    let _ = writeln!(text, "\ntrusted by the operating system's roots: {trust}");
    Ok(text)
}

fn key_of(certificate: &X509Certificate<'_>) -> String {
    use x509_parser::public_key::PublicKey;
    match certificate.public_key().parsed() {
        Ok(PublicKey::EC(point)) => format!("EC, {} bits", point.key_size()),
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        _ => certificate.public_key().algorithm.algorithm.to_string(),
    }
}
