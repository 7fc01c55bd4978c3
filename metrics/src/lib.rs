//! What the metrics of agent and node have in common: descriptions by OpenTelemetry's conventions, the names and
//! the text that Prometheus reads, and the page of the documentation that is made from the code.

mod description;
mod page;
mod process;
mod text;

pub use description::{Description, Kind, Metric};
pub use page::check_page;
pub use process::{PROCESS, ProcessGauge, ProcessTime};
pub use text::Text;
