//! Why nobody answered, as an error class.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper_util::client::legacy::Error as ClientError;

use super::connector::Fault;
use crate::message::SendError;

/// `repeatable`: the receiver can tell a repetition, so that it may be tried again after it may have been acted on.
pub fn of(error: &ClientError, repeatable: bool) -> SendError {
    match chain(error).find_map(|cause| cause.downcast_ref::<Fault>()) {
        Some(fault) => of_connection(fault),
        None => of_exchange(error, repeatable),
    }
}

pub fn of_connection(fault: &Fault) -> SendError {
    let text = fault.to_string();
    match fault {
        Fault::Blocked => SendError::permanent(
            "blocked_address",
            format!("{text}; an operator can allow it by http.allow_addresses"),
        ),
        Fault::Name(_) => SendError::transient("dns", text),
        Fault::Tcp(_) => SendError::transient("connect", text).again_soon(true),
        Fault::Tls(_) => SendError::transient("tls", text),
        Fault::SlowTcp(_) | Fault::SlowTls(_) => SendError::transient("timeout", text),
    }
}

fn of_exchange(error: &ClientError, repeatable: bool) -> SendError {
    for cause in chain(error) {
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                return SendError::transient("bad_answer", "the receiver does not speak HTTP");
            }
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let wrapped = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(tls) = wrapped {
                return SendError::transient("tls", format!("TLS: {tls}"));
            }
        }
    }
    SendError::transient("connect", "the connection ended before the answer").again_soon(repeatable)
}

pub fn too_slow(limit: Duration) -> SendError {
    SendError::transient("timeout", format!("no answer within {limit:?}"))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
}
