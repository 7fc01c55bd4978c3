#![allow(clippy::unwrap_used)]

use super::*;

fn error_of(text: &str) -> String {
    let text = Config::from_text(Path::new("n.toml"), text).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn example_is_sound_and_defaults_are_filled_in() {
    Config::from_text(Path::new("n.toml"), EXAMPLE).unwrap();
    let config =
        Config::from_text(Path::new("n.toml"), "server_names = [\"localhost\"]\n[token]\nanonymous = true")
            .unwrap();
    assert!(!config.node_id.is_empty());
    let at_once = "server_names = [\"a\"]\n[token]\nanonymous = true\n[drain]\ndelay = \"0s\"";
    assert_eq!(Config::from_text(Path::new("n.toml"), at_once).unwrap().drain.delay, Duration::ZERO);
    assert_eq!(config.session.ping_interval, Duration::from_secs(25));
}

#[test]
fn errors_name_file_line_and_key() {
    let cases = [
        ("server_names = []", "n.toml:1: server_names: is empty"),
        ("", "n.toml: the key `server_names` is missing"),
        ("server_names = [\"a b\"]", "n.toml:1: server_names.0: \"a b\": expected"),
        ("server_names = [\"*.10.0.0.1\"]", "n.toml:1: server_names.0: "),
        ("server_names = [\"a\"]\n[listen]\nadress = 1", "n.toml:3: listen.adress: unknown key"),
        ("server_names = [\"a\"]\n[listen]\nhead_bytes = 10", "n.toml:3: listen.head_bytes: 10 is too small"),
        ("server_names = [\"a\"]\n[session]\nping_interval = \"0s\"", "n.toml:3: session.ping_interval: "),
        (
            "server_names = [\"a\"]\n[delivery]\nsocket = \"x\"",
            "n.toml:3: delivery.socket: \"x\" is relative",
        ),
        (
            "server_names = [\"a\"]\n[delivery]\ntrust_roots = \"x\"",
            "n.toml:3: delivery.trust_roots: \"x\" is relative",
        ),
        (
            "server_names = [\"a\"]\n[listen]\nmax_connections = \"many\"",
            "n.toml:3: listen.max_connections: found the string \"many\", expected",
        ),
        ("server_names = [\"a\"]\n[listen]\naddress = \"here\"", "n.toml:3: listen.address: "),
        (
            "server_names = [\"a\"]\n[broker]\nmemory_bytes = 10",
            "n.toml:3: broker.memory_bytes: 10 is too small",
        ),
        (
            "server_names = [\"a\"]\n[namespaces.\"a b\"]\nhistory = 1",
            "n.toml:2: namespaces.a b: expected a name of letters",
        ),
        (
            "server_names = [\"a\"]\n[namespaces.a]\ndurability = \"disk\"",
            "n.toml:3: namespaces.a.durability: \"disk\" needs broker.directory",
        ),
        (
            "server_names = [\"a\"]\n[namespaces.a]\ndurability = \"cluster\"",
            "n.toml:3: namespaces.a.durability: \"cluster\" needs broker.nats",
        ),
        (
            "server_names = [\"a\"]\n[namespaces.a]\nkind = \"map\"\nhistory = 0",
            "n.toml:4: namespaces.a.history: 0 is too small for a map",
        ),
        (
            "server_names = [\"a\"]\n[namespaces.a]\nkind = \"map\"\ndelta = true",
            "n.toml:4: namespaces.a.delta: maps have none",
        ),
        (
            "server_names = [\"a\"]\n[namespaces.a]\nkey_ttl = \"1s\"",
            "n.toml:3: namespaces.a.key_ttl: only maps",
        ),
        (
            "server_names = [\"a\"]\n[namespaces.a]\npublish = [\"a:{user}*\"]",
            "n.toml:3: namespaces.a.publish: \"a:{user}*\": expected a name",
        ),
        (
            "server_names = [\"a\"]\n[broker]\ndirectory = \"x\"",
            "n.toml:3: broker.directory: \"x\" is relative",
        ),
        ("server_names = [\"a\"]\n[broker.nats]\nprefix = \"a\"", "n.toml:2: broker.nats.servers: is empty"),
        (
            "server_names = [\"a\"]\n[broker.nats]\nservers = [\"nats:x\"]",
            "n.toml:3: broker.nats.servers: \"nats:x\": expected nats://",
        ),
        (
            "server_names = [\"a\"]\n[broker.nats]\nservers = [\"nats://x\"]\nprefix = \"a..b\"",
            "n.toml:4: broker.nats.prefix: \"a..b\": expected letters",
        ),
        (
            "server_names = [\"a\"]\n[broker.nats]\nservers = [\"nats://x\"]\nreplicas = 2",
            "n.toml:4: broker.nats.replicas: 2: expected 1, 3 or 5",
        ),
        (
            "server_names = [\"a\"]\n[broker.nats]\nservers = [\"nats://x\"]\nkey = \"/k\"",
            "n.toml:2: broker.nats.certificate: is missing: certificate and key go together",
        ),
        (
            "server_names = [\"a\"]\n[api]\nrequests = 0",
            "n.toml:2: api.keys_file: is missing: anybody could publish",
        ),
        (
            "server_names = [\"a\"]\n[api]\nkeys_file = \"/k\"\nrequests = 0",
            "n.toml:4: api.requests: 0 is too small",
        ),
        (
            "server_names = [\"a\"]\n[api]\nclient_roots = \"/k\"",
            "n.toml:3: api.client_roots: needs api.address",
        ),
        (
            "server_names = [\"a\"]\n[api]\nkeys_file = \"/k\"\n[admin]\naddress = \"0.0.0.0:1\"",
            "n.toml:2: api: the keys would cross the network in clear",
        ),
        (
            "server_names = [\"a\"]\n[api]\nkeys_file = \"/k\"\naddress = \"127.0.0.1:9090\"",
            "n.toml:4: api.address: is admin.address",
        ),
        ("server_names = [\"a\"]\n[breaker]\nproofs = 0", "n.toml:3: breaker.proofs: 0 is out of range"),
        ("server_names = [\"a\"]\n[breaker]\nexpired = \"halt\"", "n.toml:3: breaker.expired: "),
        ("server_names = [\"a\"]\n[session\nchannels = 1", "n.toml:2: not valid TOML: "),
        ("server_names = [\"a\"]", "n.toml: token: nobody could connect: "),
        (
            "server_names = [\"a\"]\n[plain]\naddress = \"127.0.0.1:1\"",
            "n.toml: proxy.trusted: is empty, but plain",
        ),
        (
            "server_names = [\"a\"]\n[listen]\nclient_auth = \"required\"\n[plain]\naddress = \"127.0.0.1:1\"\n\
             [proxy]\ntrusted = [\"10.0.0.0/8\"]",
            "n.toml:3: listen.client_auth: cannot be \"required\" together with [plain]",
        ),
        (
            "server_names = [\"a\"]\n[token]\njwks = \"http://far.example/\"",
            "n.toml:3: token.jwks: \"http://far.example/\": expected https",
        ),
        (
            "server_names = [\"a\"]\n[gate]\nclose_limit = 1000",
            "n.toml:3: gate.close_limit: 1000 is out of range",
        ),
        (
            "server_names = [\"a\"]\n[gate]\norigins = [\"https://a.example\",\n\"https://a.example/x\"]",
            "n.toml:4: gate.origins.1: \"https://a.example/x\": expected an origin",
        ),
        (
            "server_names = [\"a\"]\n[[tenant]]\nname = \"t\"\n[tenant.gate]\norigins = [\"a.example\"]",
            "n.toml:5: tenant.0.gate.origins.0: \"a.example\": expected an origin",
        ),
        (
            "server_names = [\"a\"]\n[[tenant]]\nname = \"t\"\nhosts = [\"a b\"]",
            "n.toml:4: tenant.0.hosts.0: \"a b\": expected a host",
        ),
        (
            "server_names = [\"a\"]\n[token]\nanonymous = true\n[[tenant]]\nname = \"t\"\npath = \"/connection/websocket\"",
            "n.toml:6: tenant.0.path: \"/connection/websocket\" is everybody's",
        ),
        (
            "server_names = [\"a\"]\n[token]\nanonymous = true\n[[tenant]]\nname = \"t\"\nhosts = [\"a\", \"A\"]",
            "n.toml:6: tenant.0.hosts.1: belongs with",
        ),
        (
            "server_names = [\"a\"]\n[listen]\npath = \"/connect/check\"",
            "n.toml:3: listen.path: \"/connect/check\" answers something else",
        ),
        ("server_names = [\"a\"]\n[listen]\npath = \"/a?b\"", "n.toml:3: listen.path: \"/a?b\": expected"),
        (
            "server_names = [\"a\"]\n[token]\njwks = \"http://127.0.0.1.far.example/\"",
            "n.toml:3: token.jwks: \"http://127.0.0.1.far.example/\": expected https",
        ),
        (
            "server_names = [\"a\"]\n[token]\nanonymous = true\n[[tenant]]\nname = \"a\"\npath = \"/a\"\n\
             channel_prefix = \"a:\"\n[[tenant]]\nname = \"b\"\npath = \"/b\"\nchannel_prefix = \"a:b:\"",
            "n.toml:11: tenant.1.channel_prefix: \"a:b:\" and \"a:\" of another tenant",
        ),
        ("server_names = [\"a\"]\n[telemetry]\nsample = 2", "n.toml:3: telemetry.sample: 2"),
        ("server_names = [\"a\"]\n[log]\nlevel = \"a=b=c\"", "n.toml:3: log.level: "),
    ];
    for (text, expected) in cases {
        let error = error_of(text);
        assert!(error.starts_with(expected), "{error}");
    }
}
