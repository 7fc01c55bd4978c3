//! A webhook of the operator's, signed as in Standard Webhooks 1.0 (<https://www.standardwebhooks.com>), so that
//! receivers can verify it with a library: HMAC-SHA256 over id, time and body. The time is that of the attempt, so
//! that a receiver can refuse what is replayed.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::message::{Message, Origin, instant, severity};
use super::request::{Form, Request, SecretFile};

/// What secrets of Standard Webhooks begin with.
const PREFIX: &str = "whsec_";
/// Bounds on a secret, in bytes (Standard Webhooks, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets that sign at the same time while one takes the place of another.
const MAX_SECRETS: usize = 2;

/// One webhook.
pub(super) struct Webhook {
    url: String,
    secret: SecretFile,
}

impl Webhook {
    /// Messages are posted to `url`.
    pub(super) fn new(url: &str, secret: SecretFile) -> Self {
        Self { url: url.to_owned(), secret }
    }

    /// The secrets, one a line.
    fn secrets(&self) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
        let path = self.secret.0.display();
        let text = self.secret.read()?;
        let decode = |line: &str| {
            let plain = line.trim().strip_prefix(PREFIX)?;
            let secret = Zeroizing::new(STANDARD.decode(plain).ok()?);
            SECRET_BYTES.contains(&secret.len()).then_some(secret)
        };
        let secrets: Option<Vec<_>> = text.lines().map(decode).collect();
        secrets.filter(|secrets| secrets.len() <= MAX_SECRETS).ok_or_else(|| {
            format!(
                "{path}: expected \"{PREFIX}\" and base64 of 24 to 64 random bytes, on one line (two while one takes the \
                 place of another)"
            )
        })
    }
}

impl Form for Webhook {
    fn request(&self, origin: &Origin, message: &Message, now: Timestamp) -> Result<Request, String> {
        let incident = &message.incident;
        let kind = incident.kind;
        let body = json!({
            "type": format!("incident.{}", message.event.as_str()),
            "timestamp": instant(message.at),
            "data": {
                "id": incident.id,
                "instance": origin.instance,
                "kind": kind.as_str(),
                "severity": severity(kind),
                "about": incident.about,
                "text": incident.text,
                "advice": kind.advice(),
                "runbook": origin.runbook(kind),
                "count": incident.count,
                "since": instant(incident.since),
                "updated": instant(incident.updated),
                "resolved": incident.over.map(instant),
            },
        });
        let request = Request::new(&self.url, &body);
        let (id, second) = (message.id(), now.as_second().to_string());
        let signed = [id.as_bytes(), b".", second.as_bytes(), b".", &request.body].concat();
        let signatures: Vec<_> = self.secrets()?.iter().map(|secret| signature(secret, &signed)).collect();
        request
            .header("webhook-id", &id)?
            .header("webhook-timestamp", &second)?
            .header("webhook-signature", &signatures.join(" "))
    }

    fn check(&self) -> Result<(), String> {
        self.secrets().map(drop)
    }
}

fn signature(secret: &[u8], signed: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed);
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::message::tests::{at, message, origin};
    use super::super::request::tests::{body, header, secret};
    use super::*;
    use crate::incident::book::Event;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        assert_eq!(signature(&secret, signed), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_receiver_can_verify_what_it_gets() {
        let (one, two) = (STANDARD.encode([7; 32]), STANDARD.encode([9; 24]));
        let (file, _dir) = secret(&format!("whsec_{one}\nwhsec_{two}\n"));
        let form = Webhook::new("https://hook.example/x", file);
        let request = form.request(&origin(), &message("a1", Event::Resolved), at(5000)).unwrap();
        let (id, second) = (header(&request, "webhook-id"), header(&request, "webhook-timestamp"));
        assert_eq!((id, second), ("a1-resolved", "5000"));
        let signed = [b"a1-resolved.5000.".as_slice(), &request.body].concat();
        let signatures: Vec<_> = header(&request, "webhook-signature").split(' ').collect();
        for (secret, found) in [[7; 32].as_slice(), &[9; 24]].into_iter().zip(&signatures) {
            let tag = STANDARD.decode(found.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed, &tag).unwrap();
        }
        assert_eq!(signatures.len(), 2);
        let body = body(&request);
        assert_eq!(body["type"], "incident.resolved");
        assert_eq!((&body["data"]["kind"], &body["data"]["about"]), (&"expires_soon".into(), &"web".into()));
        assert_eq!(body["data"]["resolved"], "1970-01-01T00:17:40.000Z");
    }

    #[test]
    fn weak_and_garbled_secrets_are_refused_without_being_shown() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let three = format!("whsec_{0}\nwhsec_{0}\nwhsec_{0}", STANDARD.encode([1; 24]));
        for text in ["hunter2hunter2hunter2hunter2", "whsec_???", &short, &three] {
            let (file, _dir) = secret(text);
            let error = Webhook::new("https://x/", file).check().unwrap_err();
            assert!(error.contains("expected \"whsec_\"") && !error.contains(text), "{error}");
        }
    }
}
