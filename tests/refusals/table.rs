//! The words of every refusal, by the contract, and what an answer must be like that says them.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::support::{Response, raw};

/// How refusals are spelled.
pub const DIALECTS: [&str; 4] = ["native", "alterlab", "azscraper", "piloterr"];

/// A code (what stands behind a blank tells rows of one code apart), its status and text, and AzScraper's code.
type Row = (&'static str, u16, &'static str, &'static str);

const TABLE: &[Row] = &[
    ("head_timeout", 408, "Request head was not complete in time", "VALIDATION_ERROR"),
    ("head_too_large", 431, "Request head is too large", "VALIDATION_ERROR"),
    ("uri_too_long", 414, "Request target is too long", "VALIDATION_ERROR"),
    ("bad_request", 400, "Bad Request", "VALIDATION_ERROR"),
    ("ip_blocked", 403, "IP temporarily blocked", "FORBIDDEN"),
    ("no_route", 404, "No such route", "NOT_FOUND"),
    ("missing_api_key", 401, "Invalid API Key", "UNAUTHORIZED"),
    ("invalid_api_key", 401, "Invalid API Key", "UNAUTHORIZED"),
    ("ambiguous_credentials", 400, "More than one API key was sent", "VALIDATION_ERROR"),
    ("inactive_api_key", 401, "Inactive API Key", "UNAUTHORIZED"),
    ("expired_api_key", 401, "Expired API Key", "UNAUTHORIZED"),
    ("ip_not_allowed", 403, "This API key may not be used from your address", "FORBIDDEN"),
    ("scope_missing", 403, "This API key lacks the scope for this request", "FORBIDDEN"),
    ("project_locked", 403, "This API key belongs to another project", "FORBIDDEN"),
    (
        "concurrency_limited",
        429,
        "You have exceeded the concurrency limit on your subscription",
        "RATE_LIMIT_EXCEEDED",
    ),
    (
        "rate_limited_second",
        429,
        "You have exceeded the per-second rate limit on your subscription",
        "RATE_LIMIT_EXCEEDED",
    ),
    (
        "rate_limited_minute",
        429,
        "You have exceeded the per-minute rate limit on your subscription",
        "RATE_LIMIT_EXCEEDED",
    ),
    ("quota_total", 401, "Rate limit exceeded: quota total", "RATE_LIMIT_EXCEEDED"),
    ("quota_daily", 401, "Rate limit exceeded: quota daily", "RATE_LIMIT_EXCEEDED"),
    ("quota_weekly", 401, "Rate limit exceeded: quota weekly", "RATE_LIMIT_EXCEEDED"),
    ("quota_monthly", 401, "Rate limit exceeded: quota monthly", "RATE_LIMIT_EXCEEDED"),
    ("spend_requests key", 429, "Spend limit exceeded: daily requests of this key", "RATE_LIMIT_EXCEEDED"),
    ("spend_budget key", 429, "Spend limit exceeded: monthly budget of this key", "INSUFFICIENT_CREDITS"),
    (
        "spend_requests org",
        429,
        "Spend limit exceeded: weekly requests of this organization",
        "RATE_LIMIT_EXCEEDED",
    ),
    (
        "spend_budget org",
        429,
        "Spend limit exceeded: daily budget of this organization",
        "INSUFFICIENT_CREDITS",
    ),
    ("upstream_unreachable", 502, "The upstream could not be reached", "INTERNAL_ERROR"),
    ("no_healthy_upstream", 503, "No healthy upstream", "INTERNAL_ERROR"),
    ("upstream_timeout", 504, "The upstream did not answer in time", "INTERNAL_ERROR"),
    ("store_unavailable", 503, "Key service unavailable", "INTERNAL_ERROR"),
    ("body_too_large", 413, "Request body is too large", "VALIDATION_ERROR"),
    ("body_timeout", 408, "Request body did not arrive in time", "VALIDATION_ERROR"),
    ("overloaded", 503, "The gateway is overloaded", "INTERNAL_ERROR"),
];

/// The code that `label`, the first column of a row, stands for.
pub fn code(label: &str) -> &str {
    label.split(' ').next().unwrap()
}

/// The body of a refusal, whole.
fn body(label: &str, dialect: &str, request_id: &str) -> String {
    let (_, _, text, azscraper) = row(label);
    let code = code(label);
    match dialect {
        "native" | "piloterr" => {
            format!(r#"{{"error":"{text}","code":"{code}","request_id":"{request_id}"}}"#)
        }
        "alterlab" => {
            format!(r#"{{"error":"{text}","message":"{text}","detail":"{text}","code":"{code}"}}"#)
        }
        "azscraper" => {
            format!(r#"{{"success":false,"error":{{"code":"{azscraper}","message":"{text}","details":[]}}}}"#)
        }
        other => panic!("no dialect {other}"),
    }
}

fn row(label: &str) -> &'static Row {
    TABLE.iter().find(|row| row.0 == label).unwrap_or_else(|| panic!("no row {label}"))
}

/// Holds an answer against the row `label` in everything that all refusals have in common. `what` was asked; it
/// is in the report. Returns the request's id.
#[track_caller]
pub fn assert_refused(answer: &Response, label: &str, dialect: &str, what: &str) -> String {
    assert_refused_head(answer, label, dialect, what, true)
}

/// As [`assert_refused`], of an answer to HEAD: everything but the body.
#[track_caller]
pub fn assert_refused_to_head(answer: &Response, label: &str, dialect: &str, what: &str) -> String {
    assert_refused_head(answer, label, dialect, what, false)
}

#[track_caller]
fn assert_refused_head(answer: &Response, label: &str, dialect: &str, what: &str, has_body: bool) -> String {
    let status = row(label).1;
    let seen = format!("{label} in {dialect}: {what}\nanswered {answer:?}");
    assert_eq!(answer.status, status, "{seen}");
    let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no X-Request-Id: {seen}")).to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).map(|id| id.to_string()).ok(), Some(id.clone()), "{seen}");
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1, "{seen}");

    let body = body(label, dialect, &id);
    assert_eq!(answer.text(), if has_body { body.as_str() } else { "" }, "{seen}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{seen}");
    assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()), "{seen}");

    let wait: Option<u64> = answer.header("retry-after").map(|wait| wait.parse().expect(&seen));
    assert_eq!(wait.is_some(), status == 429 || status == 503, "Retry-After: {seen}");
    assert!(wait.is_none_or(|seconds| (1..=60).contains(&seconds)), "Retry-After: {seen}");
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "the challenge: {seen}");
    id
}

/// Sends bytes and reads the one answer that must come before the connection is closed.
///
/// # Panics
/// Where the connection is not closed, or anything stands behind the answer's body.
pub async fn one_answer(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    parse(&raw(address, bytes).await)
}

/// Reads one whole HTTP/1.1 answer; what stands behind its head is its body.
pub fn parse(bytes: &[u8]) -> Response {
    let seen = || String::from_utf8_lossy(bytes).into_owned();
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {}", seen()));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let mut headers = http::HeaderMap::new();
    for field in fields.split("\r\n") {
        let (name, value) = field.split_once(": ").unwrap_or_else(|| panic!("{field:?} in {}", seen()));
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, value.parse().unwrap());
    }
    let body = Bytes::copy_from_slice(&bytes[end + 4..]);
    Response { status: status.unwrap_or_else(|| panic!("no status: {}", seen())), headers, body }
}
