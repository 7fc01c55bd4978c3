//! `sealwire status`

use clap::Args;
use jiff::Timestamp;
use sealwire_proto::v1::{CertificateStatus, DeliveryStatus, NodeStatus, StatusReply, StatusRequest};
use serde_json::{Value, json};

use super::client::{connect, failure, question};
use super::incidents::{incident_json, severity};
use super::text::{from_now, instant, table};
use super::{Global, Outcome};

#[derive(Debug, Args)]
pub(super) struct Status {
    /// For machines; the same facts and more.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let parts = connect(global).await?.status(question(StatusRequest {})).await;
        let parts = parts.map_err(|status| failure(&status))?.into_inner();
        let status = sealwire_proto::whole_status(parts).await.map_err(|status| failure(&status))?;
        if self.json {
            println!("{:#}", as_json(&status));
        } else {
            print!("{}", as_text(&status));
        }
        Ok(())
    }
}

fn as_text(status: &StatusReply) -> String {
    let now = instant(status.now_ms).unwrap_or_default();
    let rows: Vec<_> = status.certificates.iter().map(|certificate| row(certificate, now)).collect();
    let mut text =
        if status.role.is_empty() { String::new() } else { format!("This replica {}.\n\n", status.role) };
    text += &table(&["CERTIFICATE", "STATE", "GEN", "EXPIRES", "REVOCATION", "NEXT", "WHY"], &rows);
    let deliveries: Vec<_> = status
        .certificates
        .iter()
        .flat_map(|certificate| {
            certificate.deliveries.iter().map(|delivery| delivery_row(&certificate.name, delivery, now))
        })
        .collect();
    if !deliveries.is_empty() {
        text.push('\n');
        let head = ["NODE", "CERTIFICATE", "PAIRED", "DESIRED", "ACKED", "SERVING", "PROVEN"];
        text.push_str(&table(&head, &deliveries));
    }
    for line in troubles(status) {
        text.push_str("\n! ");
        text.push_str(&line);
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn row(certificate: &CertificateStatus, now: Timestamp) -> Vec<String> {
    let current = certificate.current.as_ref();
    let expires = current.and_then(|current| instant(current.not_after_ms));
    let next = instant(certificate.next_at_ms).filter(|at| *at > now).map(|at| from_now(now, at));
    vec![
        certificate.name.clone(),
        certificate.state.clone(),
        current.map_or("-".to_owned(), |current| current.generation.to_string()),
        expires.map_or("-".to_owned(), |at| from_now(now, at)),
        revocation_word(certificate),
        format!("{} {}", certificate.next_action, next.unwrap_or_default()).trim().to_owned(),
        certificate.why.clone(),
    ]
}

/// What is known of its revocation, and that it has an OCSP response.
fn revocation_word(certificate: &CertificateStatus) -> String {
    match &certificate.revocation {
        Some(known) if !known.state.is_empty() && known.staple_next_update_ms != 0 => {
            format!("{}, stapled", known.state)
        }
        Some(known) if !known.state.is_empty() => known.state.clone(),
        _ => "-".to_owned(),
    }
}

fn delivery_row(certificate: &str, delivery: &DeliveryStatus, now: Timestamp) -> Vec<String> {
    let number = |generation: u64| if generation == 0 { "-".to_owned() } else { generation.to_string() };
    vec![
        delivery.node_id.clone(),
        certificate.to_owned(),
        if delivery.connected { "yes" } else { "no" }.to_owned(),
        number(delivery.desired),
        number(delivery.acknowledged),
        number(delivery.serving),
        instant(delivery.proven_ms).map_or("-".to_owned(), |at| from_now(now, at)),
    ]
}

/// What a person must know, in sentences.
fn troubles(status: &StatusReply) -> Vec<String> {
    let mut lines = Vec::new();
    for certificate in &status.certificates {
        let name = &certificate.name;
        if certificate.quarantined_generation != 0 {
            let (generation, reason) = (certificate.quarantined_generation, &certificate.quarantine_reason);
            lines.push(format!("{name}: generation {generation} is quarantined: {reason}"));
        } else if certificate.failures > 0 {
            lines.push(format!(
                "{name}: {} failure(s), the last: {}",
                certificate.failures, certificate.last_error
            ));
        }
        if let Some(known) = certificate.revocation.as_ref().filter(|known| known.state == "revoked") {
            lines.push(format!("{name}: revoked: {}", known.detail));
        }
        for delivery in &certificate.deliveries {
            let node = &delivery.node_id;
            if delivery.nacked != 0 {
                let DeliveryStatus { nacked, nack_reason, nack_detail, .. } = delivery;
                lines.push(format!(
                    "{name}: {node} refused generation {nacked}: {nack_reason}: {nack_detail}"
                ));
            }
            if !delivery.proof_error.is_empty() {
                lines.push(format!("{name}: not proven on {node}: {}", delivery.proof_error));
            }
        }
    }
    for node in status.nodes.iter().filter(|node| !node.uncovered_names.is_empty()) {
        let names = node.uncovered_names.join(", ");
        lines.push(format!("node {}: no certificate is configured for {names}", node.node_id));
    }
    lines.extend(status.incidents.iter().map(|incident| {
        format!("{} ({}): {}: {}", severity(incident), incident.kind, incident.about, incident.text)
    }));
    if status.panics > 0 {
        lines.push(format!(
            "{} attempt(s) broke off by a bug; the log has the details, please report it",
            status.panics
        ));
    }
    if status.refused_peers > 0 {
        lines.push(format!(
            "{} connection(s) to {} were refused by delivery.allow_uids and allow_gids; the log names the uids",
            status.refused_peers, status.delivery_socket
        ));
    }
    lines
}

fn as_json(status: &StatusReply) -> Value {
    json!({
        "version": status.version,
        "now": at(status.now_ms),
        "started": at(status.started_ms),
        "pid": status.pid,
        "role": status.role,
        "state_dir": status.state_dir,
        "delivery_socket": status.delivery_socket,
        "refused_peers": status.refused_peers,
        "panics": status.panics,
        "incidents": status.incidents.iter().map(incident_json).collect::<Vec<_>>(),
        "certificates": status.certificates.iter().map(certificate_json).collect::<Vec<_>>(),
        "nodes": status.nodes.iter().map(node_json).collect::<Vec<_>>(),
    })
}

/// RFC 3339, or null for never.
fn at(milliseconds: i64) -> Value {
    instant(milliseconds).map_or(Value::Null, |at| at.to_string().into())
}

fn certificate_json(certificate: &CertificateStatus) -> Value {
    let current = certificate.current.as_ref().map(|current| {
        json!({
            "generation": current.generation,
            "serial": current.serial,
            "leaf_sha256": sealwire_proto::hex(&current.leaf_sha256),
            "not_before": at(current.not_before_ms),
            "not_after": at(current.not_after_ms),
            "issuer": current.issuer,
            "stored": at(current.stored_ms),
        })
    });
    let quarantine = (certificate.quarantined_generation != 0).then(|| {
        json!({ "generation": certificate.quarantined_generation, "reason": certificate.quarantine_reason })
    });
    json!({
        "name": certificate.name,
        "state": certificate.state,
        "identifiers": certificate.identifiers,
        "issuers": certificate.issuers,
        "current": current,
        "next": {
            "action": certificate.next_action,
            "at": at(certificate.next_at_ms),
            "why": certificate.why,
        },
        "orders": certificate.orders,
        "failures": certificate.failures,
        "last_error": certificate.last_error,
        "last_error_at": at(certificate.last_error_ms),
        "quarantine": quarantine,
        "revocation": certificate.revocation.as_ref().map(|known| json!({
            "state": known.state,
            "detail": known.detail,
            "since": at(known.since_ms),
            "next": at(known.next_ms),
            "staple_until": at(known.staple_next_update_ms),
        })),
        "deliveries": certificate.deliveries.iter().map(delivery_json).collect::<Vec<_>>(),
    })
}

fn delivery_json(delivery: &DeliveryStatus) -> Value {
    let nack = (delivery.nacked != 0).then(|| {
        json!({
            "generation": delivery.nacked,
            "reason": delivery.nack_reason,
            "detail": delivery.nack_detail,
        })
    });
    json!({
        "node": delivery.node_id,
        "paired": delivery.connected,
        "desired": delivery.desired,
        "acknowledged": delivery.acknowledged,
        "serving": delivery.serving,
        "proven": at(delivery.proven_ms),
        "nack": nack,
        "proof_error": delivery.proof_error,
    })
}

fn node_json(node: &NodeStatus) -> Value {
    json!({
        "node": node.node_id,
        "paired": node.connected,
        "since": at(node.since_ms),
        "version": node.version,
        "server_names": node.server_names,
        "uncovered_names": node.uncovered_names,
        "listeners": node.listeners,
        "ready": node.ready,
        "sessions": node.sessions,
        "handshakes": node.handshakes,
        "handshake_failures": node.handshake_failures,
        "breaker": node.breaker,
        "breaker_detail": node.breaker_detail,
    })
}

#[cfg(test)]
mod tests {
    use sealwire_proto::v1::RevocationStatus;

    use super::*;

    fn reply() -> StatusReply {
        let delivery = DeliveryStatus {
            node_id: "n1".into(),
            desired: 1,
            acknowledged: 1,
            serving: 1,
            proven_ms: 1000,
            connected: true,
            nacked: 2,
            nack_reason: "EXPIRED".into(),
            nack_detail: "the leaf expired 5 s ago".into(),
            ..DeliveryStatus::default()
        };
        let certificate = CertificateStatus {
            name: "web".into(),
            state: "refused".into(),
            next_action: "renew".into(),
            next_at_ms: 70_000,
            quarantined_generation: 2,
            quarantine_reason: "refused by n1".into(),
            deliveries: vec![delivery],
            revocation: Some(RevocationStatus {
                state: "revoked".into(),
                detail: "the leaf, says http://x".into(),
                ..RevocationStatus::default()
            }),
            ..CertificateStatus::default()
        };
        StatusReply { now_ms: 10_000, certificates: vec![certificate], ..StatusReply::default() }
    }

    #[test]
    fn a_refusal_is_said_in_words() {
        let text = as_text(&reply());
        assert!(text.contains("renew in 1m 0s"), "{text}");
        assert!(text.contains("! web: revoked: the leaf, says http://x"), "{text}");
        assert!(text.contains("! web: n1 refused generation 2: EXPIRED: the leaf expired 5 s ago"), "{text}");
    }

    #[test]
    fn json_tells_never_as_null() {
        let value = as_json(&reply());
        assert_eq!(value["started"], Value::Null);
        assert_eq!(value["certificates"][0]["revocation"]["state"], "revoked");
        assert_eq!(value["certificates"][0]["revocation"]["staple_until"], Value::Null);
        assert_eq!(value["certificates"][0]["deliveries"][0]["nack"]["reason"], "EXPIRED");
        assert_eq!(value["certificates"][0]["deliveries"][0]["proven"], "1970-01-01T00:00:01Z");
    }
}
