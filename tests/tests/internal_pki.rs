//! What the embedded CA publishes, as openssl sees it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sealwire_proto::v1::CaStatusRequest;
use sealwire_tests::process::{Ran, run};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An agent that publishes, with a certificate for no node.
fn configure(world: &World) {
    let at = format!("{}:8089", world.address);
    world.configure_agent(&AgentSettings {
        issuers: format!(
            "[internal.pki]\nleaf_lifetime = \"1h\"\npermitted = [\"node.test\", \"127.0.0.0/8\"]\npublish = {{ listen = \"{at}\", url = \"http://{at}\" }}\n"
        ),
        certificate: "nodes = []".to_owned(),
        ..AgentSettings::default()
    });
}

fn blocking<T>(what: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(what)
}

fn sealwire(world: &World, arguments: &[&str]) -> Ran {
    let ran = blocking(|| world.run(arguments.iter().copied()));
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    ran
}

fn openssl(arguments: &[&str]) -> Ran {
    let openssl = tools::find("openssl").unwrap();
    blocking(|| run(Command::new(openssl).args(arguments)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a server got, in files: leaf, intermediate, both roots of a check.
struct Files {
    leaf: PathBuf,
    intermediate: PathBuf,
    /// Root and intermediate: openssl takes its path for signers of OCSP from here.
    above: PathBuf,
    serial: String,
    generation: u64,
}

/// The generation that follows `after`, once it is stored.
async fn files(world: &World, after: u64) -> Files {
    let web = eventually("a generation", PATIENCE, || async {
        world.web().await.filter(|web| web.current.as_ref().is_some_and(|current| current.generation > after))
    })
    .await;
    let current = web.current.unwrap();
    let generation = current.generation;
    let chain = std::fs::read(world.path("state/live/web/fullchain.pem")).unwrap();
    let pems: Vec<_> = String::from_utf8(chain)
        .unwrap()
        .split_inclusive("-----END CERTIFICATE-----\n")
        .map(str::to_owned)
        .collect();
    let (_, root) = world.roots().await;
    let root = std::fs::read_to_string(root).unwrap();
    Files {
        leaf: world.write(&format!("leaf-{generation}.pem"), &pems[0]),
        intermediate: world.write(&format!("intermediate-{generation}.pem"), &pems[1]),
        above: world.write(&format!("above-{generation}.pem"), &format!("{root}{}", pems[1])),
        serial: current.serial,
        generation,
    }
}

async fn fetch(world: &World, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect((world.address, 8089)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: pki\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(reply[..end].to_vec()).unwrap(), reply[end..].to_vec())
}

/// Fetches a list and has openssl check its signature; gives its file (PEM) and what openssl shows of it.
async fn crl(world: &World, authority: &str, signer: &Path) -> (PathBuf, String) {
    let (head, der) = fetch(world, &format!("/pki/{authority}.crl")).await;
    assert!(head.contains("content-type: application/pkix-crl"), "{head}");
    let (file, pem) = (world.path(&format!("{authority}.der")), world.path(&format!("{authority}.crl.pem")));
    std::fs::write(&file, der).unwrap();
    let (signer, file, shown) = (text(signer), text(&file), text(&pem).to_owned());
    let ran = openssl(&["crl", "-inform", "DER", "-in", file, "-CAfile", signer, "-text", "-out", &shown]);
    assert!(ran.code == 0 && ran.err.contains("verify OK"), "{ran:?}");
    let shown = std::fs::read_to_string(&pem).unwrap();
    (pem, shown)
}

/// Asks the responder about the leaf, with `more` arguments.
fn ocsp(world: &World, files: &Files, more: &[&str]) -> Ran {
    let url = format!("http://{}:8089/pki/ocsp", world.address);
    let response = world.path("response.der");
    let mut arguments = vec!["ocsp", "-url", &url, "-issuer", text(&files.intermediate)];
    arguments.extend(["-CAfile", text(&files.above), "-respout", text(&response)]);
    arguments.extend(more);
    let ran = openssl(&arguments);
    assert!(ran.code == 0 && ran.err.contains("Response verify OK"), "{ran:?}");
    // The response by itself, as a server would staple it.
    let mut arguments = vec!["ocsp", "-respin", text(&response), "-issuer", text(&files.intermediate)];
    arguments.extend(["-CAfile", text(&files.above), "-no_nonce"]);
    arguments.extend(more.iter().filter(|argument| **argument != "-nonce"));
    let again = openssl(&arguments);
    assert!(again.code == 0 && again.err.contains("Response verify OK"), "{again:?}");
    assert_eq!(again.out, ran.out);
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_takes_lists_and_answers_and_finds_what_is_revoked() {
    let world = World::new();
    configure(&world);
    let agent = world.start_agent();
    let first = files(&world, 0).await;
    if tools::find("openssl").is_none() {
        return;
    }

    // The leaf says where to ask, and openssl asks there.
    let leaf = text(&first.leaf);
    let ran = openssl(&["x509", "-in", leaf, "-noout", "-ocsp_uri"]);
    assert_eq!(ran.out.trim(), format!("http://{}:8089/pki/ocsp", world.address));
    for digest in ["-sha1", "-sha256"] {
        let ran = ocsp(&world, &first, &[digest, "-cert", leaf]);
        assert!(ran.out.contains(&format!("{leaf}: good")), "{ran:?}");
        assert!(!ran.err.contains("no nonce in response"), "{ran:?}");
    }
    let ran = ocsp(&world, &first, &["-serial", "0x4123456789abcdef0123456789abcdef"]);
    assert!(ran.out.contains(": unknown"), "{ran:?}");

    // By GET, as stapling servers and caches do.
    let request = world.path("request.der");
    let arguments =
        ["-issuer", text(&first.intermediate), "-cert", leaf, "-no_nonce", "-reqout", text(&request)];
    let ran = openssl(&[&["ocsp"][..], &arguments].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(std::fs::read(&request).unwrap());
    let escaped = encoded.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let (head, answer) = fetch(&world, &format!("/pki/ocsp/{escaped}")).await;
    assert!(head.contains("content-type: application/ocsp-response") && head.contains("max-age="), "{head}");
    assert_eq!(fetch(&world, &format!("/pki/ocsp/{encoded}")).await.1, answer);
    std::fs::write(world.path("get.der"), &answer).unwrap();
    let ran = openssl(&[
        "ocsp",
        "-respin",
        text(&world.path("get.der")),
        "-issuer",
        text(&first.intermediate),
        "-cert",
        leaf,
        "-CAfile",
        text(&first.above),
    ]);
    assert!(ran.err.contains("Response verify OK") && ran.out.contains(": good"), "{ran:?}");

    // Lists: signed, scoped, and enough to check the whole chain with.
    let (leaves, shown) = crl(&world, "intermediate-1", &first.above).await;
    assert!(shown.contains("X509v3 Issuing Distribution Point: critical"), "{shown}");
    assert!(shown.contains("Only User Certificates") && shown.contains("No Revoked Certificates"), "{shown}");
    let (cas, shown) = crl(&world, "root-1", &first.above).await;
    assert!(!shown.contains("Issuing Distribution Point"), "{shown}");
    let verify = |leaf: &Path, intermediate: &Path, lists: [&Path; 2]| {
        let [leaves, cas] = lists.map(text);
        let (root, above) = (world.path("root.pem"), text(intermediate));
        openssl(&[
            "verify",
            "-crl_check_all",
            "-CRLfile",
            leaves,
            "-CRLfile",
            cas,
            "-CAfile",
            text(&root),
            "-untrusted",
            above,
            text(leaf),
        ])
    };
    let ran = verify(&first.leaf, &first.intermediate, [&leaves, &cas]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (_, der) = fetch(&world, "/pki/intermediate-1.cer").await;
    assert_eq!(CertificateDer::from_pem_file(&first.intermediate).unwrap().as_ref(), der);
    assert_eq!(fetch(&world, "/pki/roots.pem").await.1, std::fs::read(world.path("root.pem")).unwrap());

    // Revoked: both say so at once, and another one is ordered.
    let ran = sealwire(&world, &["revoke", "web", "--reason", "key-compromise"]);
    assert!(ran.out.contains(&first.serial), "{ran:?}");
    let ran = ocsp(&world, &first, &["-cert", leaf]);
    assert!(ran.out.contains(": revoked") && ran.out.contains("Reason: keyCompromise"), "{ran:?}");
    let (leaves, shown) = crl(&world, "intermediate-1", &first.above).await;
    assert!(shown.contains(&first.serial.to_uppercase()) && shown.contains("Key Compromise"), "{shown}");
    let ran = verify(&first.leaf, &first.intermediate, [&leaves, &cas]);
    assert!(ran.code != 0 && ran.err.contains("certificate revoked"), "{ran:?}");
    let second = files(&world, first.generation).await;
    let ran = verify(&second.leaf, &second.intermediate, [&leaves, &cas]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = ocsp(&world, &second, &["-cert", text(&second.leaf)]);
    assert!(ran.out.contains(": good"), "{ran:?}");

    // After kill -9 nothing is forgotten, and the number of the list does not go back.
    let number = |world: &World| {
        let shown = blocking(|| world.run(["ca", "status"])).out;
        let line = shown.lines().find_map(|line| line.strip_prefix("CRL       number ")).map(str::to_owned);
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok())
    };
    let before = number(&world).unwrap();
    let mut agent = agent;
    agent.kill();
    let agent = world.start_agent();
    let after = eventually("the agent", PATIENCE, || async { number(&world) }).await;
    assert!(after >= before, "{after} after {before}");
    let ran = ocsp(&world, &first, &["-cert", leaf]);
    assert!(ran.out.contains(": revoked"), "{ran:?}");

    // The intermediate: on the list of the root, and nothing of it is served any more.
    let ran = sealwire(&world, &["ca", "revoke-intermediate", "--reason", "key-compromise"]);
    assert!(ran.out.contains("revoked   2"), "{ran:?}");
    let third = files(&world, second.generation).await;
    let (cas, shown) = crl(&world, "root-1", &first.above).await;
    assert!(shown.contains("Key Compromise"), "{shown}");
    let ran = verify(&second.leaf, &second.intermediate, [&leaves, &cas]);
    assert!(ran.code != 0 && ran.err.contains("certificate revoked"), "{ran:?}");
    let (leaves, _) = crl(&world, "intermediate-2", &third.above).await;
    let ran = verify(&third.leaf, &third.intermediate, [&leaves, &cas]);
    assert_eq!(ran.code, 0, "{ran:?}");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_cas_share_a_listener_and_what_they_did_not_issue_is_refused() {
    let world = World::new();
    let at = format!("{}:8089", world.address);
    let publish = format!("publish = {{ listen = \"{at}\", url = \"http://{at}\" }}\n");
    let issuers = format!("[internal.one]\n{publish}[internal.two]\n{publish}");
    let certificate = "nodes = []\nissuers = [\"one\"]".to_owned();
    world.configure_agent(&AgentSettings { issuers, certificate, ..AgentSettings::default() });
    let agent = world.start_agent();
    world.state("stored").await;
    let mut admin = world.admin().await;
    for issuer in ["one", "two"] {
        let status =
            admin.ca_status(CaStatusRequest { issuer: issuer.to_owned() }).await.unwrap().into_inner();
        let roles: Vec<_> = status.authorities.iter().map(|authority| authority.role.as_str()).collect();
        assert_eq!(roles, ["root", "intermediate"]);
        assert!(status.rotation.is_empty() && status.crl_number > 0);
        let (head, root) = fetch(&world, &format!("/{issuer}/root-1.cer")).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(sealwire_proto::validate::sha256(&root).as_slice(), status.authorities[0].sha256);
    }
    let ran = blocking(|| world.run(["ca", "status"]));
    assert!(ran.code == 2 && ran.err.contains("name one: one, two"), "{ran:?}");
    let ran = blocking(|| world.run(["ca", "confirm", "one"]));
    assert!(ran.code == 1 && ran.err.contains("no new root waits for confirmation"), "{ran:?}");

    // Another listener on the same address is a plain error.
    let other = World::new();
    other.configure_agent(&AgentSettings {
        issuers: format!("[internal.pki]\n{publish}"),
        certificate: "nodes = []".to_owned(),
        ..AgentSettings::default()
    });
    let ran = blocking(|| other.run(["run"]));
    assert!(ran.code == 1 && ran.err.contains("publish.listen: cannot listen on"), "{ran:?}");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_stapled_and_a_revoked_intermediate_is_found() {
    let world = World::new();
    let at = format!("{}:8089", world.address);
    world.configure_agent(&AgentSettings {
        issuers: format!(
            "[internal.pki]\nleaf_lifetime = \"1h\"\npublish = {{ listen = \"{at}\", url = \"http://{at}\" }}\n"
        ),
        ..AgentSettings::default()
    });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    let first = world.proven().await.current.unwrap().generation;
    eventually("our own watch finds it good", PATIENCE, || async {
        world.web().await?.revocation.filter(|revocation| revocation.state == "good")
    })
    .await;
    world.roots().await;
    let Some(openssl) = tools::find("openssl") else { return };
    eventually("a staple", PATIENCE, || async {
        let mut command = Command::new(&openssl);
        let server = world.node_address().to_string();
        command.args(["s_client", "-status", "-connect", &server, "-servername", "node.test"]);
        let ran = blocking(|| run(command.arg("-CAfile").arg(world.path("root.pem"))));
        (ran.out.contains("OCSP Response Status: successful") && ran.out.contains("Cert Status: good"))
            .then_some(())
    })
    .await;
    sealwire(&world, &["ca", "revoke-intermediate", "--reason", "key-compromise"]);
    eventually("another one under a new intermediate", PATIENCE, || async {
        let web = world.web().await?;
        (web.state == "proven" && web.current?.generation > first).then_some(())
    })
    .await;
}
