//! One Secret, followed: what the leader writes is taken over, what others do to it is told, or undone by the leader.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::News;
use super::api::Change;
use super::copies::Copies;
use super::place::Part;
use super::secret::{Secret, Verdict};

/// Between two tries, growing from the retry interval of the Lease.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs until `tasks` is cancelled.
pub(super) async fn follow(copies: Arc<Copies>, part: Part, tasks: CancellationToken) {
    let first = copies.place.terms.retry;
    let mut pause = first;
    loop {
        let followed = tokio::select! {
            () = tasks.cancelled() => return,
            followed = once(&copies, &part) => followed,
        };
        pause = if followed { first } else { (pause * 2).min(LONGEST_PAUSE) };
        let pause = pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        tokio::select! {
            () = tasks.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Reads the Secret and follows it for as long as that goes; tells whether it went at all.
async fn once(copies: &Copies, part: &Part) -> bool {
    let name = copies.place.secret(part);
    let secret = match copies.api.secret(&name).await {
        Ok(secret) => secret,
        Err(error) => {
            copies.trouble(&name, error.to_string()).await;
            return false;
        }
    };
    let mut version = secret.version().to_owned();
    see(copies, part, &name, secret).await;
    let mut watch = match copies.api.watch(&name, &version).await {
        Ok(watch) => watch,
        Err(error) => {
            copies.trouble(&name, error.to_string()).await;
            return false;
        }
    };
    loop {
        match watch.next().await {
            Change::Now(secret) if secret.version() != version => {
                secret.version().clone_into(&mut version);
                see(copies, part, &name, *secret).await;
            }
            Change::Now(_) => {}
            // Read again at once: the message is that of an absent one.
            Change::Deleted | Change::Over => return true,
        }
    }
}

async fn see(copies: &Copies, part: &Part, name: &str, secret: Secret) {
    let ours = match copies.local(part, None) {
        Ok(ours) => ours,
        Err(error) => return copies.trouble(name, error.to_string()).await,
    };
    let verdict = secret.judge(&ours);
    let term = secret.term();
    if copies.leads() {
        // The leader's own write comes back in the middle of the next one.
        match verdict {
            Verdict::Edited(_, why) => {
                copies.trouble(name, format!("Secret {name} was edited: {why}; it is written again")).await;
                copies.shelve(part, None).await;
                copies.put_back(part.clone());
            }
            Verdict::Empty => {
                copies.shelve(part, None).await;
                copies.put_back(part.clone());
            }
            _ => copies.mended(name).await,
        }
        return;
    }
    match (verdict, part) {
        (Verdict::Empty | Verdict::Same, _) => copies.mended(name).await,
        (Verdict::Other(contents), Part::Certificate(certificate)) => {
            tracing::debug!(certificate, term, "the leader has stored something");
            copies.mended(name).await;
            let _ = copies.news.send(News::Found { certificate: certificate.clone(), contents }).await;
        }
        (Verdict::Other(contents), Part::Account(issuer)) => match copies.take_account(issuer, &contents) {
            Ok(()) => copies.mended(name).await,
            Err(error) => copies.trouble(name, error.to_string()).await,
        },
        (Verdict::Edited(_, why), _) => {
            let text = format!(
                "Secret {name} was edited: {why}; what this replica has stays, and the leader writes it again"
            );
            copies.trouble(name, text).await;
        }
    }
}
