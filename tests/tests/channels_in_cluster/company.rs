//! Who is in a channel, who comes and who goes, on whatever node.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealwire_tests::eventually;
use sealwire_tests::nats::Nats;
use sealwire_tests::world::World;
use wss_node::broker::jetstream::{JetStreamMoves, JetStreamPresence, Options};
use wss_node::broker::presence::{Company, Member, Move, Presence};

use super::scene::{PATIENCE, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_seen_on_other_nodes_and_ends_by_itself() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let one = JetStreamPresence::connect(&options(&nats)).await.unwrap();
    let other = JetStreamPresence::connect(&options(&nats)).await.unwrap();
    let member = |client: &str, user: &str| Member {
        client: client.into(),
        user: user.into(),
        info: bytes::Bytes::from_static(b"{}"),
    };
    let long = Duration::from_secs(60);
    for (client, user) in [("b", "ann"), ("a", "ann"), ("c", "")] {
        one.join("room", member(client, user), long).await.unwrap();
    }
    one.join("elsewhere", member("d", ""), long).await.unwrap();
    assert_eq!(other.members("room", 2).await.unwrap(), [member("a", "ann"), member("b", "ann")]);
    assert_eq!(other.count("room").await.unwrap(), (3, 2));
    other.leave("room", "b").await.unwrap();
    assert_eq!(one.count("room").await.unwrap(), (2, 2));
    one.join("room", member("a", "ann"), Duration::from_secs(1)).await.unwrap();
    eventually("a member ends by itself", PATIENCE, || async {
        (other.members("room", 9).await.unwrap() == [member("c", "")]).then_some(())
    })
    .await;
}

/// Keeps what a node is told of the others.
#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<(String, Member, Move)>>);

impl Company for Heard {
    fn moved(&self, channel: &str, member: &Member, moved: Move) {
        self.0.lock().unwrap().push((channel.to_owned(), member.clone(), moved));
    }
}

impl Heard {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) async fn moves(self: &Arc<Self>, options: &Options) -> JetStreamMoves {
        JetStreamMoves::connect(options, Arc::clone(self) as _).await.unwrap()
    }

    /// Waits for these, and nothing else: channel, client, user.
    pub(super) async fn until(&self, expected: &[(&str, &str, &str, Move)]) {
        eventually("what others did is told", PATIENCE, || async {
            (self.0.lock().unwrap().len() >= expected.len()).then_some(())
        })
        .await;
        let heard = self.0.lock().unwrap();
        let told =
            heard.iter().map(|(channel, member, moved)| (&**channel, &*member.client, &*member.user, *moved));
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_and_goes_is_told_to_all_other_nodes_in_order() {
    let world = World::new();
    let Some(mut nats) = Nats::start(&world, 1, "").await else { return };
    let heard = [Heard::new(), Heard::new(), Heard::new()];
    let mut moves = Vec::new();
    for one in &heard {
        moves.push(one.moves(&options(&nats)).await);
    }
    let member =
        |client: &str| Member { client: client.into(), user: "ann".into(), info: bytes::Bytes::new() };
    for moved in [Move::Came, Move::Left, Move::Came] {
        moves[0].tell("room größer", &member("1"), moved);
    }
    let expected = [Move::Came, Move::Left, Move::Came].map(|moved| ("room größer", "1", "ann", moved));
    for other in &heard[1..] {
        other.until(&expected).await;
    }
    // In the other direction. The first node has heard nothing of its own.
    moves[2].tell("room größer", &member("2"), Move::Came);
    heard[0].until(&[("room größer", "2", "ann", Move::Came)]).await;

    // What others write there is theirs to get right.
    let client = async_nats::connect(nats.urls()).await.unwrap();
    for subject in ["sw.members.1.me", "sw.members.me", "sw.members.me.me.me", "sw.members.me.me"] {
        client.publish(subject, "nonsense".into()).await.unwrap();
    }
    client.flush().await.unwrap();
    moves[0].tell("room größer", &member("1"), Move::Left);
    let mut expected = expected.to_vec();
    expected.push(("room größer", "2", "ann", Move::Came));
    expected.push(("room größer", "1", "ann", Move::Left));
    heard[1].until(&expected).await;
    // A server that ends takes with it what it was told last. Once there is one again, the others hear as before.
    nats.kill(0);
    nats.run(0);
    eventually("the others hear again", PATIENCE, || async {
        moves[0].tell("room größer", &member("3"), Move::Came);
        let heard = heard[1].0.lock().unwrap();
        heard.iter().any(|(_, member, _)| &*member.client == "3").then_some(())
    })
    .await;
    assert_eq!(moves.iter().map(JetStreamMoves::untold).sum::<u64>(), 0);
}
