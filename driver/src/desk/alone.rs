//! `pgalert desk`: the desk in a process of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Server;
use crate::config::Desk as Settings;
use crate::connect::Params;
use crate::loops::Loops;
use crate::signals::Signals;

/// For answers that are under way.
const GRACE: Duration = Duration::from_secs(5);

/// Until SIGTERM or SIGINT.
pub async fn serve(settings: &Settings, params: Arc<Params>) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let server = Server::bind(settings, params).await?;
    let (stop, mut loops) = (CancellationToken::new(), Loops::default());
    loops.start("desk", server.serve(stop.clone().cancelled_owned()));
    tokio::select! {
        name = signals.next() => info!("{name}: stopping"),
        fault = loops.fault() => bail!(fault),
    }
    stop.cancel();
    let _ = tokio::time::timeout(GRACE, loops.fault()).await;
    Ok(())
}
