//! A CA that misbehaves in every way that we have read or heard of. Whatever it does: what is served stays
//! served, the cause is told, the CA is not asked more than is due, no order is placed twice, and once it behaves
//! again the certificate is renewed and proven.
#![allow(missing_docs, clippy::unwrap_used)]

mod seed;

use std::time::{Duration, Instant};

use sealwire_proto::probe::handshake;
use sealwire_proto::v1::CertificateStatus;
use sealwire_tests::eventually;
use sealwire_tests::hostile::{Answer, Fault, Hostile, Leaf, Point};
use sealwire_tests::process::Process;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use seed::ask_at_once;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

const ALWAYS: usize = usize::MAX;

/// A certificate that is proven to be served, before anything goes wrong.
struct Stage {
    world: World,
    ca: Hostile,
    /// What is served.
    good: String,
    _processes: (Process, Process),
}

impl Stage {
    async fn set() -> Self {
        let world = World::new();
        let ca = Hostile::start(&world).await;
        Self::with(world, ca, "").await
    }

    /// With more TOML after the issuer's.
    async fn with(world: World, ca: Hostile, more: &str) -> Self {
        let issuers = format!("{}{more}", ca.issuer);
        world.configure_agent(&AgentSettings { issuers, ..AgentSettings::default() });
        world.configure_node("node-1", 0, &world.delivery_socket(), "");
        let processes = (world.start_agent(), world.start_node("node-1"));
        let good = world.proven().await.current.unwrap().serial;
        Self { world, ca, good, _processes: processes }
    }

    /// Renews, whatever the back-off says.
    async fn renew(&self) -> Renewal {
        Renewal::follow(&mut self.world.admin().await, true).await.unwrap()
    }

    /// A renewal that must fail, and leave what is served; gives what is said about it.
    async fn fails(&self) -> CertificateStatus {
        let renewal = self.renew().await;
        assert!(!renewal.is_done(), "{:?}", renewal.steps);
        let web = self.world.web().await.unwrap();
        assert_eq!(web.current.clone().unwrap().serial, self.good, "{web:?}");
        assert!(!web.last_error.is_empty() && web.next_at_ms > 0, "{web:?}");
        web
    }

    /// It behaves again: one renewal that is proven.
    async fn recovers(&self) {
        self.ca.heal();
        let renewal = self.renew().await;
        assert!(renewal.is_done(), "{:?}", renewal.steps);
        assert_ne!(self.world.proven().await.current.unwrap().serial, self.good);
    }

    fn why(&self) -> String {
        tokio::task::block_in_place(|| self.world.run(["why", "web"])).out
    }
}

fn http_date(at: OffsetDateTime) -> String {
    at.format(&Rfc2822).unwrap().replace("+0000", "GMT")
}

fn in_ms(web: &CertificateStatus) -> i64 {
    web.next_at_ms - i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap()
}

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_429_is_waited_out_as_told_or_as_is_our_habit() {
    let stage = Stage::set().await;
    let limited = || Answer::problem(429, "rateLimited", "too many orders for this set");
    let date = http_date(OffsetDateTime::now_utc() + Duration::from_secs(2 * 3600));
    let asked = stage.ca.count(Point::NewOrder);
    for (round, answer) in
        [limited().header("Retry-After", "7200"), limited().header("Retry-After", date), limited()]
            .into_iter()
            .enumerate()
    {
        stage.ca.fault(Point::NewOrder, 1, Fault::Instead(answer));
        let web = stage.fails().await;
        assert!(web.last_error.contains("too many orders for this set (rateLimited)"), "{}", web.last_error);
        assert_eq!(stage.ca.count(Point::NewOrder), asked + round + 1, "asked once");
    }
    // The renewal is weeks away: the word of the CA is long over by then.
    stage.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_certificate_waits_as_long_as_the_429_says_and_no_longer_than_is_sane() {
    for (header, from, to) in [
        (Some("7200".to_owned()), HOUR_MS * 3 / 2, HOUR_MS * 5 / 2),
        (
            Some(http_date(OffsetDateTime::now_utc() + Duration::from_secs(7200))),
            HOUR_MS * 3 / 2,
            HOUR_MS * 5 / 2,
        ),
        (None, 30_000, HOUR_MS),
        (Some("0".to_owned()), 5_000, HOUR_MS),
        // Ten years: a week is the longest limit of any CA.
        (Some("315360000".to_owned()), HOUR_MS, 8 * 24 * HOUR_MS),
    ] {
        let world = World::new();
        let ca = Hostile::start(&world).await;
        let mut answer = Answer::problem(429, "rateLimited", "not now");
        if let Some(header) = &header {
            answer = answer.header("Retry-After", header.clone());
        }
        ca.fault(Point::NewOrder, ALWAYS, Fault::Instead(answer));
        world.configure_agent(&AgentSettings { issuers: ca.issuer.clone(), ..AgentSettings::default() });
        let _agent = world.start_agent();
        let web = world.state("failing").await;
        assert!((from..=to).contains(&in_ms(&web)), "{header:?}: in {} ms: {web:?}", in_ms(&web));
        assert_eq!(ca.count(Point::NewOrder), 1, "{header:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_is_for_everybody() {
    let stage = Stage::set().await;
    let answer =
        Answer { status: 503, headers: vec![("Retry-After", "3600".into())], body: "maintenance".into() };
    stage.ca.fault(Point::NewOrder, ALWAYS, Fault::Instead(answer));
    let asked = stage.ca.count(Point::NewOrder);
    let web = stage.fails().await;
    assert!(web.last_error.contains("503"), "{}", web.last_error);
    assert!(stage.ca.count(Point::NewOrder) <= asked + 2, "{}", stage.ca.count(Point::NewOrder));
    stage.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_defect_15_a_500_after_the_order_was_made_makes_no_second_one() {
    let stage = Stage::set().await;
    stage.ca.fault(Point::NewOrder, 1, Fault::AfterDoing(Answer::problem(500, "serverInternal", "oh")));
    let first = stage.renew().await;
    if !first.is_done() {
        stage.recovers().await;
    }
    assert_eq!(stage.ca.orders(), 2, "the first certificate's and the renewal's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_after_new_order_or_finalize_costs_no_second_order() {
    let stage = Stage::set().await;
    for (round, point) in [Point::NewOrder, Point::Finalize, Point::Certificate].into_iter().enumerate() {
        stage.ca.fault(point, 1, Fault::CutAfterDoing);
        let first = stage.renew().await;
        if !first.is_done() {
            stage.recovers().await;
        }
        assert_eq!(stage.ca.orders(), round + 2, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processing_for_ever_ends_at_the_deadline_and_holds_up_nobody() {
    let world = World::new();
    let ca = Hostile::start(&world).await;
    let other = "[[certificate]]\nname = \"other\"\nidentifiers = [\"other.test\"]\nnodes = []\n";
    let stage = Stage::with(world, ca, other).await;
    let processing = || Fault::With(json!({"status": "processing", "certificate": null}));
    let polls = stage.ca.count(Point::Order);
    for point in [Point::Finalize, Point::Order] {
        stage.ca.fault(point, ALWAYS, processing());
    }
    // Asked to be asked without end.
    let mut admin = stage.world.admin().await;
    let web = stage.fails().await;
    assert!(
        web.last_error.contains("the CA has not issued the certificate within 8 s"),
        "{}",
        web.last_error
    );
    let polled = stage.ca.count(Point::Order) - polls;
    assert!((2..=12).contains(&polled), "{polled} polls in 8 s");
    let orders = stage.ca.orders();
    stage.recovers().await;
    assert_eq!(stage.ca.orders(), orders, "the order was kept and taken up again");
    drop(admin.status(sealwire_proto::v1::StatusRequest {}).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_0_makes_no_busy_loop() {
    let stage = Stage::set().await;
    let polls = stage.ca.count(Point::Order);
    for point in [Point::Finalize, Point::Order] {
        let members = json!({"status": "processing", "certificate": null});
        stage.ca.fault(point, ALWAYS, Fault::With(members));
    }
    let started = Instant::now();
    let _failed = stage.fails().await;
    let polled = stage.ca.count(Point::Order) - polls;
    assert!(
        polled as u64 <= 2 * started.elapsed().as_secs() + 2,
        "{polled} polls in {:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_other_names_is_not_ours() {
    let stage = Stage::set().await;
    let others = json!({"identifiers": [{"type": "dns", "value": "other.test"}]});
    for point in [Point::NewOrder, Point::Order, Point::Finalize] {
        stage.ca.fault(point, ALWAYS, Fault::With(others.clone()));
    }
    stage.ca.issue(Leaf::OtherNames);
    let web = stage.fails().await;
    assert!(web.last_error.contains("other.test"), "{}", web.last_error);
    stage.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_served_is_refused_and_the_last_good_one_stays() {
    let stage = Stage::set().await;
    for (leaf, says) in [
        (Leaf::OtherKey, "another key"),
        (Leaf::OtherNames, "NAME_MISMATCH"),
        (Leaf::Truncated, "UNTRUSTED_CHAIN"),
        (Leaf::Reordered, "another key"),
        (Leaf::Expired, "EXPIRED"),
        (Leaf::NotYetValid, "NOT_YET_VALID"),
    ] {
        stage.ca.issue(leaf);
        let web = stage.fails().await;
        assert!(web.last_error.contains(says), "{leaf:?}: {}", web.last_error);
        let address = stage.world.node_address().to_string();
        let seen = handshake(&address, "node.test", Duration::from_secs(10)).await.unwrap();
        let current = web.current.unwrap();
        assert_eq!(seen.leaf_sha256.to_vec(), current.leaf_sha256, "{leaf:?}");
    }
    stage.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_the_ca_does_not_have_is_told_before_anything_is_ordered() {
    let world = World::new();
    let ca = Hostile::start(&world).await;
    let issuers = format!("{}profile = \"gone\"\n", ca.issuer);
    world.configure_agent(&AgentSettings { issuers, ..AgentSettings::default() });
    let _agent = world.start_agent();
    let web = world.state("failing").await;
    assert!(web.last_error.contains("gone") && web.last_error.contains("classic"), "{}", web.last_error);
    assert_eq!(ca.orders(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_gone_is_made_anew_once_with_the_same_key() {
    let stage = Stage::set().await;
    let key = std::fs::read(stage.world.path("state/accounts/hostile/account.key.pem")).unwrap();
    stage.ca.lose_accounts();
    let renewal = stage.renew().await;
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    assert_eq!(stage.ca.accounts(), 2);
    assert_eq!(std::fs::read(stage.world.path("state/accounts/hostile/account.key.pem")).unwrap(), key);
    stage.recovers().await;
    assert_eq!(stage.ca.accounts(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_moves_its_urls_is_followed_and_a_directory_that_moved_is_told() {
    let stage = Stage::set().await;
    stage.ca.move_to("/v2");
    let first = stage.renew().await;
    if !first.is_done() {
        stage.recovers().await;
    }
    let answer = Answer { status: 301, ..Answer::default() }.header("Location", "https://new.example/dir");
    stage.ca.fault(Point::Directory, ALWAYS, Fault::Instead(answer));
    stage.ca.fault(Point::NewOrder, 1, Fault::Instead(Answer { status: 404, ..Answer::default() }));
    let failed = stage.renew().await;
    assert!(!failed.is_done());
    let failed = stage.renew().await;
    let web = stage.world.web().await.unwrap();
    assert!(
        !failed.is_done() && web.last_error.contains("it has moved to https://new.example/dir"),
        "{web:?}"
    );
}

fn window(from: OffsetDateTime, to: OffsetDateTime) -> Value {
    let text = |at: OffsetDateTime| at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    json!({"suggestedWindow": {"start": text(from), "end": text(to)}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_in_the_past_renews_once_and_not_in_a_loop() {
    let world = World::new();
    let ca = Hostile::start(&world).await;
    let now = OffsetDateTime::now_utc();
    ask_at_once(&world);
    ca.renewal_info(window(now - Duration::from_secs(7200), now - Duration::from_secs(3600)));
    let stage = Stage::with(world, ca, "").await;
    // By itself; and the window of the new one lies in the past as well.
    let renewed = eventually("renewed", PATIENCE, || async {
        let web = stage.world.web().await.filter(|web| web.state == "proven")?;
        (web.current.as_ref()?.generation == 2 && stage.ca.count(Point::RenewalInfo) == 2).then_some(web)
    })
    .await;
    assert!(stage.why().contains("window"), "{}", stage.why());
    assert!(in_ms(&renewed) > HOUR_MS, "{renewed:?}");
    assert_eq!((stage.ca.orders(), renewed.orders), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_makes_no_sense_is_ignored_and_said() {
    let now = OffsetDateTime::now_utc();
    let century = Duration::from_secs(100 * 365 * 86_400);
    for (info, says) in [
        (window(now + Duration::from_secs(7200), now + Duration::from_secs(3600)), "cannot be used"),
        (window(now + century, now + century + Duration::from_secs(3600)), "too late"),
        (json!({"suggestedWindow": "soon"}), "cannot be used"),
    ] {
        let world = World::new();
        let ca = Hostile::start(&world).await;
        ask_at_once(&world);
        ca.renewal_info(info);
        let stage = Stage::with(world, ca, "").await;
        let why = eventually("said", PATIENCE, || async {
            let why = stage.why();
            why.contains(says).then_some(why)
        })
        .await;
        // Two thirds of 90 days less the spread, or a tenth before the end where the CA wants it later still.
        let web = stage.world.web().await.unwrap();
        assert!((50 * 24 * HOUR_MS..82 * 24 * HOUR_MS).contains(&in_ms(&web)), "{why}");
        assert_eq!(stage.ca.orders(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_ends_at_the_deadline() {
    let stage = Stage::set().await;
    stage.ca.fault(Point::NewOrder, ALWAYS, Fault::Drip);
    let started = Instant::now();
    let web = stage.fails().await;
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}", started.elapsed());
    assert!(web.last_error.contains("time"), "{}", web.last_error);
    stage.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_or_no_acme_are_refused_with_what_they_are() {
    let stage = Stage::set().await;
    let huge = Answer { status: 201, body: "x".repeat(2 << 20), ..Answer::default() };
    let page = Answer {
        status: 200,
        headers: vec![("Content-Type", "text/html".into())],
        body: "<html>Captive portal</html>".into(),
    };
    for (point, answer, says) in [
        (Point::NewOrder, huge.clone(), "more than 1048576 bytes"),
        (Point::NewOrder, page.clone(), "something that is not ACME"),
        (Point::Certificate, page, "the certificate holds none"),
        (Point::Certificate, huge, "more than 1048576 bytes"),
    ] {
        stage.ca.fault(point, ALWAYS, Fault::Instead(answer));
        let web = stage.fails().await;
        assert!(web.last_error.contains(says), "{point:?}: {}", web.last_error);
        stage.ca.heal();
    }
    stage.recovers().await;
}
