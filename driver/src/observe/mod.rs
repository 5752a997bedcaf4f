//! What is seen from outside: metrics and health, on a listener of their own.

mod database;
mod endpoint;
mod health;
mod labels;
mod meters;
mod scrape;

pub use endpoint::{bind, serve, Observed};
pub use meters::{InFlight, Meters};
