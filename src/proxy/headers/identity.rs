//! The names by which an upstream knows who is calling, and every spelling of them.
//!
//! CGI and WSGI hand a header to the application as a variable, where `X-Tollgate-Plan`, `X_Tollgate_Plan` and
//! `X.Tollgate.Plan` are one name (RFC 3875 section 4.1.18 and its implementations). A name is therefore
//! compared with all that is not a letter or digit taken for `-`, runs of it squeezed.

/// The organization that pays.
pub const ORGANIZATION: &str = "x-tollgate-organization";
/// The project that the key belongs to.
pub const PROJECT: &str = "x-tollgate-project";
/// The key's id.
pub const KEY_ID: &str = "x-tollgate-key-id";
/// The organization's plan.
pub const PLAN: &str = "x-tollgate-plan";
/// The request's id, towards upstream and client.
pub const REQUEST_ID: &str = "x-request-id";

/// Whether `name`, in lower case, is a spelling of something that only the gateway may tell an upstream: who
/// is calling, from where, by which host and scheme.
pub fn is_identity(name: &str) -> bool {
    // Nearly every name is told apart by its first letter.
    let first = name.bytes().find(u8::is_ascii_alphanumeric);
    if !matches!(first, Some(b'x' | b'f' | b't')) {
        return false;
    }
    let name = Plain::of(name);
    name.starts_with("x-tollgate")
        || name.starts_with("x-forwarded")
        || matches!(
            name.whole(),
            Some(
                "forwarded"
                    | "x-request-id"
                    | "x-real-ip"
                    | "x-client-ip"
                    | "x-cluster-client-ip"
                    | "x-original-forwarded-for"
                    | "true-client-ip"
            )
        )
}

/// Whether `name`, in lower case, is a field of an answer that describes the operator's own account with the
/// upstream, or one that the gateway sets itself:
///
/// `X-Request-Id` · `RateLimit`, `RateLimit-*`, `X-RateLimit-*`, `X-Rate-Limit-*` · `X-Concurrency-*` ·
/// `X-Balance`, `X-Balance-*`, `X-Account-Balance`, `X-Account-Credits` · `X-Credits-Remaining`, `-Left`,
/// `-Balance`, `-Limit`, `-Total`, `-Reset` (also as `X-Credit-…`), `X-Remaining-Credits` · `X-Quota-*` ·
/// `X-Tollgate-*`. What one request cost (`X-Credits-Used`) stays.
pub fn is_account(name: &str) -> bool {
    let first = name.bytes().find(u8::is_ascii_alphanumeric);
    if !matches!(first, Some(b'x' | b'r')) {
        return false;
    }
    let name = Plain::of(name);
    ["ratelimit-", "x-ratelimit", "x-rate-limit", "x-concurrency-", "x-balance-", "x-quota-", "x-tollgate-"]
        .into_iter()
        .any(|start| name.starts_with(start))
        || name.whole().is_some_and(is_account_name)
}

fn is_account_name(name: &str) -> bool {
    let credits = name.strip_prefix("x-credits-").or_else(|| name.strip_prefix("x-credit-"));
    match credits {
        Some(what) => matches!(what, "remaining" | "left" | "balance" | "limit" | "total" | "reset"),
        None => matches!(
            name,
            "ratelimit"
                | "x-request-id"
                | "x-balance"
                | "x-account-balance"
                | "x-account-credits"
                | "x-remaining-credits"
        ),
    }
}

/// The beginning of a name in plain spelling, on the stack.
struct Plain {
    text: [u8; Self::BYTES],
    length: usize,
    cut: bool,
}

impl Plain {
    /// Longer than every name compared with.
    const BYTES: usize = 32;

    fn of(name: &str) -> Self {
        let mut plain = Self { text: [0; Self::BYTES], length: 0, cut: false };
        let mut gap = false;
        for byte in name.bytes() {
            if !byte.is_ascii_alphanumeric() {
                gap = true;
                continue;
            }
            if gap && plain.length > 0 {
                plain.push(b'-');
            }
            gap = false;
            plain.push(byte);
        }
        plain
    }

    fn push(&mut self, byte: u8) {
        match self.text.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.cut = true,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    fn starts_with(&self, start: &str) -> bool {
        self.as_bytes().starts_with(start.as_bytes())
    }

    /// The name, where it is not too long to be one of those compared with.
    fn whole(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok().filter(|_| !self.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_name() {
        for (name, identity) in [
            ("x-tollgate-organization", true),
            ("x_tollgate_organization", true),
            ("x-tollgate_key.id", true),
            ("x~tollgate!plan", true),
            ("x--tollgate__plan", true),
            ("_x-tollgate-plan_", true),
            ("x-tollgate-anything-whatever-however-long-it-may-be", true),
            ("x-forwarded-for", true),
            ("x_forwarded_prefix", true),
            ("forwarded", true),
            ("_forwarded", true),
            ("x-request-id", true),
            ("x_request_id", true),
            ("x.real.ip", true),
            ("true_client_ip", true),
            ("x-api-version", false),
            ("x-requested-with", false),
            ("x-request-id-of-my-own", false),
            ("from", false),
            ("te", false),
            ("accept", false),
            ("-", false),
        ] {
            assert_eq!(is_identity(name), identity, "{name}");
        }
    }

    #[test]
    fn the_operators_account_is_not_the_clients_business() {
        for (name, account) in [
            ("ratelimit", true),
            ("ratelimit-policy", true),
            ("x-ratelimit-limit-requests", true),
            ("x-rate-limit-reset", true),
            ("x_ratelimit_remaining", true),
            ("x-concurrency-limit", true),
            ("x-credits-remaining", true),
            ("x-credit-balance", true),
            ("x-balance", true),
            ("x-quota-left", true),
            ("x-request-id", true),
            ("x-credits-used", false),
            ("x-credits-cost", false),
            ("x-frame-options", false),
            ("retry-after", false),
            ("referrer-policy", false),
            ("server", false),
        ] {
            assert_eq!(is_account(name), account, "{name}");
        }
    }
}
