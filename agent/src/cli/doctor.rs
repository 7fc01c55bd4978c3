//! `sealwire doctor`

use clap::Args;

use super::{Failure, Global, Outcome};
use crate::doctor::{Finding, Level, Options, run, worst};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Name of the certificate to check; all of them unless told.
    certificate: Option<String>,
    /// One JSON array of findings.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let mut config = global.load()?;
        if let Some(socket) = &global.socket {
            config.admin.socket.clone_from(socket);
        }
        let options = Options { certificate: self.certificate, ..Options::default() };
        let findings =
            Box::pin(run(config, options)).await.map_err(|error| Failure::Usage(error.to_string()))?;
        if self.json {
            let text = serde_json::to_string_pretty(&findings);
            println!("{}", text.map_err(|error| Failure::Failed(error.to_string()))?);
        } else {
            print!("{}", as_text(&findings));
        }
        if worst(&findings) == Level::Error { Err(Failure::Silent) } else { Ok(()) }
    }
}

/// One line for each finding, what to do below it, and the counts at the end.
fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, subject, level, message, advice } in findings {
        text.push_str(&format!("{:<7}  {check}: {subject}: {message}\n", level.name()));
        if let Some(advice) = advice {
            text.push_str(&format!("{:<7}  do: {advice}\n", ""));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    text.push_str(&format!("{} check(s): {errors} error(s), {warnings} warning(s)\n", findings.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_line_up_and_advice_stands_below() {
        let finding = |level, advice: Option<&str>| Finding {
            check: "dns",
            subject: "a.example".to_owned(),
            level,
            message: "seen".to_owned(),
            advice: advice.map(str::to_owned),
        };
        let findings = [finding(Level::Ok, None), finding(Level::Warning, Some("this"))];
        assert_eq!(
            as_text(&findings),
            "ok       dns: a.example: seen\n\
             warning  dns: a.example: seen\n         do: this\n\
             2 check(s): 0 error(s), 1 warning(s)\n"
        );
    }
}
