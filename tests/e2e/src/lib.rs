//! Helpers of the end-to-end tests: private clusters, the driver as a process, and servers that receive.
//!
//! Environment:
//!   PGALERT_TEST_PG_CONFIG  pg_config of the Postgres to use, the extension installed (default: that of PATH)
//!   PGALERT_TEST_DRIVER     the `pgalert` binary (default: beside the test binary in the target folder)
//!   PGALERT_TEST_PYTHON     a Python with what tests/setup.sh installs (default: target/venv/bin/python)
//!   PGALERT_TEST_SEED       seed of the random tests (default: from the clock; each prints its own)
//!   PGALERT_TEST_KEEP       when set, the folders of clusters are kept for a look

// A test reports by panicking, and so do its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cluster;
pub mod collector;
pub mod desk;
pub mod driver;
pub mod mail;
pub mod mortal;
pub mod postfix;
pub mod prometheus;
pub mod receiver;
pub mod recorder;
pub mod relay;
pub mod rude;
pub mod smtp;
pub mod tools;
pub mod webhook;

pub use cluster::{Cluster, Database, Session};
pub use collector::Collector;
pub use desk::{Desk, Visitor};
pub use driver::Driver;
pub use mail::MailServer;
pub use postfix::Postfix;
pub use prometheus::Prometheus;
pub use relay::Relay;
pub use tools::{say, seed, until, within};
pub use webhook::Webhook;
