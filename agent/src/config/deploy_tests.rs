#![allow(clippy::unwrap_used)]

use super::super::tests::load;
use super::*;

const HEAD: &str = "state_dir = \"/s\"\n[internal.pki]\n[[certificate]]\nname = \"web\"\n\
                    identifiers = [\"a.example\"]\nnodes = []\n";

const NGINX: &str = "[[certificate.deploy]]\nname = \"edge\"\ntype = \"nginx\"\ndirectory = \"/etc/nginx/tls/web\"\n\
                     reload = [\"/bin/reload\"]\nprove = [\"127.0.0.1:443\"]\n";

const HAPROXY: &str = "[[certificate.deploy]]\nname = \"lb\"\ntype = \"haproxy\"\npem_file = \"/etc/haproxy/web.pem\"\n\
                       socket = \"/run/haproxy/admin.sock\"\nprove = [\"[::1]:443\"]\n";

fn refusal(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    let text = load(&format!("{HEAD}{}", text.replace(from, to))).unwrap_err().to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn targets_are_read_in_their_order() {
    let config = load(&format!("{HEAD}{NGINX}{HAPROXY}")).unwrap();
    let deploy = &config.certificates[0].deploy;
    assert_eq!((deploy[0].r#type, deploy[1].r#type), (DeployType::Nginx, DeployType::Haproxy));
    assert_eq!(deploy[1].timeout, Duration::from_mins(1));
}

#[test]
fn each_type_has_its_keys() {
    let text = refusal(NGINX, "reload = [\"/bin/reload\"]\n", "");
    assert!(text.contains("either `reload` (a program) or `signal_file`"), "{text}");
    let text = refusal(NGINX, "reload =", "signal_file = \"/run/x\"\nreload =");
    assert!(text.contains("either `reload`"), "{text}");
    let text = refusal(NGINX, "type = \"nginx\"", "type = \"files\"");
    assert!(text.contains("deploy.0.reload: does not go with type = \"files\""), "{text}");
    let text = refusal(HAPROXY, "socket = \"/run/haproxy/admin.sock\"\n", "");
    assert!(text.contains("`socket` is missing; type = \"haproxy\" needs it"), "{text}");
    let text = refusal(NGINX, "type = \"nginx\"", "type = \"apache\"");
    assert!(text.contains("apache"), "{text}");
}

#[test]
fn bad_values_name_their_key() {
    for (from, to, expected) in [
        ("127.0.0.1:443", "127.0.0.1", "prove: \"127.0.0.1\": expected HOST:PORT"),
        ("[\"127.0.0.1:443\"]", "[]", "prove: expected 1 to 16 addresses"),
        ("/etc/nginx/tls/web", "tls/web", "directory: \"tls/web\" is relative"),
        ("[\"/bin/reload\"]", "[\"reload\"]", "reload: expected the absolute path of a program"),
        ("[\"/bin/reload\"]", "[]", "reload: expected the absolute path of a program"),
        ("prove", "timeout = \"11m\"\nprove", "expected up to 10 minutes"),
        ("prove", "server_names = []\nprove", "server_names: is empty"),
        ("prove", "server_names = [\"a b\"]\nprove", "server_names: \"a b\": expected a DNS name"),
        ("\"edge\"", "\"Edge one\"", "is not a usable name"),
    ] {
        let text = refusal(NGINX, from, to);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn names_and_places_are_of_one_target() {
    let text = refusal(&format!("{NGINX}{HAPROXY}"), "\"lb\"", "\"edge\"");
    assert!(text.contains("\"edge\" is the name of another target"), "{text}");
    let twice = format!("{NGINX}{NGINX}").replacen("\"edge\"", "\"other\"", 1);
    let text = load(&format!("{HEAD}{twice}")).unwrap_err().to_string();
    assert!(text.contains("is that of target"), "{text}");
}

#[test]
fn an_sds_client_may_have_several_certificates() {
    let sds =
        "[[certificate.deploy]]\nname = \"sidecar~10.0.0.1~X\"\ntype = \"sds\"\nprove = [\"10.0.0.1:443\"]\n";
    let second = "[[certificate]]\nname = \"api\"\nidentifiers = [\"api.example\"]\n";
    let config = load(&format!("{HEAD}{sds}{second}{sds}")).unwrap();
    assert_eq!(config.certificates[1].deploy[0].name, "sidecar~10.0.0.1~X");
    let text = refusal(sds, "prove", "socket = \"/x\"\nprove");
    assert!(text.contains("does not go with type = \"sds\""), "{text}");
}
