#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::super::testing::{generation, generation_until};
use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    config: DeployConfig,
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[internal.pki]\n[[certificate]]\nname = \"web\"\nidentifiers = [\"a.example\", \"b.example\"]\n\
             [[certificate.deploy]]\nname = \"x\"\ntype = \"files\"\ndirectory = \"{}/tls\"\nprove = [\"h:1\"]\n\
             timeout = \"10s\"\n",
            dir.path().display()
        );
        let mut config = crate::config::Config::from_text(Path::new("t.toml"), &text).unwrap();
        Self { dir, config: config.certificates[0].deploy.remove(0) }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn target(&self) -> Files {
        let certificate = CertificateConfig::new("web", &["a.example", "b.example"]);
        Files::new(&certificate, &self.config, &Arc::new(Semaphore::new(1))).unwrap()
    }

    /// What the hooks have written.
    fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap_or_default()
    }
}

#[tokio::test]
async fn hooks_run_in_order_and_are_told_as_certbot_tells() {
    let mut fixture = Fixture::new();
    let said = fixture.path("said");
    fixture.config.pre = Some(shell(&format!("test ! -e $SEALWIRE_KEY_FILE && echo pre >> {said}")));
    fixture.config.deploy = Some(shell(&format!(
        "test -s $RENEWED_LINEAGE/privkey.pem && echo $SEALWIRE_CERTIFICATE $SEALWIRE_GENERATION \
         $RENEWED_DOMAINS >> {said}; env | grep -c PRIVATE >> {said}; test -s $SEALWIRE_CHAIN_FILE"
    )));
    fixture.config.post = Some(shell(&format!("echo post >> {said}")));
    let one = generation(1);
    fixture.target().apply(&one).await.unwrap();
    assert_eq!(fixture.said(), "pre\nweb 1 a.example b.example\n0\npost\n");
    assert!(fixture.target().holds(&one));
}

#[tokio::test]
async fn nothing_else_of_the_agents_environment_reaches_a_hook() {
    let mut fixture = Fixture::new();
    let said = fixture.path("said");
    fixture.config.deploy = Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("env > {said}")]);
    fixture.target().apply(&generation(1)).await.unwrap();
    let said = fixture.said();
    let mut names: Vec<_> =
        said.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // The shell's own.
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    names.sort_unstable();
    let expected = [
        "PATH",
        "RENEWED_DOMAINS",
        "RENEWED_LINEAGE",
        "SEALWIRE_CERTIFICATE",
        "SEALWIRE_CHAIN_FILE",
        "SEALWIRE_GENERATION",
        "SEALWIRE_KEY_FILE",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_pre_hook_that_fails_leaves_all_as_it_was() {
    let mut fixture = Fixture::new();
    let one = generation(1);
    fixture.target().apply(&one).await.unwrap();
    fixture.config.pre = Some(shell("echo not now; exit 7"));
    fixture.config.post = Some(shell(&format!("echo post >> {}", fixture.path("said"))));
    let error = fixture.target().apply(&generation(2)).await.unwrap_err();
    assert!(error.contains("(`pre`)") && error.contains("exit status: 7: not now"), "{error}");
    assert!(fixture.target().holds(&one));
    assert_eq!(fixture.said(), "");
}

#[tokio::test]
async fn a_deploy_hook_that_fails_brings_the_files_of_before_back() {
    let mut fixture = Fixture::new();
    let one = generation(1);
    fixture.target().apply(&one).await.unwrap();
    fixture.config.deploy = Some(shell("exit 1"));
    fixture.config.post = Some(shell(&format!("echo post >> {}", fixture.path("said"))));
    let error = fixture.target().apply(&generation(2)).await.unwrap_err();
    assert!(error.contains("the files are those of before again"), "{error}");
    assert!(fixture.target().holds(&one));
    assert_eq!(fixture.said(), "post\n");
}

#[tokio::test]
async fn files_that_have_expired_do_not_come_back() {
    let mut fixture = Fixture::new();
    fixture.target().apply(&generation_until(1, -60)).await.unwrap();
    fixture.config.deploy = Some(shell("exit 1"));
    let two = generation(2);
    let error = fixture.target().apply(&two).await.unwrap_err();
    assert!(error.contains("no valid files of before"), "{error}");
    assert!(fixture.target().holds(&two));
}

#[tokio::test]
async fn a_hook_that_does_not_end_is_ended() {
    let mut fixture = Fixture::new();
    fixture.config.timeout = std::time::Duration::from_millis(300);
    fixture.config.deploy = Some(shell("sleep 600"));
    let error = fixture.target().apply(&generation(1)).await.unwrap_err();
    assert!(error.contains("did not end within 300ms and was killed"), "{error}");
}
