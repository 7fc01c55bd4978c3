#![allow(clippy::unwrap_used)]

use sealwire_proto::ocsp::Status;
use sealwire_proto::probe::{self, ProbeError, Seen};
use sealwire_proto::v1::{Rollback, Serving, node_message::Body};
use sealwire_proto::validate::sha256;

use super::*;
use crate::certs::validate::tests::{Authority, authority, bundle_of, response};
use crate::service::tests::{Listening, listening};

const PATIENCE: Duration = Duration::from_secs(20);

/// The node's end of a stream, and what it has answered.
pub(crate) struct Stream<'a> {
    pairing: Pairing<'a>,
    answers: mpsc::Receiver<NodeMessage>,
    address: String,
}

impl<'a> Stream<'a> {
    pub(crate) fn of(node: &'a mut Listening) -> Self {
        let (sender, answers) = mpsc::channel(64);
        let address = node.address.to_string();
        Self { pairing: Pairing::new(&mut node.receiver, sender), answers, address }
    }

    pub(crate) async fn say(&mut self, body: agent_message::Body) {
        self.pairing.take(AgentMessage { body: Some(body) }).await;
    }

    pub(crate) async fn answer(&mut self) -> Body {
        let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await.expect("an answer");
        answer.unwrap().body.unwrap()
    }

    async fn serving(&mut self) -> Serving {
        match self.answer().await {
            Body::Serving(serving) => serving,
            other => panic!("expected Serving: {other:?}"),
        }
    }

    async fn nack(&mut self) -> Nack {
        match self.answer().await {
            Body::Nack(nack) => nack,
            other => panic!("expected a Nack: {other:?}"),
        }
    }

    /// Sends a bundle that is served at once.
    pub(crate) async fn serve(&mut self, bundle: &Bundle) -> Serving {
        self.say(agent_message::Body::Bundle(bundle.clone())).await;
        assert!(matches!(self.answer().await, Body::Ack(ack) if ack.generation == bundle.generation));
        self.serving().await
    }

    async fn prepare(&mut self, bundle: &Bundle) {
        let mut bundle = bundle.clone();
        bundle.r#use = BundleUse::Prepare.into();
        self.say(agent_message::Body::Bundle(bundle)).await;
    }

    async fn commit(&mut self, generation: u64) {
        self.say(agent_message::Body::Commit(Commit { certificate: "web".into(), generation })).await;
    }

    async fn discard(&mut self, generation: u64) {
        self.say(agent_message::Body::Discard(Discard { certificate: "web".into(), generation })).await;
    }

    async fn seen(&self) -> Seen {
        probe::handshake(&self.address, "a.example", PATIENCE).await.unwrap()
    }

    async fn shadow(&self) -> Result<Seen, ProbeError> {
        probe::drill(&self.address, "a.example", PATIENCE).await
    }
}

fn bundle(authority: &Authority, generation: u64) -> Bundle {
    bundle_of(authority, "web", generation, &["a.example"])
}

fn leaf(bundle: &Bundle) -> [u8; 32] {
    sha256(&bundle.chain[0])
}

#[tokio::test]
async fn prepared_is_not_served_before_its_commit() {
    let mut node = listening("");
    let mut stream = Stream::of(&mut node);
    let ca = authority();
    let (one, two) = (bundle(&ca, 1), bundle(&ca, 2));
    assert_eq!(stream.serve(&one).await.error, "");

    stream.prepare(&two).await;
    assert!(matches!(stream.answer().await, Body::Prepared(prepared) if prepared.generation == 2));
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&one));
    stream.commit(3).await;
    assert_eq!(stream.nack().await.reason(), NackReason::NotPrepared);
    stream.commit(2).await;
    assert!(matches!(stream.answer().await, Body::Ack(ack) if ack.generation == 2));
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&two));
    let serving = stream.serving().await;
    assert_eq!((serving.generation, serving.error.as_str(), serving.shadow), (2, "", false));
    assert_eq!(serving.leaf_sha256, leaf(&two));
    stream.commit(2).await;
    assert_eq!(stream.nack().await.reason(), NackReason::NotPrepared, "a commit counts once");
}

#[tokio::test]
async fn what_is_discarded_or_superseded_cannot_be_committed() {
    let mut node = listening("");
    let mut stream = Stream::of(&mut node);
    let ca = authority();
    let (one, two, three) = (bundle(&ca, 1), bundle(&ca, 2), bundle(&ca, 3));
    stream.serve(&one).await;
    stream.prepare(&two).await;
    stream.answer().await;
    stream.discard(2).await;
    stream.commit(2).await;
    assert_eq!(stream.nack().await.reason(), NackReason::NotPrepared);

    // The newest wins.
    stream.prepare(&two).await;
    stream.prepare(&three).await;
    stream.answer().await;
    stream.answer().await;
    stream.commit(2).await;
    assert_eq!(stream.nack().await.reason(), NackReason::NotPrepared);
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&one));

    // A swap that came first makes the prepared one stale.
    stream.prepare(&two).await;
    stream.answer().await;
    stream.serve(&three).await;
    stream.commit(2).await;
    assert_eq!(stream.nack().await.reason(), NackReason::StaleGeneration);
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&three));
}

#[tokio::test]
async fn a_prepared_rollback_may_go_back_and_what_does_not_hold_is_refused() {
    let mut node = listening("");
    let mut stream = Stream::of(&mut node);
    let ca = authority();
    let (one, two) = (bundle(&ca, 1), bundle(&ca, 2));
    stream.serve(&two).await;
    stream.prepare(&one).await;
    assert_eq!(stream.nack().await.reason(), NackReason::StaleGeneration);
    let mut back = one.clone();
    back.r#use = BundleUse::Prepare.into();
    stream.say(agent_message::Body::Rollback(Rollback { bundle: Some(back.clone()) })).await;
    assert!(matches!(stream.answer().await, Body::Prepared(_)));
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&two));
    stream.commit(1).await;
    assert!(matches!(stream.answer().await, Body::Ack(ack) if ack.generation == 1));
    assert_eq!(stream.serving().await.error, "");

    back.key = two.key.clone();
    stream.say(agent_message::Body::Rollback(Rollback { bundle: Some(back) })).await;
    assert_eq!(stream.nack().await.reason(), NackReason::KeyMismatch);
    let mut later = bundle(&ca, 4);
    later.r#use = 77;
    stream.say(agent_message::Body::Bundle(later)).await;
    assert_eq!(stream.nack().await.reason(), NackReason::Internal, "a use of a later version is not guessed");
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&one));
}

#[tokio::test]
async fn what_was_prepared_is_forgotten_with_its_stream() {
    let mut node = listening("");
    let ca = authority();
    let mut stream = Stream::of(&mut node);
    stream.prepare(&bundle(&ca, 1)).await;
    assert!(matches!(stream.answer().await, Body::Prepared(_)));
    let mut shadow = bundle(&ca, 9);
    shadow.r#use = BundleUse::Shadow.into();
    stream.say(agent_message::Body::Bundle(shadow)).await;
    stream.shadow().await.unwrap();
    drop(stream);
    let mut stream = Stream::of(&mut node);
    stream.commit(1).await;
    assert_eq!(stream.nack().await.reason(), NackReason::NotPrepared);
    assert!(stream.shadow().await.is_err());
}

#[tokio::test]
async fn a_shadow_is_seen_by_drills_only_and_leaves_service_alone() {
    let mut node = listening("");
    let served = Arc::clone(&node.node);
    let mut stream = Stream::of(&mut node);
    let ca = authority();
    let (one, mut shadow) = (bundle(&ca, 5), bundle(&ca, 1));
    stream.serve(&one).await;
    assert!(stream.shadow().await.is_err(), "no drill is under way");
    shadow.r#use = BundleUse::Shadow.into();
    stream.say(agent_message::Body::Bundle(shadow.clone())).await;
    assert!(matches!(stream.answer().await, Body::Ack(ack) if ack.generation == 1));
    let serving = stream.serving().await;
    assert_eq!((serving.shadow, serving.error.as_str()), (true, ""));
    assert_eq!(serving.leaf_sha256, leaf(&shadow));
    assert_eq!(stream.shadow().await.unwrap().leaf_sha256, leaf(&shadow));
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&one));
    assert_eq!(served.reader.holds(0)[0].generation, 5);
    assert_eq!(served.readiness.proven_generation("web"), Some(5));

    stream.discard(1).await;
    assert!(stream.shadow().await.is_err());
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&one));
    let mut broken = shadow;
    broken.chain[0].truncate(40);
    stream.say(agent_message::Body::Bundle(broken)).await;
    assert_eq!(stream.nack().await.reason(), NackReason::Malformed);
}

#[tokio::test]
async fn a_staple_is_swapped_in_without_a_new_generation() {
    let mut node = listening("");
    let served = Arc::clone(&node.node);
    let mut stream = Stream::of(&mut node);
    let ca = authority();
    let mut one = bundle(&ca, 1);
    one.staple_policy = StaplePolicy::Prefer.into();
    assert!(stream.serve(&one).await.staple_sha256.is_empty());
    assert_eq!(stream.seen().await.staple, None);

    let good = response(&ca, &one, |_| {});
    let staple = |response: &[u8], generation| {
        agent_message::Body::Staple(v1::Staple {
            certificate: "web".into(),
            generation,
            response: response.to_vec(),
            policy: StaplePolicy::Require.into(),
            grace_s: 60,
        })
    };
    stream.say(staple(&good, 1)).await;
    let Body::Stapled(stapled) = stream.answer().await else { panic!("expected Stapled") };
    assert_eq!(stapled.staple_sha256, sha256(&good));
    let serving = stream.serving().await;
    assert_eq!((serving.staple_sha256, serving.error.as_str()), (sha256(&good).to_vec(), ""));
    let seen = stream.seen().await;
    assert_eq!((seen.staple.as_deref(), seen.leaf_sha256), (Some(good.as_slice()), leaf(&one)));
    let held = &served.reader.holds(seconds(UnixTime::now()))[0];
    assert_eq!((held.generation, held.staple_sha256.as_slice()), (1, sha256(&good).as_slice()));

    let revoked = response(&ca, &one, |answer| answer.status = Status::Revoked { at: 1, reason: None });
    let expired = response(&ca, &one, |answer| answer.next_update = Some(answer.this_update + 1));
    for (response, generation, expected) in [
        (b"nonsense".as_slice(), 1, NackReason::BadStaple),
        (b"", 1, NackReason::BadStaple),
        (&expired, 1, NackReason::BadStaple),
        (&revoked, 1, NackReason::Revoked),
        (&good, 2, NackReason::StaleGeneration),
    ] {
        stream.say(staple(response, generation)).await;
        let nack = stream.nack().await;
        assert_eq!((nack.reason(), nack.staple, nack.generation), (expected, true, generation));
        assert_eq!(stream.seen().await.staple.as_deref(), Some(good.as_slice()), "the old one stays");
    }
    // The same generation again, as after a restart of the agent: its staple stays.
    one.staple_policy = StaplePolicy::Require.into();
    one.staple_grace_s = 60;
    assert_eq!(stream.serve(&one).await.staple_sha256, sha256(&good));
    stream
        .say(agent_message::Body::Staple(v1::Staple {
            certificate: "web".into(),
            generation: 1,
            ..v1::Staple::default()
        }))
        .await;
    assert!(matches!(stream.answer().await, Body::Stapled(stapled) if stapled.staple_sha256.is_empty()));
    assert_eq!(stream.seen().await.staple, None, "switched off");
}

#[tokio::test]
async fn a_bundle_with_a_bad_staple_changes_nothing() {
    let mut node = listening("");
    let mut stream = Stream::of(&mut node);
    let ca = authority();
    let (one, mut two) = (bundle(&ca, 1), bundle(&ca, 2));
    stream.serve(&one).await;
    two.staple_policy = StaplePolicy::Prefer.into();
    two.staple = response(&ca, &one, |_| {});
    stream.say(agent_message::Body::Bundle(two.clone())).await;
    let nack = stream.nack().await;
    assert_eq!((nack.reason(), nack.staple), (NackReason::BadStaple, false));
    two.staple = response(&ca, &two, |answer| answer.status = Status::Revoked { at: 1, reason: Some(1) });
    stream.say(agent_message::Body::Bundle(two)).await;
    assert_eq!(stream.nack().await.reason(), NackReason::Revoked);
    assert_eq!(stream.seen().await.leaf_sha256, leaf(&one));
}

#[tokio::test]
async fn a_change_of_the_chain_is_a_swap_that_is_proven() {
    let mut node = listening("");
    let mut stream = Stream::of(&mut node);
    let ca = authority();
    let mut one = bundle(&ca, 1);
    stream.serve(&one).await;
    one.generation = 2;
    one.chain.push(ca.der().to_vec());
    assert_eq!(stream.serve(&one).await.error, "");
    assert_eq!(stream.seen().await.chain.len(), 2);
}

#[tokio::test]
async fn roots_are_taken_and_told() {
    let mut node = listening("");
    let mut stream = Stream::of(&mut node);
    let (old, new) = (authority(), authority());
    let roots = vec![old.der().to_vec(), new.der().to_vec()];
    let digest = sha256(&[sha256(&roots[0]), sha256(&roots[1])].concat());
    stream.say(agent_message::Body::Trust(Trust { issuer: "pki".into(), roots })).await;
    let Body::Trusted(trusted) = stream.answer().await else { panic!("expected Trusted") };
    assert_eq!((trusted.issuer.as_str(), trusted.roots_sha256.as_slice()), ("pki", digest.as_slice()));
    let mut early = bundle(&new, 1);
    early.trust_anchors = vec![old.der().to_vec()];
    assert_eq!(stream.serve(&early).await.error, "");
}
