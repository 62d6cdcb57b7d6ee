//! `[billing]` and `[plans]`: what is paid for.

use crate::config::field::{Field, Section};
use crate::config::{Billing, Plan};
use crate::domain::limit::Caps;

/// Reads `[billing]`.
pub(super) fn billing(section: &Section<'_>) -> Billing {
    Billing {
        microcents_per_dollar: section
            .need("microcents_per_dollar", |field| field.whole(1..=1_000_000_000_000, None))
            .unwrap_or_default(),
        microcents_per_credit: section
            .need("microcents_per_credit", |field| field.whole(1..=1_000_000_000_000, None))
            .unwrap_or_default(),
    }
}

/// Reads `[plans]`.
pub(super) fn plans(section: &Section<'_>) -> Vec<Plan> {
    let plans: Vec<Plan> = section.named().filter_map(|(name, field)| plan(name, &field)).collect();
    if section.named().next().is_none() {
        section.field.wrong::<()>("there is no plan", "add one such as [plans.free]");
    }
    plans
}

fn plan(name: &str, field: &Field<'_>) -> Option<Plan> {
    if !is_name(name) {
        field.wrong::<()>(NAME_REASON, "rename it");
    }
    field.section(|section| {
        let cap = |key| section.may(key, |field| field.whole(0..=i64::MAX as u64, Some(NO_CAP)));
        let caps = Caps {
            per_second: cap("per_second"),
            per_minute: cap("per_minute"),
            concurrency: cap("concurrency"),
        };
        Plan { name: name.to_owned(), caps }
    })
}

const NO_CAP: &str = "leave it out for no cap";

/// Why a name is none.
pub(super) const NAME_REASON: &str = "a name is 1 to 64 letters, digits, `_`, `-` and `.`";

/// Whether `text` can name a plan or an upstream: names are labels of metrics and parts of URLs.
pub(super) fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(fine)
}
