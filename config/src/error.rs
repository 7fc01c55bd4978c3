//! One clear line for every way a configuration can be wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::error::{Actual, Kind};
use toml::de::{DeTable, DeValue};

/// What is wrong with the configuration, where, and what is expected.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// From 1; `None` when the fault is in no line (a missing key, an environment variable).
    pub line: Option<usize>,
    /// The key's path, as in `certificate.0.identifiers`; empty when the whole file is meant.
    pub key: String,
    /// What was found and what is expected.
    pub message: String,
    /// The environment variable that set the value, if one did.
    pub variable: Option<String>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.variable, self.line) {
            (Some(variable), _) => write!(f, "environment variable {variable}: ")?,
            (None, Some(line)) => write!(f, "{}:{line}: ", self.file.display())?,
            (None, None) => write!(f, "{}: ", self.file.display())?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A value that is well formed but makes no sense.
#[derive(Debug)]
pub struct Fault {
    path: Vec<String>,
    message: String,
}

impl Fault {
    /// A fault of the key at `path`; array elements are named by their position.
    pub fn new(path: &[&str], message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|part| (*part).to_owned()).collect(), message: message.into() }
    }
}

impl ConfigError {
    /// The file cannot be read; `program` has a `config example` to start from.
    #[must_use]
    pub fn unreadable(file: &Path, program: &str, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("; name the file with --config, or start from `{program} config example`")
            }
            _ => String::new(),
        };
        Self {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            message: format!("cannot read the configuration: {error}{hint}"),
            variable: None,
        }
    }

    /// What figment found. It knows the key's path but not its line, so that is looked up in the text again;
    /// `prefix` is that of environment variables.
    #[must_use]
    pub fn from_figment(file: &Path, text: &str, prefix: &str, error: &figment::Error) -> Self {
        if let Err(syntax) = DeTable::parse(text) {
            return Self::from_syntax(file, text, &syntax);
        }
        let mut path = error.path.clone();
        let message = match &error.kind {
            Kind::UnknownField(field, expected) => {
                if path.last() != Some(field) {
                    path.push(field.clone());
                }
                format!("unknown key; expected one of {}", quoted(expected))
            }
            Kind::MissingField(field) => format!("the key `{field}` is missing"),
            Kind::DuplicateField(field) => format!("the key `{field}` is given twice"),
            Kind::InvalidType(found, expected) => format!("found {}, expected {expected}", shown(found)),
            Kind::InvalidValue(found, expected) => format!("found {}, expected {expected}", shown(found)),
            Kind::UnknownVariant(found, expected) => {
                format!("found \"{found}\", expected one of {}", quoted(expected))
            }
            Kind::Message(message) => message.clone(),
            other => other.to_string(),
        };
        let variable = error
            .metadata
            .as_ref()
            .filter(|metadata| metadata.name.contains("environment"))
            .map(|_| format!("{prefix}{}", path.join("__").to_uppercase()));
        let line = if variable.is_some() { None } else { line_of(text, &path) };
        Self { file: file.to_owned(), line, key: path.join("."), message, variable }
    }

    /// A fault, with the line of its key.
    #[must_use]
    pub fn from_fault(file: &Path, text: &str, fault: Fault) -> Self {
        let line = line_of(text, &fault.path);
        Self {
            file: file.to_owned(),
            line,
            key: fault.path.join("."),
            message: fault.message,
            variable: None,
        }
    }

    fn from_syntax(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map(|span| line_at(text, span.start));
        Self {
            file: file.to_owned(),
            line,
            key: String::new(),
            message: format!("not valid TOML: {}", error.message().replace('\n', ", ")),
            variable: None,
        }
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn shown(found: &Actual) -> String {
    match found {
        Actual::Str(text) => format!("the string \"{text}\""),
        Actual::Signed(number) => format!("the number {number}"),
        Actual::Unsigned(number) => format!("the number {number}"),
        other => other.to_string(),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// The line of the deepest part of `path` that stands in the text.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (first, rest) = path.split_first()?;
    let (key, value) = document.get_ref().get_key_value(first.as_str())?;
    let mut offset = key.span().start;
    let mut value = value;
    for part in rest {
        let next = match value.get_ref() {
            DeValue::Table(table) => {
                table.get_key_value(part.as_str()).map(|(key, value)| (key.span(), value))
            }
            DeValue::Array(items) => {
                part.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item.span(), item))
            }
            _ => None,
        };
        let Some((span, found)) = next else { break };
        offset = span.start;
        value = found;
    }
    Some(line_at(text, offset))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "top = 1\n[a.b]\nkey = 2\n\n[[list]]\nname = \"x\"\n[[list]]\nname = \"y\"\nmore = [\n  1,\n  2,\n]\n";

    fn line(path: &[&str]) -> Option<usize> {
        let path: Vec<_> = path.iter().map(|part| (*part).to_owned()).collect();
        line_of(TEXT, &path)
    }

    #[test]
    fn keys_are_found_on_their_lines() {
        assert_eq!(line(&["top"]), Some(1));
        assert_eq!(line(&["a", "b", "key"]), Some(3));
        assert_eq!(line(&["list", "1", "name"]), Some(8));
        assert_eq!(line(&["list", "1", "more", "1"]), Some(11));
    }

    #[test]
    fn a_key_that_is_not_there_is_sought_at_its_table() {
        assert_eq!(line(&["list", "1", "absent"]), Some(7));
        assert_eq!(line(&["absent"]), None);
        assert_eq!(line(&[]), None);
    }

    #[test]
    fn a_fault_is_one_line_with_file_line_and_key() {
        let error =
            ConfigError::from_fault(Path::new("f.toml"), TEXT, Fault::new(&["a", "b", "key"], "is odd"));
        assert_eq!(error.to_string(), "f.toml:3: a.b.key: is odd");
        let io = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = ConfigError::unreadable(Path::new("f.toml"), "prog", &io).to_string();
        assert!(
            error.starts_with("f.toml: cannot read") && error.contains("`prog config example`"),
            "{error}"
        );
    }
}
