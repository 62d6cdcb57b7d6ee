//! Whether a record that cannot be asked is only not there for now, which passes by itself, or was asked and said no,
//! which somebody has to set right.

use std::io::ErrorKind;

use super::RecordError;

/// Classes of SQLSTATE by which a server says that it cannot now: no connection, no resources, an operator's doing (also
/// that it is starting up, `57P03`), a failing system.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const NOT_NOW: [&str; 4] = ["08", "53", "57", "58"];

impl RecordError {
    /// Whether the record is away: it cannot be reached, does not answer, or says that it cannot now. Where it is not, its
    /// server has answered, and trying again will not help: a wrong password, no such database, no trust in its
    /// certificate, tables of another version.
    pub fn is_away(&self) -> bool {
        let Self::Unavailable(cause) = self else { return false };
        match cause {
            sqlx::Error::Io(error) => is_gone(error),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| NOT_NOW.iter().any(|class| code.starts_with(class)))
            }
            // One that dies while it shakes hands.
            sqlx::Error::Tls(error) => {
                error.downcast_ref().is_some_and(|error: &std::io::Error| is_gone(error))
            }
            _ => false,
        }
    }
}

/// Whether a failure is of the way there. What came over it and makes no sense, such as a certificate, is not.
fn is_gone(error: &std::io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_away() {
        let io = |kind: ErrorKind| sqlx::Error::Io(kind.into());
        let tls = |kind: ErrorKind| sqlx::Error::Tls(Box::new(std::io::Error::from(kind)));
        for (error, is_away) in [
            (io(ErrorKind::ConnectionRefused), true),
            (io(ErrorKind::TimedOut), true),
            (io(ErrorKind::UnexpectedEof), true),
            (io(ErrorKind::NotFound), true),
            (sqlx::Error::PoolTimedOut, true),
            (tls(ErrorKind::ConnectionReset), true),
            (io(ErrorKind::InvalidData), false),
            (tls(ErrorKind::InvalidData), false),
            (sqlx::Error::Tls("server does not support TLS".into()), false),
            (sqlx::Error::Configuration("no such mode".into()), false),
        ] {
            let text = error.to_string();
            assert_eq!(RecordError::Unavailable(error).is_away(), is_away, "{text}");
        }
        assert!(!RecordError::Corrupt("of a newer version".into()).is_away());
    }
}
