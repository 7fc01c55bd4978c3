//! `openssl ocsp` as a responder, with an index of its own. It listens on all interfaces, so its port must be free on
//! all of them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::world::World;

/// A place for a responder: port and index.
#[derive(Debug)]
pub struct OpensslOcsp {
    /// Where it is asked.
    pub url: String,
    port: u16,
    ca: PathBuf,
    index: PathBuf,
}

/// Who signs.
#[derive(Debug)]
pub struct Signer {
    /// Its certificate in PEM.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
}

impl OpensslOcsp {
    /// For certificates of `ca` (a PEM file). Nothing runs yet.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn new(world: &World, ca: &Path) -> Self {
        let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|listener| listener.local_addr());
        let port = free.unwrap_or_else(|error| panic!("no free port: {error}")).port();
        let url = format!("http://{}:{port}", world.address);
        let index = world.write(&format!("ocsp-{port}.txt"), "");
        Self { url, port, ca: ca.to_owned(), index }
    }

    /// Knows a certificate, by its serial number in hexadecimal, as good.
    pub fn good(&self, serial: &str) {
        self.line(&format!("V\t491231235959Z\t\t{}\tunknown\t/CN=x", serial.to_uppercase()));
    }

    /// Knows a certificate as revoked since the beginning of 2026, for its key was stolen.
    pub fn revoked(&self, serial: &str) {
        self.line(&format!(
            "R\t491231235959Z\t260101000000Z,keyCompromise\t{}\tunknown\t/CN=x",
            serial.to_uppercase()
        ));
    }

    /// What it knew is replaced: each responder that is started reads it once.
    fn line(&self, line: &str) {
        std::fs::write(&self.index, format!("{line}\n")).unwrap_or_else(|error| panic!("index: {error}"));
    }

    /// Starts it; it reads the index once. Its answers hold for five minutes.
    #[must_use]
    pub fn start(&self, signer: &Signer, environment: &[(&str, &str)]) -> Process {
        let mut command = Command::new("openssl");
        command
            .args(["ocsp", "-nmin", "5", "-port", &self.port.to_string(), "-index"])
            .arg(&self.index)
            .arg("-CA")
            .arg(&self.ca)
            .arg("-rsigner")
            .arg(&signer.certificate)
            .arg("-rkey")
            .arg(&signer.key)
            .envs(environment.iter().copied());
        let process = Process::start("openssl ocsp", &mut command);
        let _ = process.line("waiting for OCSP client connections", Duration::from_secs(30));
        process
    }
}
