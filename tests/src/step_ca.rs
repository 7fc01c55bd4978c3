//! step-ca, the private CA of Smallstep, as a process of a world: an ACME server that is not of Let's Encrypt's
//! making.

use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio::net::TcpStream;

use crate::pebble::start_dns;
use crate::process::Process;
use crate::world::World;
use crate::{eventually, tools};

/// A running step-ca.
#[derive(Debug)]
pub struct StepCa {
    /// TOML of an issuer named "step".
    pub issuer: String,
    /// Its log has a line of JSON for each request.
    pub server: Process,
    _dns: Process,
}

impl StepCa {
    /// Starts it with an ACME provisioner, and a DNS server that answers every name with the world's address.
    /// `None` if they are not installed (never in CI).
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start(world: &World) -> Option<Self> {
        let (program, dns) = (tools::find("bin/step-ca")?, start_dns(world)?);
        hierarchy(world).unwrap_or_else(|error| panic!("step-ca's certificates: {error}"));
        let (address, dir) = (world.address, world.path("").display().to_string());
        let config = world.write(
            "step-ca.json",
            &format!(
                r#"{{"root": "{dir}step-root.pem", "crt": "{dir}step-intermediate.pem", "key": "{dir}step-intermediate.key",
                    "address": "{address}:14001", "dnsNames": ["{address}"], "logger": {{"format": "json"}},
                    "db": {{"type": "badgerv2", "dataSource": "{dir}step-db"}},
                    "authority": {{"provisioners": [{{"type": "ACME", "name": "acme",
                        "claims": {{"defaultTLSCertDuration": "72h", "maxTLSCertDuration": "72h"}}}}]}}}}"#
            ),
        );
        let mut command = Command::new(program);
        // The ports that challenges go to can be moved with --insecure only.
        command.args(["--insecure", "--acme-http-port", "5002", "--acme-tls-port", "5001"]);
        command.args(["--resolver", &format!("{address}:8053")]).arg(config);
        let server = Process::start("step-ca", &mut command);
        eventually("step-ca", Duration::from_secs(30), || async {
            TcpStream::connect((address, 14001)).await.ok()
        })
        .await;
        let issuer = format!(
            "[acme.step]\ndirectory = \"https://{address}:14001/acme/acme/directory\"\nterms_of_service_agreed = true\n\
             ca_file = \"{dir}step-root.pem\"\ntrust_roots = \"{dir}step-root.pem\"\n"
        );
        Some(Self { issuer, server, _dns: dns })
    }
}

/// Writes a root, an intermediate and its key.
fn hierarchy(world: &World) -> Result<(), rcgen::Error> {
    let authority = |name: &str, below: u8| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let root = CertifiedIssuer::self_signed(authority("Step test root", 1), KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = authority("Step test intermediate", 0);
    params.use_authority_key_identifier_extension = true;
    let intermediate = params.signed_by(&key, &root)?;
    world.write("step-root.pem", &root.pem());
    world.write("step-intermediate.pem", &intermediate.pem());
    world.write("step-intermediate.key", &key.serialize_pem());
    Ok(())
}
