//! Loops of the daemon that nobody waits for: each runs until it is aborted. One that ends by itself is a fault of the program,
//! and ends the daemon.

use std::future::Future;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::{AbortHandle, JoinError};

/// An internal loop ended by itself: a fault of the program.
#[derive(Debug, thiserror::Error)]
#[error("the {part} ended by itself: {reason}")]
pub struct Fault {
    part: &'static str,
    reason: String,
}

impl Fault {
    pub fn of<T>(part: &'static str, ended: Result<T, JoinError>) -> Self {
        let reason = ended.err().map_or_else(|| "without a reason".into(), |e| e.to_string());
        Self { part, reason }
    }
}

#[derive(Default)]
pub struct Loops(FuturesUnordered<BoxFuture<'static, Fault>>);

impl Loops {
    pub fn start<T: Send + 'static>(
        &mut self,
        part: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> AbortHandle {
        let task = tokio::spawn(future);
        let handle = task.abort_handle();
        self.0.push(Box::pin(async move { Fault::of(part, task.await) }));
        handle
    }

    /// The first that ends; where none runs, never.
    pub async fn fault(&mut self) -> Fault {
        match self.0.next().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_one_that_ends_is_told_and_those_that_run_are_not() {
        let mut loops = Loops::default();
        assert!(futures_util::poll!(Box::pin(loops.fault())).is_pending(), "there is none");
        loops.start("upkeep", std::future::pending::<()>());
        assert!(futures_util::poll!(Box::pin(loops.fault())).is_pending(), "it runs");
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        loops.start("listener", async { ended.await.unwrap() });
        end.send(()).unwrap();
        let fault = tokio::time::timeout(Duration::from_secs(20), loops.fault()).await.unwrap();
        assert_eq!(fault.to_string(), "the listener ended by itself: without a reason");
    }

    #[tokio::test]
    async fn a_panic_is_a_fault_with_its_reason() {
        let mut loops = Loops::default();
        loops.start("listener", async { panic!("no socket") });
        let fault = tokio::time::timeout(Duration::from_secs(20), loops.fault()).await.unwrap();
        assert!(fault.to_string().contains("the listener ended by itself"), "{fault}");
        assert!(fault.to_string().contains("no socket"), "{fault}");
    }
}
