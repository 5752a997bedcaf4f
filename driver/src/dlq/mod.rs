//! `pgalert dlq`: dead letters, for a person at a terminal. Each act is one SQL function.

mod act;
mod command;
mod edit;
mod list;
mod log;
mod transfer;

use tokio_postgres::Client;

pub use command::DlqCommand;

use crate::database::letters;

pub async fn run(client: &Client, command: DlqCommand) -> anyhow::Result<()> {
    letters::name_operator(client, &operator()).await?;
    match command {
        DlqCommand::List { filter, sort, limit, json } => {
            list::list(client, &filter.object(), sort.name(), limit, json).await
        }
        DlqCommand::Show { id, json } => list::show(client, id, json).await,
        DlqCommand::Stats { filter, json } => list::stats(client, &filter, json).await,
        DlqCommand::Retry { which, gradual, max_failure_share, reason } => {
            let share = gradual.then_some(max_failure_share);
            act::retry(client, &which, share, reason.as_deref()).await
        }
        DlqCommand::Discard { which, reason } => act::discard(client, &which, &reason).await,
        DlqCommand::Edit { id, message, channels, reason } => {
            edit::edit(client, id, message, channels, reason.as_deref()).await
        }
        DlqCommand::Export { filter, output } => {
            transfer::export(client, &filter.object(), output.as_deref()).await
        }
        DlqCommand::Log { filter, limit, json } => {
            log::log(client, &filter.object(), limit, json).await
        }
        DlqCommand::Import { file } => transfer::import(client, &file).await,
    }
}

/// Who acts, for operator_log: the person behind sudo, where there is one.
fn operator() -> String {
    std::env::var("SUDO_USER")
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| whoami::username().ok())
        .unwrap_or_default()
}
