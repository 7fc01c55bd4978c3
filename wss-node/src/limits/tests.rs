#![allow(clippy::unwrap_used)]

use super::*;

const FAR: &str = "192.0.2.1";
const OWN: &str = "192.0.2.9";

fn limits(extra: &str) -> Arc<Limits> {
    let text = format!("server_names = [\"a.example\"]\n[token]\nanonymous = true\n{extra}");
    let config = Config::from_text("n.toml".as_ref(), &text).unwrap();
    Limits::new(&config, Arc::default())
}

fn accept(limits: &Arc<Limits>, peer: &str) -> Result<AcceptPlace, LimitFault> {
    limits.accept(peer.parse().unwrap(), OWN.parse().unwrap(), 9, Instant::now())
}

fn tenant(name: Option<&str>, sessions: u32) -> Tenant {
    let config = "server_names = [\"a\"]\n[token]\nanonymous = true";
    let config = Config::from_text("n.toml".as_ref(), config).unwrap();
    Tenant { name: name.map(str::to_owned), sessions, ..Tenant::everybody(&config).unwrap() }
}

fn session(limits: &Arc<Limits>, address: &str, tenant: &Tenant) -> Result<SessionPlace, LimitFault> {
    limits.session(address.parse().unwrap(), tenant)
}

#[test]
fn a_full_node_lets_in_proofs_and_nobody_else() {
    let limits = limits("[listen]\nmax_connections = 1");
    let first = accept(&limits, FAR).unwrap();
    assert!(!first.proof_only);
    assert_eq!(accept(&limits, FAR).unwrap_err(), LimitFault::Connections);
    assert!(accept(&limits, OWN).unwrap().proof_only);
    let proofs: Vec<_> = (0..=PROOF_PLACES).filter_map(|_| accept(&limits, "127.0.0.1").ok()).collect();
    assert_eq!(proofs.len(), PROOF_PLACES);
    assert_eq!(limits.counters.limits_reached(LimitFault::Connections), 2);
    drop(first);
    assert!(!accept(&limits, FAR).unwrap().proof_only);
}

#[test]
fn proofs_get_in_over_every_limit_of_the_peer() {
    let limits = limits("[limits]\nhandshakes_per_ip = 1\naccepts_per_second_per_ip = 1");
    for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1", OWN] {
        let _first = accept(&limits, peer);
        assert!(accept(&limits, peer).unwrap().proof_only, "{peer}");
    }
}

#[test]
fn the_last_tenth_of_the_descriptors_is_for_proofs() {
    let limits = limits("");
    let accept = |peer: &str, descriptor| {
        limits.accept(peer.parse().unwrap(), OWN.parse().unwrap(), descriptor, Instant::now())
    };
    assert!(accept(FAR, limits.reserve - 1).is_ok());
    assert_eq!(accept(FAR, limits.reserve).unwrap_err(), LimitFault::Descriptors);
    assert!(accept(OWN, limits.reserve).unwrap().proof_only);
}

#[test]
fn trusted_proxies_are_exempt_until_they_tell_whose_connection_it_is() {
    let limits = limits("[limits]\nhandshakes_per_ip = 1\n[proxy]\ntrusted = [\"192.0.2.0/24\"]");
    let mut places: Vec<_> = (0..10).map(|_| accept(&limits, FAR).unwrap()).collect();
    let client = "198.51.100.7".parse().unwrap();
    limits.told(&mut places[0], client, Instant::now()).unwrap();
    let fault = limits.told(&mut places[1], client, Instant::now()).unwrap_err();
    assert_eq!(fault, LimitFault::Handshakes);
    assert_eq!(accept(&limits, "198.51.100.7").unwrap_err(), LimitFault::Handshakes);
    places.clear();
    assert!(accept(&limits, "198.51.100.7").is_ok());
}

#[test]
fn a_connection_counts_as_unauthenticated_until_its_session_says_who_it_is() {
    let limits = limits("[limits]\nunauthenticated = 2\nhandshakes_per_ip = 1");
    let mut connection = accept(&limits, FAR).unwrap();
    assert_eq!(accept(&limits, FAR).unwrap_err(), LimitFault::Handshakes);
    let mut place = session(&limits, FAR, &tenant(None, 0)).unwrap();
    connection.becomes(&mut place);
    let other = accept(&limits, FAR).unwrap();
    assert_eq!(accept(&limits, "192.0.2.2").unwrap_err(), LimitFault::Unauthenticated);
    place.authenticated();
    assert!(accept(&limits, "192.0.2.2").is_ok());
    drop((connection, place, other));
    assert_eq!(limits.free_unauthenticated(), 2);
}

#[test]
fn sessions_are_limited_for_each_client_and_each_tenant() {
    let limits = limits("[limits]\nsessions_per_ip = 2");
    let everybody = tenant(None, 0);
    let held: Vec<_> = (0..2).map(|_| session(&limits, "2001:db8::1", &everybody).unwrap()).collect();
    assert_eq!(session(&limits, "2001:db8::2", &everybody).unwrap_err(), LimitFault::Sessions);
    assert!(session(&limits, "2001:db8:0:1::2", &everybody).is_ok());
    drop(held);
    assert!(session(&limits, "2001:db8::2", &everybody).is_ok());

    let acme = tenant(Some("acme"), 1);
    let place = session(&limits, "192.0.2.1", &acme).unwrap();
    assert_eq!(session(&limits, "192.0.2.2", &acme).unwrap_err(), LimitFault::TenantSessions);
    assert!(session(&limits, "192.0.2.2", &tenant(Some("other"), 1)).is_ok());
    drop(place);
    assert!(session(&limits, "192.0.2.2", &acme).is_ok());
    assert_eq!(limits.counters.limits_reached(LimitFault::TenantSessions), 1);
}
