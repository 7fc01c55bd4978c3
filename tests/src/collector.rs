//! The OpenTelemetry Collector, as a process of a world. It prints what it takes; this reads it again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use crate::process::Process;
use crate::tools;
use crate::world::{PATIENCE, World};

/// A running collector with receivers for OTLP by gRPC and by HTTP.
#[derive(Debug)]
pub struct Collector {
    /// What it has printed.
    pub server: Process,
}

/// A span, a log record or a data point, as the collector understood it.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// `Name`, `Trace ID`, `Status code` and the like; of a log record also `Body`.
    pub fields: BTreeMap<String, String>,
    /// With their types: `Str(x)`, `Int(7)`, `Bool(true)`.
    pub attributes: BTreeMap<String, String>,
    /// Names of its events.
    pub events: Vec<String>,
}

impl Item {
    /// A field.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name:?}: {self:#?}"))
    }
}

impl Collector {
    /// Where it takes OTLP by gRPC.
    #[must_use]
    pub fn grpc(world: &World) -> SocketAddr {
        (world.address, 4317).into()
    }

    /// Where it takes OTLP by HTTP.
    #[must_use]
    pub fn http(world: &World) -> SocketAddr {
        (world.address, 4318).into()
    }

    /// Starts it; `tls`: files of a certificate and its key, for both receivers. `None` if it is not installed (never in
    /// CI).
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(world: &World, tls: Option<(&str, &str)>) -> Option<Self> {
        let program = tools::find("bin/otelcol")?;
        let tls = tls.map_or_else(String::new, |(certificate, key)| {
            format!(", tls: {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}")
        });
        let text = format!(
            "receivers:\n  otlp:\n    protocols:\n\
             \x20     grpc: {{ endpoint: \"{}\"{tls} }}\n\
             \x20     http: {{ endpoint: \"{}\"{tls} }}\n\
             exporters:\n  debug: {{ verbosity: detailed, use_internal_logger: false }}\n\
             service:\n  telemetry: {{ metrics: {{ level: none }} }}\n  pipelines:\n\
             \x20   traces: {{ receivers: [otlp], exporters: [debug] }}\n\
             \x20   metrics: {{ receivers: [otlp], exporters: [debug] }}\n\
             \x20   logs: {{ receivers: [otlp], exporters: [debug] }}\n",
            Self::grpc(world),
            Self::http(world),
        );
        let config = world.write("collector.yaml", &text);
        let mut command = Command::new(program);
        command.arg("--config").arg(config);
        let server = Process::start("otelcol", &mut command);
        let _ = server.line("Everything is ready", PATIENCE);
        Some(Self { server })
    }

    /// The spans of a name.
    #[must_use]
    pub fn spans(&self, name: &str) -> Vec<Item> {
        let all = items(&self.server.log(), "Span #");
        all.into_iter().filter(|span| span.field("Name") == name).collect()
    }

    /// The log records whose body contains `text`.
    #[must_use]
    pub fn logs(&self, text: &str) -> Vec<Item> {
        let all = items(&self.server.log(), "LogRecord #");
        all.into_iter()
            .filter(|record| record.fields.get("Body").is_some_and(|body| body.contains(text)))
            .collect()
    }

    /// The names of all metrics.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        let log = self.server.log();
        log.lines().filter_map(|line| line.strip_prefix("     -> Name: ")).map(str::to_owned).collect()
    }

    /// The attributes of the resources that sent something.
    #[must_use]
    pub fn resource(&self, key: &str) -> Option<String> {
        let start = format!("     -> {key}: ");
        self.server.log().lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
    }
}

/// Reads the blocks that begin with `head` out of the collector's output.
fn items(log: &str, head: &str) -> Vec<Item> {
    let mut found: Vec<Item> = Vec::new();
    let mut within = Within::Nothing;
    for line in log.lines() {
        if line.starts_with(head) {
            found.push(Item::default());
            within = Within::Fields;
            continue;
        }
        let Some(item) = found.last_mut().filter(|_| within != Within::Nothing) else { continue };
        match line {
            "Attributes:" => within = Within::Attributes,
            "Events:" => within = Within::Events,
            _ if line.starts_with("SpanEvent #") => {}
            _ => match (within, line.trim_start().strip_prefix("-> ")) {
                (Within::Attributes, Some(pair)) => {
                    let (key, value) = pair.split_once(": ").unwrap_or((pair, ""));
                    item.attributes.insert(key.to_owned(), value.to_owned());
                }
                (Within::Events, Some(pair)) => {
                    item.events.extend(pair.strip_prefix("Name: ").map(str::to_owned));
                }
                (_, None) if line.contains(':') && !line.starts_with("Scope") => {
                    let (key, value) = line.split_once(':').unwrap_or((line, ""));
                    item.fields.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                // Anything else begins something new.
                _ => within = Within::Nothing,
            },
        }
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    Fields,
    Attributes,
    Events,
}
