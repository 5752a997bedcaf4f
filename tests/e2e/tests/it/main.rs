//! What a user sees, end to end. One binary, so that all tests share one cluster; a test that crashes its cluster, or
//! needs other settings, has its own.

// A test reports by panicking, and so do the helpers here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds; // connections and memory that the driver takes
mod common;
mod connect; // the way to the database: TLS, several servers, a failover, passwords
mod copy; // a restored or copied database pages nobody until a person confirms
mod crash; // the driver or the server is killed while alerts go out
mod cron; // the real pg_cron selects due retries
mod exit; // what cannot be done is said, with its exit code
mod held; // what others keep open costs a poll nothing
mod mail; // what arrives at a real SMTP server
mod races; // sessions that fire the same thing at the same moment
mod report; // what was sent is reported, and a lost claim not sent on
mod retry; // what failed is tried again, in time, and nothing else
mod share; // three drivers, SIGTERM, polling, a pooler
mod stress; // the queue under everything at once: nothing lost, nothing twice
mod texts; // texts of users arrive whole
mod wake; // live inboxes and sleeping drivers
