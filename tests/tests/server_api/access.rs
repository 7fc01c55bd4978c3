//! Who is let in, and how much at once.

use reqwest::{Client, Version};
use rustls::{ClientConfig, RootCertStore};
use sealwire_tests::authority::Authority;
use sealwire_tests::eventually;
use sealwire_tests::scripted_agent::Scripted;
use sealwire_tests::world::{PATIENCE, World};
use serde_json::{Value, json};

use crate::scene::{HOUR, KEY, NAMESPACES, OTHER_KEY, Scene, keys};

#[tokio::test(flavor = "multi_thread")]
async fn only_those_with_a_key_are_let_in_and_not_too_much_at_once() {
    let scene = Scene::open("body_bytes = 2048\n").await;
    let body = || json!({"channel": "news", "data": 1}).to_string();
    for headers in
        [&[][..], &[("X-API-Key", "wrong")], &[("Authorization", KEY)], &[("Authorization", "Bearer x")]]
    {
        let response = scene.raw("publish", headers, body()).await;
        assert_eq!(response.status(), 401, "{headers:?}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], 101);
    }
    let in_the_path = scene.raw(&format!("publish?api_key={KEY}"), &[], body()).await;
    assert_eq!(in_the_path.status(), 401, "a key in a path ends up in logs");
    let lower = format!("apikey {KEY}");
    assert_eq!(scene.raw("publish", &[("Authorization", &lower)], body()).await.status(), 200);
    let audited = eventually("it is audited", PATIENCE, || async {
        let audit = std::fs::read_to_string(scene.world().path("audit.jsonl")).unwrap();
        audit.contains("api_refused").then_some(audit)
    })
    .await;
    assert!(audited.contains("no key for /api/publish") && !audited.contains(KEY), "{audited}");
    assert!(scene.metric("wss_node_api_refused_total{reason=\"unauthorized\"} 5").await);

    let with_key = [("X-API-Key", KEY)];
    assert_eq!(scene.raw("publish", &with_key, "x".repeat(3000)).await.status(), 413);
    assert_eq!(scene.raw("publish", &with_key, "{").await.status(), 400);
    assert_eq!(scene.raw("publish", &with_key, "[\"news\"]").await.status(), 400);
    assert_eq!(scene.raw("nothing", &with_key, "{}").await.status(), 404);
    let get = scene.http.get(format!("{}/api/info", scene.base)).header("X-API-Key", KEY);
    assert_eq!(get.send().await.unwrap().status(), 405);
    assert_eq!(scene.raw("info", &with_key, "").await.status(), 200, "no body is no field");

    // Keys are changed without a restart: first both are good, then the new one alone.
    let file = scene.world().path("api-keys");
    for (content, good, bad) in [(&[KEY, OTHER_KEY][..], OTHER_KEY, "wrong"), (&[OTHER_KEY], OTHER_KEY, KEY)]
    {
        keys(&file, content);
        eventually("the keys are read again", PATIENCE, || async {
            let good = scene.raw("info", &[("X-API-Key", good)], "").await.status();
            let bad = scene.raw("info", &[("X-API-Key", bad)], "").await.status();
            (good == 200 && bad == 401).then_some(())
        })
        .await;
    }
    // The rest of the admin address asks for none.
    assert!(scene.http.get(format!("{}/healthz", scene.base)).send().await.unwrap().status().is_success());
}

/// Trusts the node, and is somebody whom `authority` vouches for.
fn somebody(ca: &Authority, authority: Option<&Authority>, name: &str) -> Client {
    let mut roots = RootCertStore::empty();
    for certificate in ca.anchors().certificates() {
        roots.add(certificate.clone()).unwrap();
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let (chain, key) = authority.client(name);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Client::builder().tls_backend_preconfigured(config).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_address_of_its_own_a_certificate_is_the_key() {
    let world = World::new();
    let (applications, others, ca) =
        (Authority::new("ours"), Authority::new("others"), Authority::new("node"));
    let roots = world.write("applications.pem", &applications.pem());
    let extra = format!(
        "[api]\naddress = \"{}:9443\"\nclient_roots = {roots:?}\nclient_names = [\"shop.test\"]\n{NAMESPACES}",
        world.address
    );
    let mut scripted = Scripted::start_with(world, &extra, |_| {}).await;
    scripted.pairing.serve(ca.bundle(&scripted.world, 1, HOUR)).await;
    let url = format!("https://{}:9443/api/publish", scripted.world.address);
    let publish = |client: Client| {
        let body = json!({"channel": "news", "data": 1}).to_string();
        client.post(&url).body(body).send()
    };
    let answer = publish(somebody(&ca, Some(&applications), "shop.test")).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 200));
    assert_eq!(answer.json::<Value>().await.unwrap()["result"]["offset"], 1);
    assert!(publish(somebody(&ca, Some(&applications), "someone.test")).await.is_err());
    assert!(publish(somebody(&ca, Some(&others), "shop.test")).await.is_err());
    assert!(publish(somebody(&ca, None, "")).await.is_err());
    let _told = scripted.node.line("none of these is in api.client_names", PATIENCE);
    let admin = format!("http://{}:9090/api/publish", scripted.world.address);
    let elsewhere = Client::new().post(admin).body("{}").send().await.unwrap();
    assert_eq!(elsewhere.status(), 404, "not on the admin address too");
}
