//! Pebble, Let's Encrypt's test CA, with its DNS server, as processes of a world.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::hook::Dns;
use crate::process::Process;
use crate::world::World;
use crate::{eventually, tools};

/// A running Pebble.
#[derive(Debug)]
pub struct Pebble {
    /// TOML of an issuer named "pebble".
    pub issuer: String,
    /// Pebble's own log tells what it was asked.
    pub server: Process,
    address: Ipv4Addr,
    _dns: Process,
}

impl Pebble {
    /// Starts Pebble and its DNS server, which answers every name with the world's address. `None` if they
    /// are not installed (never in CI).
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start(world: &World, environment: &[(&str, &str)]) -> Option<Self> {
        Self::start_with(world, environment, "", "").await
    }

    /// As [`Pebble::start`], but asking another DNS server about names.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start_with_dns(
        world: &World,
        environment: &[(&str, &str)],
        dns_server: SocketAddr,
    ) -> Option<Self> {
        Self::launch(world, environment, dns_server, "", "").await
    }

    /// As [`Pebble::start`], with members of its configuration (of two of one name the last counts) and profiles (JSON,
    /// each followed by a comma). An order without a profile gets any of them.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start_with(
        world: &World,
        environment: &[(&str, &str)],
        extra: &str,
        profiles: &str,
    ) -> Option<Self> {
        Self::launch(world, environment, (world.address, 8053).into(), extra, profiles).await
    }

    async fn launch(
        world: &World,
        environment: &[(&str, &str)],
        dns_server: SocketAddr,
        extra: &str,
        profiles: &str,
    ) -> Option<Self> {
        let (pebble, dns) = (tools::find("bin/pebble")?, start_dns(world)?);
        let address = world.address;
        let (certificate, key) = listener_certificate(world, "pebble");
        let config = world.write(
            "pebble.json",
            &format!(
                r#"{{"pebble": {{
                    "listenAddress": "{address}:14000", "managementListenAddress": "{address}:15000",
                    "certificate": "{certificate}", "privateKey": "{key}",
                    "httpPort": 5002, "tlsPort": 5001, "ocspResponderURL": "",
                    "keyAlgorithm": "ecdsa", {extra} "domainBlocklist": ["blocked.test"],
                    "retryAfter": {{"authz": 1, "order": 1}},
                    "profiles": {{{profiles} "default": {{"description": "90 days", "validityPeriod": 7776000}}}}
                }}}}"#
            ),
        );
        let server = Process::start(
            "pebble",
            Command::new(pebble)
                .args(["-strict", "-config"])
                .arg(config)
                .args(["-dnsserver", &dns_server.to_string()])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .envs(environment.iter().copied()),
        );
        let root = eventually("Pebble's root", Duration::from_secs(30), || async {
            let root = manage(world, "roots/0", None);
            root.contains("BEGIN CERTIFICATE").then_some(root)
        })
        .await;
        let roots = world.write("pebble-root.pem", &root);
        let issuer = format!(
            "[acme.pebble]\ndirectory = \"https://{address}:14000/dir\"\nterms_of_service_agreed = true\n\
             contacts = [\"mailto:ops@example.com\"]\nca_file = \"{}\"\ntrust_roots = \"{}\"\n",
            world.path("pebble-ca.pem").display(),
            roots.display()
        );
        Some(Self { issuer, server, address, _dns: dns })
    }

    /// Sets records in its DNS server.
    #[must_use]
    pub fn dns(&self) -> Dns {
        Dns::new((self.address, 8055).into())
    }

    /// How many orders it was asked for and accepted.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.server.count("Added order")
    }
}

/// The DNS server that the CAs ask, on port 8053: every name has the world's address.
pub(crate) fn start_dns(world: &World) -> Option<Process> {
    let (program, address) = (tools::find("bin/pebble-challtestsrv")?, world.address);
    let mut command = Command::new(program);
    command
        .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""])
        .args(["-dnsserver", &format!("{address}:8053"), "-management", &format!("{address}:8055")])
        .args(["-defaultIPv4", &address.to_string()]);
    Some(Process::start("challtestsrv", &mut command))
}

/// Asks Pebble's management interface; a body makes it a POST. The answer as text, whatever its status.
#[must_use]
pub fn manage(world: &World, path: &str, body: Option<&str>) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "10", "--cacert"]).arg(world.path("pebble-ca.pem"));
    if let Some(body) = body {
        command.args(["--data", body]);
    }
    crate::process::run(command.arg(format!("https://{}:15000/{path}", world.address))).out
}

/// A certificate for a listener at the world's address (NAME.pem, NAME.key), and who vouches for it (NAME-ca.pem): Pebble
/// ships none.
pub(crate) fn listener_certificate(world: &World, name: &str) -> (String, String) {
    let made = (|| {
        let mut params = CertificateParams::default();
        // Or the leaf, whose subject would be the same, would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, format!("CA of {name}'s listener"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new([world.address.to_string()])?.signed_by(&key, &ca)?;
        Ok::<_, rcgen::Error>((ca.pem(), leaf.pem(), key.serialize_pem()))
    })();
    let (ca, leaf, key) = made.unwrap_or_else(|error| panic!("listener of {name}: {error}"));
    world.write(&format!("{name}-ca.pem"), &ca);
    let certificate = world.write(&format!("{name}.pem"), &leaf).display().to_string();
    (certificate, world.write(&format!("{name}.key"), &key).display().to_string())
}
