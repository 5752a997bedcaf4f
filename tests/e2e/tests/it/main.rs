//! What a user sees, end to end. One binary, so that all tests share one cluster; a test that crashes its cluster, or
//! needs other settings, has its own.

// A test reports by panicking, and so do the helpers here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds; // breakers, rate limits, bounds of a host, quick second tries
mod channels; // Slack, SMS and JSON channels: what their receivers get, and what their answers mean
mod common;
mod connect; // the way to the database: TLS, several servers, a failover, passwords
mod copy; // a restored or copied database pages nobody until a person confirms
mod crash; // the driver or the server is killed while alerts go out
mod cron; // the real pg_cron selects due retries
mod desk; // pages and actions by HTTP: who may, and what comes of it
mod dkim; // signatures of mails, as another implementation sees them
mod dlq; // dead letters at a terminal
mod dump; // counts and the log of actions after each kind of restore
mod exit; // what cannot be done is said, with its exit code
mod guard; // recipients' URLs lead to no internal address
mod health; // /healthz and /readyz in each state
mod held; // what others keep open costs a poll nothing
mod hostile; // texts that would forge a header, a command or a request
mod hosts; // a host that hangs beside hosts that answer
mod mail; // what arrives at a real SMTP server
mod metrics; // /metrics, in a real Prometheus and in the parser of others
mod names; // pgalert channels and recipients
mod postfix; // a real Postfix: STARTTLS, logins, its refusals, a connection that breaks off
mod published; // Slack and Twilio: bodies against what they publish themselves
mod races; // sessions that fire the same thing at the same moment
mod report; // what was sent is reported, and a lost claim not sent on
mod resources; // connections and memory that the driver takes
mod retry; // what failed is tried again, in time, and nothing else
mod schemas; // what receivers take, as JSON schemas
mod share; // three drivers, SIGTERM, polling, a pooler
mod signature; // Standard Webhooks, as another implementation sees them
mod smtp; // a server that breaks off, stalls or lies
mod start; // a driver that is started before its database is there
mod stress; // the queue under everything at once: nothing lost, nothing twice
mod supervisor; // what the service manager is told
mod templates; // preview, check, and what a broken one costs
mod terminal; // what is asked and shown on a terminal, and not in a pipe
mod texts; // texts of users arrive whole
mod traces; // spans of sends, as another implementation decodes them
mod transport; // HTTP servers that do each bad thing
mod wake; // live inboxes and sleeping drivers
