#![allow(clippy::unwrap_used)]

use super::super::test_server::TestServer;
use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

async fn server() -> (TestServer, Resolver) {
    let server = TestServer::start("example.", None).await;
    let resolver = Resolver::new(&[&[], &[server.address()]]).with_authority_port(server.address().port());
    (server, resolver)
}

#[tokio::test]
async fn aliases_are_followed_and_circles_told() {
    let (server, resolver) = server().await;
    server.cname("_acme-challenge.a.example.", "one.example.");
    server.cname("one.example.", "Two.example.");
    assert_eq!(resolver.target(&name("_acme-challenge.A.example.")).await.unwrap(), name("two.example."));
    assert_eq!(resolver.target(&name("b.example.")).await.unwrap(), name("b.example."));

    server.cname("x.example.", "y.example.");
    server.cname("y.example.", "x.example.");
    let error = resolver.target(&name("x.example.")).await.unwrap_err();
    assert_eq!(error, AliasError::Endless(name("x.example.")));
    for step in 0..9 {
        server.cname(&format!("s{step}.example."), &format!("s{}.example.", step + 1));
    }
    assert!(matches!(resolver.target(&name("s0.example.")).await, Err(AliasError::Endless(_))));
    assert_eq!(resolver.target(&name("s1.example.")).await.unwrap(), name("s9.example."));
}

#[tokio::test]
async fn the_servers_of_a_zone_are_found_from_below() {
    let (server, resolver) = server().await;
    server.name_server("ns1.example.");
    server.name_server("ns2.example.");
    let found = resolver.authorities(&name("_acme-challenge.deep.below.example.")).await.unwrap();
    let names: Vec<String> = found.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["ns1.example.", "ns2.example."]);
    assert!(found.iter().all(|one| one.addresses == [server.address()]));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_fetched_over_tcp() {
    let server = TestServer::with("example.", None, true).await;
    server
        .add("a.example.", RData::TXT(hickory_proto::rr::rdata::TXT::new(vec!["one ".into(), "two".into()])));
    let resolver = Resolver::new(&[&[server.address()]]);
    assert_eq!(resolver.txt(&name("a.example.")).await.unwrap(), ["one two"]);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_does_not_answer() {
    let (server, _) = server().await;
    server.txt("a.example.", "here");
    // Nothing listens there, which TCP tells at once.
    let dead: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let resolver = Resolver::new(&[&[dead, server.address()]]);
    assert_eq!(resolver.txt(&name("a.example.")).await.unwrap(), ["here"]);

    let error = Resolver::new(&[&[dead]]).txt(&name("a.example.")).await.unwrap_err();
    assert!(error.to_string().starts_with("DNS server 127.0.0.1:9: "), "{error}");
    let error = Resolver::new(&[&[server.address()]]).txt(&name("a.other.")).await.unwrap_err();
    assert!(matches!(error, DnsError::Code { .. }), "{error}");
}

#[test]
fn resolv_conf_is_read() {
    let text = "# c\nsearch x\nnameserver 10.0.0.1\n nameserver  ::1 \nnameserver bad\noptions nameserver\n";
    let expected: Vec<SocketAddr> = vec!["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
    assert_eq!(nameservers(text), expected);
}
