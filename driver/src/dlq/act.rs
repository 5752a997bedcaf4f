//! Retry and discard, of letters by id or of all that match.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{json, Value};
use tokio_postgres::Client;

use super::command::Which;
use crate::database::letters::{self, Deed};
use crate::output;

/// Of one transaction.
const BATCH: i32 = 1000;

pub async fn retry(
    client: &Client,
    which: &Which,
    gradual: Option<f64>,
    reason: Option<&str>,
) -> anyhow::Result<()> {
    let Some(count) = agreed(client, which, "retried", which.all).await? else { return Ok(()) };
    if let Some(share) = gradual {
        let id = letters::retry_gradually(client, &which.object(), share, reason).await?;
        output::line(format_args!("gradual retry {id} of {count} letters has begun"))?;
        return Ok(());
    }
    if !which.all {
        for id in &which.ids {
            output::line(format_args!("{id}\t{}", letters::retry_now(client, *id, reason).await?))?;
        }
        return Ok(());
    }
    let mut filter = which.object();
    filter["last_retry_before"] = json!(letters::server_time(client).await?); // what fails meanwhile is not taken again
    let retried = in_batches(client, Deed::Retry, &filter, count, reason).await?;
    output::line(format_args!("{retried} queued"))?;
    Ok(())
}

pub async fn discard(client: &Client, which: &Which, reason: &str) -> anyhow::Result<()> {
    let Some(count) = agreed(client, which, "discarded", true).await? else { return Ok(()) };
    if !which.all {
        for id in &which.ids {
            output::line(format_args!(
                "{id}\t{}",
                letters::discard(client, *id, Some(reason)).await?
            ))?;
        }
        return Ok(());
    }
    let discarded = in_batches(client, Deed::Discard, &which.object(), count, Some(reason)).await?;
    output::line(format_args!("{discarded} discarded"))?;
    Ok(())
}

/// One transaction after another until nothing is left; returns how many letters it was done with.
async fn in_batches(
    client: &Client,
    deed: Deed,
    filter: &Value,
    count: i64,
    reason: Option<&str>,
) -> anyhow::Result<u64> {
    let bar = progress(count);
    let mut done: u64 = 0;
    loop {
        let batch = letters::do_matching(client, deed, filter, BATCH, reason).await?;
        if batch == 0 {
            bar.finish_and_clear();
            return Ok(done);
        }
        done += u64::from(batch.unsigned_abs());
        bar.set_position(done);
    }
}

/// How many it will be; None when that was all that was asked.
async fn agreed(
    client: &Client,
    which: &Which,
    done: &str,
    ask: bool,
) -> anyhow::Result<Option<i64>> {
    let count = letters::count_matching(client, &which.countable(), i64::MAX).await?;
    if which.dry_run {
        output::line(format_args!("{count} would be {done}"))?;
        return Ok(None);
    }
    if ask && !which.yes && io::stdin().is_terminal() {
        write!(io::stderr(), "{count} dead letters will be {done}. Go on? [y/N] ")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("nothing was {done}");
        }
    }
    Ok(Some(count))
}

fn progress(count: i64) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(count.unsigned_abs()), target);
    match ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
