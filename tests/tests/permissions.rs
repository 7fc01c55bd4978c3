//! Secrets that others may read are refused when the agent starts, with the command that mends it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sealwire_tests::world::{AgentSettings, PATIENCE, World};

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The agent ends, and its last word is how to mend the file.
fn is_refused(world: &World, path: &Path) {
    for mode in [0o640, 0o604] {
        set_mode(path, mode);
        let mut agent = world.start_agent();
        assert_eq!(agent.ended(PATIENCE).code(), Some(1), "{}", agent.log());
        let line = agent.line("may be read by others", PATIENCE);
        assert!(line.contains(&format!("mode {mode:04o}")), "{line}");
        assert!(line.contains(&format!("chmod 0600 {}", path.display())), "{line}");
    }
    set_mode(path, 0o600);
}

#[tokio::test]
async fn keys_of_the_embedded_ca_and_of_certificates() {
    let world = World::new();
    let (mut agent, _node) = world.start().await;
    let live = world.path("state/live/web/privkey.pem");
    assert_eq!(std::fs::metadata(&live).unwrap().permissions().mode() & 0o7777, 0o600);
    agent.kill();

    let mut keys = vec![std::fs::canonicalize(&live).unwrap()];
    for entry in std::fs::read_dir(world.path("state/ca/pki")).unwrap() {
        let path = entry.unwrap().path();
        keys.extend(path.to_str().unwrap().ends_with(".key.pem").then_some(path));
    }
    assert_eq!(keys.len(), 3, "leaf, root, intermediate: {keys:?}");
    for key in keys {
        is_refused(&world, &key);
    }
    let _agent = world.start_agent();
    world.proven().await;
}

#[tokio::test]
async fn keys_of_an_acme_account_long_before_they_are_used() {
    let world = World::new();
    let issuers = format!(
        "[acme.away]\ndirectory = \"https://{}:14000/dir\"\nterms_of_service_agreed = true\n",
        world.address
    );
    world.configure_agent(&AgentSettings { issuers, ..AgentSettings::default() });
    let mut agent = world.start_agent();
    world.state("failing").await;
    agent.kill();
    // On disk before the CA hears of it, so it is there although there is no CA.
    let key = world.path("state/accounts/away/account.key.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    is_refused(&world, &key);
    let credentials = world.write("state/accounts/away/account.json", "{}");
    is_refused(&world, &credentials);
}
