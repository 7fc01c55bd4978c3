#![allow(clippy::unwrap_used)]

use super::*;

const GOOD: &str = r#"
state_dir = "/s"
[internal.pki]
leaf_lifetime = "10m"
[[certificate]]
name = "web"
identifiers = ["A.example", "127.0.0.1"]
"#;

/// The environment belongs to the whole process: the test that changes it has it to itself.
static ENVIRONMENT: std::sync::RwLock<()> = std::sync::RwLock::new(());

fn load_here(text: &str) -> Result<Config, ConfigError> {
    Config::from_text(Path::new("t.toml"), text)
}

pub(super) fn load(text: &str) -> Result<Config, ConfigError> {
    let _unchanged = ENVIRONMENT.read().unwrap();
    load_here(text)
}

/// The error line of `GOOD` with one change.
fn error_of(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let text = load(&GOOD.replace(from, to)).unwrap_err().to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn example_is_sound_and_defaults_are_filled_in() {
    load(EXAMPLE).unwrap();
    let config = load(GOOD).unwrap();
    assert_eq!(config.certificates[0].issuers, ["pki"]);
    assert_eq!(config.certificates[0].identifiers, ["a.example", "127.0.0.1"]);
    assert_eq!(config.internal["pki"].leaf_lifetime, Duration::from_mins(10));
    assert_eq!(config.delivery_peers(), PeerPolicy::own_user_and_root());
}

#[test]
fn errors_name_file_line_and_key() {
    assert_eq!(
        error_of("leaf_lifetime = \"10m\"", "leaf_livetime = \"10m\""),
        "t.toml:4: internal.pki.leaf_livetime: unknown key; expected one of `leaf_lifetime`, `organization`, \
         `permitted`, `publish`, `clients`"
    );
    let text = error_of("identifiers = [\"A.example\", \"127.0.0.1\"]", "identifiers = 7");
    assert!(
        text.starts_with("t.toml:7: certificate.0.identifiers: found the number 7, expected a sequence"),
        "{text}"
    );
    let text = error_of("\"10m\"", "\"soon\"");
    assert!(text.starts_with("t.toml:4: internal.pki.leaf_lifetime: "), "{text}");
    let text = error_of("\"10m\"", "\"1m\"");
    assert!(text.contains("t.toml:4: ") && text.contains("2 minutes to 398 days"), "{text}");
    let text = error_of("identifiers = [\"A.example\", \"127.0.0.1\"]", "");
    assert!(text.contains("`identifiers` is missing"), "{text}");
    let text = error_of("[internal.pki]", "[internal.pki");
    assert!(text.starts_with("t.toml:3: not valid TOML: "), "{text}");
    let text = error_of("\"127.0.0.1\"", "\"no such name\"");
    assert!(text.starts_with("t.toml:7: certificate.0.identifiers.1: \"no such name\""), "{text}");
    let text = error_of("name = \"web\"", "name = \"../web\"");
    assert!(text.starts_with("t.toml:6: certificate.0.name: "), "{text}");
    let text = error_of("state_dir = \"/s\"", "state_dir = \"s\"");
    assert!(text.contains("t.toml:2: state_dir: ") && text.contains("absolute"), "{text}");
}

#[test]
fn certificates_need_known_issuers_and_single_names() {
    let text = error_of("name = \"web\"", "name = \"web\"\nissuers = [\"pkj\"]");
    assert!(text.ends_with("\"pkj\" is not configured; known: \"pki\""), "{text}");
    let text = error_of("[internal.pki]", "[internal.other]\n[internal.pki]");
    assert!(text.contains("choose from \"other\", \"pki\""), "{text}");
    let twice = format!("{GOOD}\n[[certificate]]\nname = \"web\"\nidentifiers = [\"b.example\"]\n");
    assert!(load(&twice).unwrap_err().to_string().ends_with("\"web\" is configured twice"));
    let text = error_of("\"127.0.0.1\"", "\"a.example\"");
    assert!(text.ends_with("\"a.example\" stands twice"), "{text}");
    assert!(load("state_dir = \"/s\"").unwrap_err().to_string().contains("no [[certificate]]"));
}

#[test]
fn revocation_has_bounds_and_require_needs_it() {
    let with = |line: &str| error_of("[internal.pki]", &format!("[revocation]\n{line}\n[internal.pki]"));
    let text = with("min_interval = \"500ms\"");
    assert!(text.starts_with("t.toml:4: revocation.min_interval: 500ms is out of range"), "{text}");
    let text = with("min_interval = \"10m\"\nmax_interval = \"5m\"");
    assert!(text.contains("revocation.max_interval: 300s is out of range"), "{text}");
    let text = with("crl_max_bytes = 10");
    assert!(text.contains("expected 1 KiB to 1 GiB"), "{text}");
    let required = GOOD.replace("name = \"web\"", "name = \"web\"\nocsp = \"require\"");
    load(&required).unwrap();
    let text = load(&format!("{required}[revocation]\ncheck = false\n")).unwrap_err().to_string();
    assert!(text.contains("certificate.0.ocsp: \"require\" needs OCSP responses"), "{text}");
}

#[test]
fn acme_needs_https_agreement_and_no_wildcard() {
    let acme = |directory: &str, agreed: bool, identifier: &str| {
        load(&format!(
            "[acme.ca]\ndirectory = \"{directory}\"\nterms_of_service_agreed = {agreed}\n[[certificate]]\n\
             name = \"web\"\nidentifiers = [\"{identifier}\"]\n"
        ))
        .map_err(|error| error.to_string())
    };
    acme("https://ca.example/dir", true, "a.example").unwrap();
    acme("http://127.0.0.1:4000/dir", true, "a.example").unwrap();
    assert!(acme("http://ca.example/dir", true, "a.example").unwrap_err().contains("expected the https URL"));
    assert!(
        acme("https://ca.example/dir", false, "a.example").unwrap_err().contains("terms_of_service_agreed")
    );
    assert!(acme("https://ca.example/dir", true, "*.a.example").unwrap_err().contains("dns-01"));
}

#[test]
fn profiles_chains_bindings_and_keys_are_checked() {
    let with = |acme: &str, certificate: &str, table: &str| {
        load(&format!(
            "[acme.ca]\ndirectory = \"https://ca.example/dir\"\nterms_of_service_agreed = true\n{acme}\n{table}\n\
             [[certificate]]\nname = \"web\"\nidentifiers = [\"a.example\"]\n{certificate}\n"
        ))
        .map_err(|error| error.to_string())
    };
    let eab =
        "[acme.ca.eab]\nkid = \"k\"\nkey_file = \"/etc/eab.key\"\n[acme.ca.lifetimes]\nshort = \"160h\"";
    let config = with("profile = \"short\"", "key_type = \"rsa3072\"\nreuse_key = true", eab).unwrap();
    assert_eq!(config.acme["ca"].lifetimes["short"].0, Duration::from_hours(160));
    assert_eq!(config.certificates[0].key_type, KeyType::Rsa3072);
    for (acme, certificate, table, words) in [
        ("profile = \"\"", "", "", "expected the name of a profile"),
        ("preferred_chain = \" \"", "", "", "such as \"ISRG Root X1\""),
        ("", "key_type = \"p521\"", "", "certificate.0.key_type"),
        ("", "profile = \"a b\"", "", "expected the name of a profile"),
        ("", "", "[acme.ca.lifetimes]\nshort = \"soon\"", "acme.ca.lifetimes.short"),
        ("", "", "[acme.ca.eab]\nkid = \"k\"\nkey_file = \"eab.key\"", "absolute"),
        ("", "", "[acme.ca.eab]\nkid = \"\"\nkey_file = \"/e\"", "the key id that the CA shows"),
        ("", "", "[acme.ca.eab]\nkid = \"k\"", "`key_file` is missing"),
    ] {
        let text = with(acme, certificate, table).unwrap_err();
        assert!(text.contains(words) && !text.contains('\n'), "{words}: {text}");
    }
    let text = error_of("name = \"web\"", "name = \"web\"\nprofile = \"short\"");
    assert!(text.contains("only ACME CAs have profiles"), "{text}");
}

#[test]
#[allow(clippy::result_large_err)] // figment's own signature
fn environment_overrides_and_is_named_in_errors() {
    let _alone = ENVIRONMENT.write().unwrap();
    figment::Jail::expect_with(|jail| {
        jail.set_env("SEALWIRE_DELIVERY__SOCKET", "/x/d.sock");
        // What Kubernetes sets beside a Service named "sealwire".
        jail.set_env("SEALWIRE_SERVICE_HOST", "10.0.0.1");
        assert_eq!(load_here(GOOD).unwrap().delivery.socket, Path::new("/x/d.sock"));
        jail.set_env("SEALWIRE_DELIVERY__SOCKETT", "/x/d.sock");
        let text = load_here(GOOD).unwrap_err().to_string();
        assert!(text.starts_with("environment variable SEALWIRE_DELIVERY__SOCKETT: "), "{text}");
        Ok(())
    });
}

#[test]
fn what_a_ca_publishes_is_checked() {
    let with = |lines: &str| error_of("[internal.pki]", &format!("[internal.pki]\n{lines}"));
    let publish = |url: &str, more: &str| {
        with(&format!("publish = {{ listen = \"127.0.0.1:8089\", url = \"{url}\"{more} }}"))
    };
    for url in [
        "https://pki.internal",
        "pki.internal",
        "http://",
        "http://a/b",
        "http://a?b",
        "http://u@a",
        "http://ä",
    ] {
        let text = publish(url, "");
        assert!(text.starts_with("t.toml:4: internal.pki.publish.url: "), "{url}: {text}");
        assert!(text.contains("expected http://HOST[:PORT]"), "{text}");
    }
    let good = "http://pki.internal:8089/";
    let text = publish(good, ", crl_lifetime = \"9m\"");
    assert!(text.contains("publish.crl_lifetime: ") && text.contains("10 minutes to 7 days"), "{text}");
    let text = publish(good, ", ocsp_lifetime = \"25h\"");
    assert!(text.contains("publish.ocsp_lifetime: ") && text.contains("5 minutes to 24 hours"), "{text}");
    let text = with("publish = { listen = \"0.0.0.0:80\", url = \"http://pki.internal\" }");
    assert!(text.contains("publish.listen: ") && text.contains("challenges"), "{text}");
    let text = with("clients = [\"a\", \"b\", \"a\"]");
    assert!(text.ends_with("internal.pki.clients.2: \"a\" stands twice"), "{text}");
    assert!(with("clients = [\"A b\"]").contains("is not a usable name"));
    let text = GOOD.replace(
        "[internal.pki]",
        &format!("[internal.pki]\npublish = {{ listen = \"[::1]:8089\", url = \"{good}\" }}"),
    );
    let publish = load(&text).unwrap().internal["pki"].publish.clone().unwrap();
    assert_eq!(publish.crl_lifetime, Duration::from_hours(24));
    assert_eq!(publish.ocsp_lifetime, Duration::from_hours(1));
}
