//! What the configuration files of agent and node have in common: errors of one line that name file, line and
//! key, durations as people write them, and logging.

mod error;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

pub use error::{ConfigError, Fault};

/// The target of lines about who did what, and what was refused.
const AUDIT: &str = "audit";
/// They are written whatever `log.level` says.
const AUDIT_LINES: &str = "audit=info";

/// Where log lines go besides standard error.
pub type LogLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A `tracing` filter: `info`, `debug`, `sealwire_agent=debug,info`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}

impl Log {
    /// Whether the level can be read.
    ///
    /// # Errors
    /// A [`Fault`] of `log.level`.
    pub fn check(&self) -> Result<(), Fault> {
        EnvFilter::try_new(&self.level).map(|_| ()).map_err(|error| {
            Fault::new(&["log", "level"], format!("expected a level such as \"info\" ({error})"))
        })
    }

    /// Logs to standard error from now on. Call once. Audit lines are written at any level and marked as such.
    pub fn start(&self) {
        self.start_with(None);
    }

    /// As [`Log::start`], and what passes the level goes to `also` too.
    pub fn start_with(&self, also: Option<LogLayer>) {
        let filter = EnvFilter::try_new(&self.level).unwrap_or_else(|_| EnvFilter::new("info"));
        let filter = AUDIT_LINES.parse().into_iter().fold(filter, EnvFilter::add_directive);
        match self.format {
            LogFormat::Text => {
                let (audit, rest) = (fmt::layer(), fmt::layer().with_target(false));
                let audit = audit.with_writer(std::io::stderr).with_ansi(false);
                let audit = audit.with_filter(filter_fn(|line| line.target() == AUDIT));
                let rest = rest.with_writer(std::io::stderr).with_ansi(false);
                let rest = rest.with_filter(filter_fn(|line| line.target() != AUDIT));
                tracing_subscriber::registry().with(also).with(filter).with(audit).with(rest).init();
            }
            LogFormat::Json => {
                let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
                tracing_subscriber::registry().with(also).with(filter).with(layer).init();
            }
        }
    }
}

/// Anything longer than a century is a slip of the pen.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

/// For `deserialize_with`: reads "90s", "1h 30m", "PT2M".
///
/// # Errors
/// The text is not a duration, or out of range.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    within_a_century(deserializer)?.filter(|duration| !duration.is_zero()).ok_or_else(|| {
        serde::de::Error::custom("expected a duration above zero, such as \"90s\" or \"1h 30m\"")
    })
}

/// The same for durations that may be "0s".
///
/// # Errors
/// The text is not a duration, or out of range.
pub fn duration_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    within_a_century(deserializer)?
        .ok_or_else(|| serde::de::Error::custom("expected a duration such as \"0s\" or \"1h 30m\""))
}

fn within_a_century<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let span = jiff::Span::deserialize(deserializer)?;
    // Nobody who writes "30d" here thinks of summer time.
    let signed =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(serde::de::Error::custom)?;
    Ok(Duration::try_from(signed).ok().filter(|duration| *duration <= LONGEST))
}

/// A daemon's working directory is nothing to build on.
///
/// # Errors
/// A [`Fault`] of `key` when the path is relative.
pub fn absolute_path(key: &[&str], value: &Path) -> Result<(), Fault> {
    if value.is_absolute() {
        return Ok(());
    }
    Err(Fault::new(key, format!("\"{}\" is relative, expected an absolute path", value.display())))
}
