//! `sealwire plan`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use sealwire_proto::v1::{PlanRequest, PlannedOrder};
use serde_json::json;
use tonic::Request;

use super::client::{connect, failure};
use super::text::{instant, table};
use super::{Global, Outcome};
use crate::lifecycle::span;

/// Ten thousand certificates for ten years are computed in well under this.
const PLAN_TIMEOUT: Duration = Duration::from_mins(2);

#[derive(Debug, Args)]
pub(super) struct Plan {
    /// How far to look ahead.
    #[arg(long, default_value_t = 90, value_name = "DAYS")]
    days: u32,
    /// One JSON object per line and order.
    #[arg(long)]
    json: bool,
}

/// What the orders come to, per issuer.
#[derive(Debug, Default)]
struct Sum {
    orders: u64,
    busiest_day: (i64, u64),
    today: (i64, u64),
    questions_per_day: BTreeMap<String, u32>,
}

impl Sum {
    fn add(&mut self, order: &PlannedOrder) {
        self.orders += 1;
        let day = order.at_ms.div_euclid(86_400_000);
        if self.today.0 != day {
            self.today = (day, 0);
        }
        self.today.1 += 1;
        if self.today.1 > self.busiest_day.1 {
            self.busiest_day = self.today;
        }
        self.questions_per_day.insert(order.certificate.clone(), order.questions_per_day);
    }
}

impl Plan {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let mut request = Request::new(PlanRequest { days: self.days });
        request.set_timeout(PLAN_TIMEOUT);
        let reply = connect(global).await?.plan(request).await;
        let mut orders = reply.map_err(|status| failure(&status))?.into_inner();
        let mut rows = Vec::new();
        let mut sums = BTreeMap::<String, Sum>::new();
        let mut weakest: Option<(i64, String)> = None;
        while let Some(order) = orders.message().await.map_err(|status| failure(&status))? {
            if self.json {
                println!("{}", as_json(&order));
                continue;
            }
            sums.entry(order.issuer.clone()).or_default().add(&order);
            if let Some(survives) = order.survives_s
                && weakest.as_ref().is_none_or(|(least, _)| survives < *least)
            {
                weakest = Some((survives, order.certificate.clone()));
            }
            rows.push(row(&order));
        }
        if !self.json {
            print!("{}", table(&["WHEN (UTC)", "CERTIFICATE", "ISSUER", "SURVIVES", "WHY"], &rows));
            for line in summary(self.days, &sums, weakest) {
                println!("{line}");
            }
        }
        Ok(())
    }
}

fn summary(days: u32, sums: &BTreeMap<String, Sum>, weakest: Option<(i64, String)>) -> Vec<String> {
    if sums.is_empty() {
        return vec![format!("No order is due within {days} days.")];
    }
    let mut lines = vec![String::new()];
    for (issuer, sum) in sums {
        let questions: u32 = sum.questions_per_day.values().sum();
        let day = Timestamp::from_second(sum.busiest_day.0 * 86400).unwrap_or_default();
        lines.push(format!(
            "{issuer}: {} order(s) in {days} days, at most {} on one day ({}), {questions} question(s) for renewal \
             information a day",
            sum.orders,
            sum.busiest_day.1,
            day.strftime("%F")
        ));
    }
    if let Some((seconds, certificate)) = weakest {
        let span = span(SignedDuration::from_secs(seconds));
        lines.push(format!("The shortest outage of all issuers that would be felt: {span} ({certificate})."));
    }
    lines
}

fn row(order: &PlannedOrder) -> Vec<String> {
    let at = instant(order.at_ms).unwrap_or_default();
    vec![
        at.strftime("%F %R").to_string(),
        order.certificate.clone(),
        order.issuer.clone(),
        order.survives_s.map_or("-".to_owned(), |seconds| span(SignedDuration::from_secs(seconds))),
        order.why.clone(),
    ]
}

fn as_json(order: &PlannedOrder) -> serde_json::Value {
    json!({
        "at": instant(order.at_ms).map(|at| at.to_string()),
        "certificate": order.certificate,
        "issuer": order.issuer,
        "survives_seconds": order.survives_s,
        "questions_per_day": order.questions_per_day,
        "why": order.why,
    })
}
