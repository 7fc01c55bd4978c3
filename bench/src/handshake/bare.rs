//! The least that a server of tokio and rustls can do: accept, shake hands, wait for the end. What ours costs beyond
//! that is the price of limits, gate and session. A process of its own, for the sake of its own processor.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sealwire_tests::process::own;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{SERVER_CORE, Target};
use crate::cpu;
use crate::server::{Place, Server};

pub(super) async fn start() -> Result<Target> {
    let place = Place::new()?;
    let material = place.authority.issue()?;
    let chain = place.world.write("chain.pem", &material.chain_pem);
    let key = place.world.write("key.pem", &material.key_pem);
    let address = place.world.node_address().to_string();
    let arguments = [address.into(), chain.into_os_string(), key.into_os_string()];
    let command = own("sealwire-bench-bare", arguments);
    let server = Server::start("bare", &mut cpu::pinned(&command, SERVER_CORE), &place.prober).await?;
    Target::running("bare tokio-rustls", place, material.leaf, server).await
}

/// Serves on `address` until it is killed.
///
/// # Errors
/// The address is taken, or chain and key (PEM) are none.
pub async fn serve(address: &str, chain: &Path, key: &Path) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config(chain, key)?));
    let listener = TcpListener::bind(address).await?;
    loop {
        // What cannot be accepted now is tried again by its client.
        let Ok((tcp, _)) = listener.accept().await else { continue };
        tokio::spawn(one(acceptor.clone(), tcp));
    }
}

async fn one(acceptor: TlsAcceptor, tcp: TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    stream.shutdown().await
}

/// The policy of our node.
fn config(chain: &Path, key: &Path) -> Result<ServerConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..default_provider()
    };
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.ignore_client_order = true;
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}
