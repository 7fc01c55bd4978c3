#![allow(clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use time::{Duration, OffsetDateTime};

use super::*;

struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

struct Made {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(10);
    params
}

impl Pki {
    fn new() -> Self {
        let root = CertifiedIssuer::self_signed(ca_params(), KeyPair::generate().unwrap()).unwrap();
        let intermediate =
            CertifiedIssuer::signed_by(ca_params(), KeyPair::generate().unwrap(), &root).unwrap();
        Self { root, intermediate }
    }

    fn anchors(&self) -> Anchors {
        Anchors::from_der([self.root.der().clone()]).unwrap()
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Made {
        let names = ["a.example".to_owned(), "*.w.example".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = OffsetDateTime::now_utc() - Duration::minutes(1);
        params.not_after = OffsetDateTime::now_utc() + Duration::hours(1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        Made {
            chain: vec![leaf.der().clone(), self.intermediate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn check(pki: &Pki, made: &Made, wanted: &[&str]) -> Result<Checked, Rejection> {
    validate(&made.chain, &made.key, Names::All(&names(wanted)), &pki.anchors(), UnixTime::now())
}

fn reason(pki: &Pki, made: &Made) -> NackReason {
    check(pki, made, &["a.example"]).unwrap_err().reason
}

#[test]
fn good_bundle_passes_and_tells_its_facts() {
    let pki = Pki::new();
    let made = pki.leaf(|_| {});
    let checked = check(&pki, &made, &["a.example", "x.w.example", "*.w.example", "127.0.0.1"]).unwrap();
    assert_eq!(checked.leaf.names, ["a.example", "*.w.example", "127.0.0.1"]);
    assert_eq!(checked.leaf.sha256, sha256(&made.chain[0]));
    assert_eq!(checked.leaf.not_after - checked.leaf.not_before, 3660);
}

#[test]
fn the_issuer_is_that_of_the_verified_path() {
    // All of these authorities have the same name.
    let (pki, twin) = (Pki::new(), Pki::new());
    let issuer = |chain: usize, anchors: [&CertificateDer<'static>; 2]| {
        let mut made = pki.leaf(|_| {});
        made.chain.truncate(chain);
        let anchors = Anchors::from_der(anchors.map(Clone::clone)).unwrap();
        let names = names(&["a.example"]);
        let checked = validate(&made.chain, &made.key, Names::All(&names), &anchors, UnixTime::now());
        checked.unwrap().issuer
    };
    let intermediate = pki.intermediate.der();
    assert_eq!(issuer(2, [twin.root.der(), pki.root.der()]).as_ref(), Some(intermediate));
    assert_eq!(
        issuer(1, [twin.root.der(), intermediate]).as_ref(),
        Some(intermediate),
        "a root, not its twin"
    );
}

#[test]
fn a_signature_that_is_remembered_makes_no_other_chain_good() {
    let (pki, twin) = (Pki::new(), Pki::new());
    let made = pki.leaf(|_| {});
    assert!(check(&pki, &made, &["a.example"]).is_ok());
    let names = names(&["a.example"]);
    let reason = |chain: &[CertificateDer<'static>], anchors: &Anchors, now: UnixTime| {
        validate(chain, &made.key, Names::All(&names), anchors, now).unwrap_err().reason
    };
    let now = UnixTime::now();
    assert_eq!(reason(&made.chain, &twin.anchors(), now), NackReason::UntrustedChain);
    // The signature of the leaf is remembered, but its intermediate is not there, or is another of the same name.
    assert_eq!(reason(&made.chain[..1], &pki.anchors(), now), NackReason::UntrustedChain);
    let other = [made.chain[0].clone(), twin.intermediate.der().clone()];
    assert_eq!(reason(&other, &pki.anchors(), now), NackReason::UntrustedChain);
    let later = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs() + 3601));
    assert_eq!(reason(&made.chain, &pki.anchors(), later), NackReason::Expired);
    let mut changed = made.chain[0].to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let changed = [CertificateDer::from(changed), made.chain[1].clone()];
    assert_eq!(reason(&changed, &pki.anchors(), now), NackReason::UntrustedChain);
}

#[test]
fn each_fault_has_its_own_reason() {
    let pki = Pki::new();
    let good = pki.leaf(|_| {});
    let now = OffsetDateTime::now_utc();

    let foreign_key = Made { key: pki.leaf(|_| {}).key, chain: good.chain.clone() };
    assert_eq!(reason(&pki, &foreign_key), NackReason::KeyMismatch);

    let expired = pki.leaf(|params| params.not_after = now - Duration::seconds(5));
    assert_eq!(reason(&pki, &expired), NackReason::Expired);

    let early = pki.leaf(|params| params.not_before = now + Duration::minutes(5));
    assert_eq!(reason(&pki, &early), NackReason::NotYetValid);

    let client_only =
        pki.leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(reason(&pki, &client_only), NackReason::WrongUsage);

    let truncated = Made { chain: good.chain[..1].to_vec(), key: good.key.clone_key() };
    assert_eq!(reason(&pki, &truncated), NackReason::UntrustedChain);

    let cut = good.chain[0][..good.chain[0].len() - 3].to_vec();
    let garbled = Made { chain: vec![cut.into(), good.chain[1].clone()], key: good.key.clone_key() };
    assert_eq!(reason(&pki, &garbled), NackReason::Malformed);

    let empty = Made { chain: vec![], key: good.key.clone_key() };
    assert_eq!(reason(&pki, &empty), NackReason::Malformed);

    let no_key = Made { chain: good.chain.clone(), key: PrivatePkcs8KeyDer::from(vec![1, 2, 3]) };
    assert_eq!(reason(&pki, &no_key), NackReason::Malformed);

    let other_pki = Pki::new();
    assert_eq!(reason(&other_pki, &good), NackReason::UntrustedChain);

    assert_eq!(check(&pki, &good, &["b.example"]).unwrap_err().reason, NackReason::NameMismatch);
}

#[test]
fn expired_intermediate_is_expired_not_untrusted() {
    let mut pki = Pki::new();
    let mut params = ca_params();
    params.not_after = OffsetDateTime::now_utc() - Duration::hours(1);
    pki.intermediate = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &pki.root).unwrap();
    let made = pki.leaf(|_| {});
    assert_eq!(reason(&pki, &made), NackReason::Expired);
}

#[test]
fn a_node_needs_any_name_and_an_agent_all() {
    let pki = Pki::new();
    let made = pki.leaf(|_| {});
    let wanted = names(&["b.example", "a.example"]);
    let run = |names| validate(&made.chain, &made.key, names, &pki.anchors(), UnixTime::now());
    assert!(run(Names::Any(&wanted)).is_ok());
    let rejection = run(Names::All(&wanted)).unwrap_err();
    assert!(rejection.detail.ends_with("not for b.example"), "{rejection}");
}

#[test]
fn overlong_chains_and_certificates_are_refused() {
    let pki = Pki::new();
    let made = pki.leaf(|_| {});
    let chain = vec![made.chain[0].clone(); MAX_CHAIN_LEN + 1];
    assert_eq!(reason(&pki, &Made { chain, key: made.key.clone_key() }), NackReason::Malformed);
    let chain = vec![CertificateDer::from(vec![0x30; MAX_CERTIFICATE_BYTES + 1])];
    assert_eq!(reason(&pki, &Made { chain, key: made.key.clone_key() }), NackReason::Malformed);
}

#[test]
fn serials_are_shown_as_openssl_shows_them() {
    assert_eq!(serial_of(&[0, 0x8f, 1]), "8f01");
    assert_eq!(serial_of(&[0x0a]), "0a");
    assert_eq!(serial_of(&[0]), "00");
}
