//! The listeners of challenges: whether the agent could have them, and our own answers on them for a moment.

use std::net::SocketAddr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Finding, Scene};
use crate::config::ChallengeKind;
use crate::issuer::acme::{Http01, Provisioned, TlsAlpn01};

/// Who answers on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// We do, for now.
    We,
    /// The running agent, to whom our questions are unknown.
    Agent,
    /// Nobody we know.
    Nobody,
}

/// The listeners of challenges, answering what we ask ourselves until they are dropped.
pub(super) struct Listeners {
    pub(super) http01: Who,
    pub(super) tls_alpn01: Who,
    pub(super) token: String,
    pub(super) key_authorization: String,
    pub(super) digest: [u8; 32],
    pub(super) responder: TlsAlpn01,
    _provisioned: Option<Provisioned>,
    _stop: DropGuard,
}

impl Listeners {
    /// Listens where the agent would, if it does not and if some certificate needs it.
    pub(super) async fn open(scene: &Scene) -> (Self, Vec<Finding>) {
        let stop = CancellationToken::new();
        let mut secret = [0; 64];
        if aws_lc_rs::rand::fill(&mut secret).is_err() {
            secret.fill_with(|| fastrand::u8(..));
        }
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let (token, key_authorization) = (encode(&secret[..32]), encode(&secret));
        let (http01, responder) = (Http01::new(), TlsAlpn01::new());
        let provisioned = http01.provision(&token, &key_authorization).ok();
        let mut findings = Vec::new();
        let mut who = (Who::Nobody, Who::Nobody);
        if uses(scene, ChallengeKind::Http01) {
            let (listener, finding) = listen(scene, "http01.listen", scene.config.http01.listen).await;
            findings.push(finding);
            who.0 = taken(scene, listener.is_some());
            if let Some(listener) = listener {
                tokio::spawn(http01.serve(listener, stop.clone()));
            }
        }
        if uses(scene, ChallengeKind::TlsAlpn01) {
            let (listener, finding) =
                listen(scene, "tls_alpn01.listen", scene.config.tls_alpn01.listen).await;
            findings.push(finding);
            who.1 = taken(scene, listener.is_some());
            if let Some(listener) = listener {
                match responder.clone().serve(listener, stop.clone()) {
                    Ok(serving) => drop(tokio::spawn(serving)),
                    Err(_) => who.1 = Who::Nobody,
                }
            }
        }
        let digest = sealwire_proto::validate::sha256(key_authorization.as_bytes());
        let listeners = Self {
            http01: who.0,
            tls_alpn01: who.1,
            token,
            key_authorization,
            digest,
            responder,
            _provisioned: provisioned,
            _stop: stop.drop_guard(),
        };
        (listeners, findings)
    }
}

fn uses(scene: &Scene, kind: ChallengeKind) -> bool {
    scene.certificates.iter().any(|certificate| {
        let over = certificate.issuers.iter().filter_map(|issuer| scene.config.acme.get(issuer));
        over.into_iter()
            .any(|acme| certificate.challenges.as_ref().unwrap_or(&acme.challenges).contains(&kind))
    })
}

fn taken(scene: &Scene, ours: bool) -> Who {
    match (ours, scene.running.is) {
        (true, _) => Who::We,
        (false, true) => Who::Agent,
        (false, false) => Who::Nobody,
    }
}

/// Listens for a moment.
async fn listen(scene: &Scene, key: &str, address: SocketAddr) -> (Option<TcpListener>, Finding) {
    let error = |message: String, advice: &str| (None, Finding::error("listen", key, message, advice));
    match TcpListener::bind(address).await {
        Ok(listener) if scene.running.is => {
            let message = format!("the agent{} does not listen on {address}", scene.running.who());
            let advice = "restart the agent: it was started with another configuration";
            (Some(listener), Finding::error("listen", key, message, advice))
        }
        Ok(listener) => (Some(listener), Finding::ok("listen", key, format!("{address} can be listened on"))),
        Err(found) if found.kind() == std::io::ErrorKind::AddrInUse && scene.running.is => {
            (None, Finding::ok("listen", key, format!("the agent has {address}")))
        }
        Err(found) if found.kind() == std::io::ErrorKind::PermissionDenied && scene.running.is => (
            None,
            Finding::ok("listen", key, format!("this user may not listen on {address}; the agent runs")),
        ),
        Err(found) if found.kind() == std::io::ErrorKind::PermissionDenied => {
            let message = format!("this user may not listen on {address}: {found}");
            let advice = "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE); if the agent has it, run doctor with it";
            error(message, advice)
        }
        Err(found) if found.kind() == std::io::ErrorKind::AddrInUse => {
            let advice =
                format!("stop the other server (ss -ltnp), or set `{key}` to another port and forward to it");
            error(format!("another server has {address}"), &advice)
        }
        Err(found) => {
            let advice = format!("set `{key}` to an address of this machine");
            error(format!("cannot listen on {address}: {found}"), &advice)
        }
    }
}
