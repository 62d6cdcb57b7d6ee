//! One refusal, four spellings.
//!
//! The text, code and status are the domain's; a dialect only arranges them as its published clients expect
//! to read them. AlterLab's documentation names `error` and `message`, its clients read `detail`, so the same
//! text stands three times. AzScraper's codes are its own closed list.

use bytes::Bytes;
use serde_json::json;

use crate::config::Dialect;
use crate::domain::id::RequestId;
use crate::domain::limit::Limit;
use crate::domain::refusal::Refusal;

/// The JSON body of `refusal` as clients of `dialect` expect it.
pub fn refusal_body(dialect: Dialect, refusal: Refusal, request: RequestId) -> Bytes {
    let text = refusal.text();
    let code = refusal.code();
    let body = match dialect {
        Dialect::Native | Dialect::Piloterr => {
            json!({ "error": text, "code": code, "request_id": request.to_string() })
        }
        Dialect::AlterLab => json!({ "error": text, "message": text, "detail": text, "code": code }),
        Dialect::AzScraper => json!({
            "success": false,
            "error": { "code": azscraper_code(refusal), "message": text, "details": [] },
        }),
    };
    Bytes::from(body.to_string())
}

/// The word of AzScraper's list (contract section 9) that comes nearest.
pub(super) const fn azscraper_code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Limited(Limit::KeyBudget(_) | Limit::OrgBudget(_), _) => "INSUFFICIENT_CREDITS",
        Refusal::Limited(..) => "RATE_LIMIT_EXCEEDED",
        _ => match refusal.status() {
            401 => "UNAUTHORIZED",
            403 => "FORBIDDEN",
            404 => "NOT_FOUND",
            400..=499 => "VALIDATION_ERROR",
            _ => "INTERNAL_ERROR",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn each_dialect_spells_it_its_own_way() {
        let refusal = Refusal::Limited(Limit::Daily, None);
        let id = RequestId(Uuid::nil());
        for (dialect, body) in [
            (
                Dialect::Native,
                r#"{"error":"Rate limit exceeded: quota daily","code":"quota_daily","request_id":"00000000-0000-0000-0000-000000000000"}"#,
            ),
            (
                Dialect::AlterLab,
                r#"{"error":"Rate limit exceeded: quota daily","message":"Rate limit exceeded: quota daily","detail":"Rate limit exceeded: quota daily","code":"quota_daily"}"#,
            ),
            (
                Dialect::AzScraper,
                r#"{"success":false,"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Rate limit exceeded: quota daily","details":[]}}"#,
            ),
        ] {
            assert_eq!(refusal_body(dialect, refusal, id), body);
        }
        assert_eq!(refusal_body(Dialect::Piloterr, refusal, id), refusal_body(Dialect::Native, refusal, id));
    }
}
