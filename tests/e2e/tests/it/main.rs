//! What a user sees, end to end. One binary, so that all tests share one cluster; a test that crashes its cluster, or
//! needs other settings, has its own.

// A test reports by panicking, and so do the helpers here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod copy; // a restored or copied database pages nobody until a person confirms
mod cron; // the real pg_cron selects due retries
mod races; // sessions that fire the same thing at the same moment
mod stress; // the queue under everything at once: nothing lost, nothing twice
