//! `pgalert status`: how it goes, on one screen.

use serde_json::Value;
use tokio_postgres::Client;

use crate::database::letters;
use crate::output;
use crate::table::{cell, json_line, Table};

pub async fn status(client: &Client, json: bool) -> anyhow::Result<()> {
    let mut overview = letters::overview(client, "1 hour").await?;
    let claims = letters::open_claims(client).await?;
    let breakers = letters::open_breakers(client).await?;
    if json {
        overview["open_claims"] = claims.into();
        overview["open_breakers"] = breakers.into();
        output::line(json_line(&overview))?;
        return Ok(());
    }
    match &overview["hold_reason"] {
        Value::Null => output::line("sending: nothing is held back")?,
        reason => output::line(format_args!("HELD BACK: {}", cell(reason)))?,
    }
    let mut queue = Table::new(["LANE", "WAITING", "OLDEST"]);
    for lane in overview["queue"].as_array().into_iter().flatten() {
        let bound = if lane["exact"] == Value::Bool(false) { "up to " } else { "" };
        let waiting = format!("{bound}{}", cell(&lane["waiting"]));
        queue.row([cell(&lane["lane"]), waiting, cell(&lane["oldest_at"])]);
    }
    output::line(format_args!("\n{queue}"))?;
    let open = &overview["claims"];
    output::line(format_args!(
        "workers {}, open claims {}, messages in them {}",
        open["workers"], open["open"], open["messages"]
    ))?;
    let mut leases = Table::new(["WORKER", "LANE", "MESSAGES", "LEASE UNTIL"]);
    for claim in &claims {
        leases.row(["worker", "lane", "messages_left", "lease_until"].map(|f| cell(&claim[f])));
    }
    if !leases.is_empty() {
        output::print(leases)?;
    }
    output::line(format_args!("\ndead letters: {}", counts(&overview["dlq"])))?;
    output::line(format_args!("last hour: {}", counts(&overview["rates"])))?;
    let Some(breakers) = breakers else {
        output::line("breakers: not known to a standby")?;
        return Ok(());
    };
    if breakers.is_empty() {
        output::line("breakers: all closed")?;
        return Ok(());
    }
    output::line("breakers: messages to these hosts wait")?;
    let mut hosts = Table::new(["CHANNEL", "HOST", "STATE", "UNTIL", "WORKER"]);
    for breaker in &breakers {
        hosts.row(["channel", "host", "state", "open_until", "worker"].map(|f| cell(&breaker[f])));
    }
    output::print(hosts)?;
    Ok(())
}

fn counts(object: &Value) -> String {
    let counts: Vec<String> = object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, count)| format!("{} {name}", cell(count)))
        .collect();
    counts.join(", ")
}
