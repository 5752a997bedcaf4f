//! Why a call was not answered, and what that means for the caller.

use thiserror::Error;

const LEASE_LOST: &str = "PA001";
const READ_ONLY: &str = "25006";

#[derive(Debug, Error)]
pub enum DatabaseError {
    /// The claim is another worker's now, or ended: what is held of it is to be dropped.
    #[error("{0}")]
    LeaseLost(String),
    /// The server refused the call; the connection is fine.
    #[error("{message} (SQLSTATE {sqlstate}){}{}", line("detail", .detail), line("hint", .hint))]
    Refused { sqlstate: String, message: String, detail: Option<String>, hint: Option<String> },
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    /// The session cannot write, and another may.
    #[error("{0} (SQLSTATE {READ_ONLY})\nhint: the server is a standby, which target_session_attrs=read-write passes over; or default_transaction_read_only is on")]
    ReadOnly(String),
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if db.code().code() == LEASE_LOST => {
                Self::LeaseLost(format!("{}: {}", db.message(), db.detail().unwrap_or_default()))
            }
            Some(db) if db.code().code() == READ_ONLY => Self::ReadOnly(db.message().into()),
            Some(db) if ends_the_session(db.code().code()) => Self::Lost(db.message().into()),
            Some(db) => Self::Refused {
                sqlstate: db.code().code().into(),
                message: db.message().into(),
                detail: db.detail().filter(|_| !quotes_a_row(db.code().code())).map(Into::into),
                hint: db.hint().or_else(|| advice(db.code().code())).map(Into::into),
            },
            None => {
                let cause = std::error::Error::source(&error)
                    .map(|source| format!(": {source}"))
                    .unwrap_or_default();
                Self::Lost(format!("{error}{cause}"))
            }
        }
    }
}

fn line(name: &str, text: &Option<String>) -> String {
    text.as_ref().map(|text| format!("\n{name}: {text}")).unwrap_or_default()
}

/// The DETAIL of a check or a NOT NULL is the whole row, with what is secret in it.
fn quotes_a_row(sqlstate: &str) -> bool {
    matches!(sqlstate, "23502" | "23514")
}

/// Class 57P: the server ends it. Class 08: a pooler does, whose server is away.
fn ends_the_session(sqlstate: &str) -> bool {
    sqlstate.starts_with("57P") || sqlstate.starts_with("08")
}

/// Where the server has none.
fn advice(sqlstate: &str) -> Option<&'static str> {
    match sqlstate {
        "3F000" => {
            Some("the extension is not in this database; as a superuser: CREATE EXTENSION pgalert")
        }
        "42501" => Some("GRANT pgalert_producer (to fire), pgalert_operator (recipients, dead letters) or pgalert_driver (to send) TO the role"),
        _ => None,
    }
}

impl DatabaseError {
    /// Other data would have been taken: classes 22 and 54, which is about size and depth; 42704, a name that there is not.
    pub fn is_of_the_data(&self) -> bool {
        match self {
            Self::Refused { sqlstate, .. } => {
                sqlstate.starts_with("22") || sqlstate.starts_with("54") || sqlstate == "42704"
            }
            _ => false,
        }
    }

    /// A deadlock, a full disk, a cancelled statement …: the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { sqlstate, .. } => {
                ["40", "53", "55", "57", "58"].iter().any(|class| sqlstate.starts_with(class))
            }
            Self::Lost(_) | Self::ReadOnly(_) => true,
            Self::LeaseLost(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_ended_by_its_server_or_its_pooler() {
        assert!(["57P01", "57P03", "08P01", "08006"].into_iter().all(ends_the_session));
        assert!(!["57014", "40P01", "42501", "25001", "25006"].into_iter().any(ends_the_session));
    }

    #[test]
    fn detail_and_hint_are_told() {
        let refused = |detail: Option<&str>, hint: Option<&str>| DatabaseError::Refused {
            sqlstate: "22023".into(),
            message: "no".into(),
            detail: detail.map(Into::into),
            hint: hint.map(Into::into),
        };
        let told = refused(Some("It is 7."), Some("Give 8.")).to_string();
        assert_eq!(told, "no (SQLSTATE 22023)\ndetail: It is 7.\nhint: Give 8.");
        assert_eq!(refused(None, None).to_string(), "no (SQLSTATE 22023)");
        assert!(quotes_a_row("23514") && quotes_a_row("23502") && !quotes_a_row("23505"));
    }

    #[test]
    fn a_deadlock_passes_and_a_mistake_does_not() {
        let refused = |sqlstate: &str| DatabaseError::Refused {
            sqlstate: sqlstate.into(),
            message: String::new(),
            detail: None,
            hint: None,
        };
        for passes in ["40P01", "40001", "53100", "55P03", "57014", "58030"] {
            assert!(refused(passes).may_pass(), "{passes}");
        }
        for stays in ["22023", "42501", "PA002", "XX000"] {
            assert!(!refused(stays).may_pass(), "{stays}");
        }
        assert!(!DatabaseError::LeaseLost(String::new()).may_pass());
    }
}
