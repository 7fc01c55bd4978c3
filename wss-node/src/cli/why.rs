//! `wss-node why`

use clap::Args;
use jiff::Timestamp;
use sealwire_proto::v1::{DecisionsReply, DecisionsRequest};
use serde_json::{Value, json};

use super::admin::{Client, failure, question};
use super::table::{cell, table};

#[derive(Debug, Args)]
pub(super) struct Why {
    /// An address, a network such as 192.0.2.0/24, the id of a session, or a user.
    #[arg(value_name = "IP|SESSION|USER")]
    about: String,
    /// At most so many decisions, the newest.
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Why {
    /// Asks the node; gives what to print.
    pub(super) async fn run(self, mut client: Client) -> Result<String, String> {
        let request = DecisionsRequest { about: self.about.clone(), limit: self.limit };
        let reply = client.why(question(request)).await.map_err(|status| failure(&status))?.into_inner();
        Ok(if self.json { format!("{:#}\n", as_json(&reply)) } else { as_text(&self.about, &reply) })
    }
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn as_json(reply: &DecisionsReply) -> Value {
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    let decisions: Vec<_> = reply
        .decisions
        .iter()
        .map(|decision| {
            json!({
                "time": time(decision.at_ms),
                "what": decision.what,
                "address": known(&decision.address),
                "session": known(&decision.session),
                "user": known(&decision.user),
                "tenant": known(&decision.tenant),
                "detail": decision.detail,
            })
        })
        .collect();
    json!({ "decisions": decisions, "forgotten": reply.forgotten })
}

fn as_text(about: &str, reply: &DecisionsReply) -> String {
    let forgotten = match reply.forgotten {
        0 => String::new(),
        count => {
            format!("{count} older decisions are forgotten (audit.remembered); the audit log has them\n")
        }
    };
    if reply.decisions.is_empty() {
        return format!("nothing was decided about {} lately\n{forgotten}", cell(about));
    }
    let rows: Vec<_> = reply
        .decisions
        .iter()
        .map(|decision| {
            let texts = [
                &decision.what,
                &decision.address,
                &decision.session,
                &decision.user,
                &decision.tenant,
                &decision.detail,
            ];
            std::iter::once(time(decision.at_ms)).chain(texts.map(|text| cell(text))).collect()
        })
        .collect();
    let head = ["TIME", "WHAT", "ADDRESS", "SESSION", "USER", "TENANT", "DETAIL"];
    table(&head, &rows) + &forgotten
}

#[cfg(test)]
mod tests {
    use sealwire_proto::v1::Decision;

    use super::*;

    fn reply() -> DecisionsReply {
        let decision = Decision {
            at_ms: 1500,
            what: "token_refused".to_owned(),
            address: "192.0.2.1".to_owned(),
            detail: "GET /ws: expired\u{7}".to_owned(),
            ..Decision::default()
        };
        DecisionsReply { decisions: vec![decision], forgotten: 3 }
    }

    #[test]
    fn a_table_for_people() {
        let lines = "TIME                      WHAT           ADDRESS    SESSION  USER  TENANT  DETAIL\n\
                     1970-01-01T00:00:01.500Z  token_refused  192.0.2.1  -        -     -       GET /ws: expired\\u{7}\n\
                     3 older decisions are forgotten (audit.remembered); the audit log has them\n";
        assert_eq!(as_text("192.0.2.1", &reply()), lines);
        let nothing = as_text("a\u{1b}b", &DecisionsReply::default());
        assert_eq!(nothing, "nothing was decided about a\\u{1b}b lately\n");
    }

    #[test]
    fn json_for_programs() {
        let found = as_json(&reply());
        assert_eq!(found["forgotten"], 3);
        assert_eq!(found["decisions"][0]["what"], "token_refused");
        assert_eq!(found["decisions"][0]["time"], "1970-01-01T00:00:01.500Z");
        assert_eq!(found["decisions"][0]["user"], Value::Null);
    }
}
