//! docs/metrics.md: a section for each program, made from its descriptions.

use std::fmt::Write;
use std::path::Path;

use crate::Description;

/// Compares a section of a page with what the code says, or rewrites it when `UPDATE` is in the environment.
///
/// # Errors
/// The page cannot be read or written, has no such section, or is stale: in words, with what to do.
pub fn check_page(path: &Path, heading: &str, descriptions: &[Description]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let page = std::fs::read_to_string(path).map_err(failed)?;
    let Some(wanted) = with_section(&page, heading, &table(descriptions)) else {
        return Err(format!("{}: there is no section \"## {heading}\"", path.display()));
    };
    if wanted == page {
        return Ok(());
    }
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(path, wanted).map_err(failed);
    }
    Err(format!("{}: \"## {heading}\" is stale; run this test again with UPDATE=1", path.display()))
}

/// One line for each.
fn table(descriptions: &[Description]) -> String {
    let mut table = "| OpenTelemetry | Prometheus | type | unit | labels | meaning |\n".to_owned();
    table.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for description in descriptions {
        let Description { name, unit, kind, help, labels } = description;
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let unit = if unit.is_empty() { String::new() } else { format!("`{unit}`") };
        // A String takes everything.
        let _ = writeln!(
            table,
            "| `{name}` | `{}` | {} | {unit} | {} | {} |",
            description.prometheus_name(),
            kind.as_str(),
            labels.join(", "),
            help.replace('|', "\\|"),
        );
    }
    table
}

/// The page with another table in a section; what is written before the table stays.
fn with_section(page: &str, heading: &str, table: &str) -> Option<String> {
    let start = format!("## {heading}\n");
    let at = page.find(&start)? + start.len();
    let section = &page[at..];
    let end = section.find("\n## ").map_or(page.len(), |end| at + end + 1);
    let text = &page[at..end];
    let text = text.find("| ").map_or(text, |first_line| &text[..first_line]).trim();
    let (before, after) = (&page[..at], &page[end..]);
    let text = if text.is_empty() { String::new() } else { format!("{text}\n\n") };
    let gap = if after.is_empty() { "" } else { "\n" };
    Some(format!("{before}\n{text}{table}{gap}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let page = "# M\n\nIntro.\n\n## One\n\nWords.\n\n| old |\n\n## Two\n";
        let made = with_section(page, "One", "| new |\n");
        let made = made.as_deref();
        assert_eq!(made, Some("# M\n\nIntro.\n\n## One\n\nWords.\n\n| new |\n\n## Two\n"));
        assert_eq!(made.and_then(|page| with_section(page, "One", "| new |\n")).as_deref(), made);
        let last = with_section(page, "Two", "| x |\n");
        assert_eq!(
            last.as_deref(),
            Some("# M\n\nIntro.\n\n## One\n\nWords.\n\n| old |\n\n## Two\n\n| x |\n")
        );
        assert_eq!(with_section(page, "Three", ""), None);
    }
}
