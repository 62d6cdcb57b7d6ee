//! The conformance story: what every record does, told once and run over each.
//!
//! A chapter takes two handles on one store, as two processes would have, so that nothing it tells can rest on
//! what one of them remembers.

mod accounts;
mod crowd;
mod keys;
mod log;
mod people;
mod reports;
mod systems;
mod upkeep;

use std::net::{IpAddr, Ipv4Addr};

use uuid::Uuid;

use super::*;
use crate::domain::cost::{CostSource, Outcome};
use crate::domain::id::{ProjectId, RequestId, UserId};
use crate::domain::key::{Grant, Scopes};
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::people::{Role, Session};
use crate::domain::row::{Admission, Row};
use crate::domain::time::Period;

pub(crate) use accounts::*;
pub(crate) use crowd::*;
pub(crate) use keys::*;
pub(crate) use log::*;
pub(crate) use people::*;
pub(crate) use reports::*;
pub(crate) use systems::*;
pub(crate) use upkeep::*;

/// Hands the names of all chapters to the macro `$told`, which makes tests of them.
macro_rules! every_chapter {
    ($told:ident) => {
        $told! {
            an_organization_is_made_once_and_found_by_id_and_name
            plan_and_limit_of_an_organization_change_and_are_told
            a_user_owns_a_personal_organization
            a_project_belongs_to_one_organization
            a_key_is_found_by_its_digest_whole
            a_name_is_free_again_once_its_key_is_revoked
            every_edit_of_a_key_is_told_and_a_revoked_one_takes_none
            a_rotated_secret_works_until_its_grace_ends
            only_a_key_never_used_is_deleted
            a_batch_moved_twice_counts_once
            gateways_beside_are_those_heard_of_lately
            usage_says_up_to_which_batch_of_each_spool_it_goes
            cursors_only_advance_and_are_forgotten
            a_carried_admission_stays_until_its_row_arrives
            an_admission_is_ended_by_the_spool_that_left_it_open
            rows_of_one_instant_are_told_apart
            a_request_counts_when_it_was_admitted
            a_row_of_any_shape_is_taken
            sums_are_those_of_the_rows
            made_up_names_make_no_sum_larger_and_every_row_is_kept
            a_notice_is_shown_once
            a_job_is_of_the_project_that_made_it_first
            pages_are_the_rows_in_the_order_of_arrival
            who_follows_the_log_sees_each_row_once_also_late_ones
            old_rows_go_and_their_sums_stay
            what_has_ended_is_dropped_and_nothing_else
            sums_are_verified_against_rows
            sixty_four_at_once_make_one_key_of_a_name
            a_follower_misses_no_change_of_two_writers
            an_organization_keeps_an_owner
            an_invitation_is_accepted_once_by_whom_it_is_for
            a_session_ends_by_hand_and_by_a_new_password
            an_outside_subject_is_one_user
            a_named_request_is_done_once
            the_audit_trail_is_walked_by_organization
            a_key_is_changed_only_as_it_was_seen
            keys_are_listed_part_by_part_in_the_order_of_their_making
            keys_are_imported_all_or_none
            a_sealed_copy_is_of_the_present_secret
        }
    };
}
pub(crate) use every_chapter;

/// Two handles on one empty store.
pub(crate) type Handles = [SharedRecord; 2];

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

fn actor() -> Actor {
    Actor { who: "cli".into(), from: String::new() }
}

fn slug(text: &str) -> OrgId {
    OrgId::parse(text).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn new_org(id: &str) -> NewOrganization {
    NewOrganization {
        id: slug(id),
        name: format!("{id} GmbH"),
        plan: "free".into(),
        default_project: ProjectId::parse(&format!("{id}-default")).unwrap(),
    }
}

fn new_key(org: &str, name: &str) -> NewKey {
    NewKey {
        id: KeyId(Uuid::new_v4()),
        digest: digest(name),
        sealed: None,
        organization: slug(org),
        project: None,
        name: name.into(),
        category: "production".into(),
        prefix: "sk_live_".into(),
        hint: "abcd".into(),
        scopes: Scopes { read: true, write: false },
        active: true,
        expires_at: Some(at(1_000)),
        allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        quotas: Quotas { total: Some(5), daily: Some(0), weekly: None, monthly: Some(7) },
        limit: None,
        created_by: None,
    }
}

fn new_user(email: &str, org: &str) -> NewUser {
    NewUser {
        id: UserId(Uuid::new_v4()),
        email: email.into(),
        password: Some("$argon2id$phc".into()),
        operator: false,
        membership: None,
        personal: NewOrganization {
            name: email.into(),
            default_project: ProjectId::parse(&Uuid::new_v4().to_string()).unwrap(),
            ..new_org(org)
        },
        personal_otherwise: slug(&format!("{org}-x7")),
    }
}

/// The id of request `n`, which came at `at`.
fn id(n: u64, at: Timestamp) -> RequestId {
    let [a, b, c, d, e, f, g, h] = n.to_be_bytes();
    let builder =
        uuid::Builder::from_unix_timestamp_millis(at.micros() / 1_000, &[0, 0, a, b, c, d, e, f, g, h]);
    RequestId(builder.into_uuid())
}

fn row(n: u64, key: Option<KeyId>, admitted: bool, seconds: u64) -> Row<'static> {
    Row {
        id: id(n, at(seconds)),
        at: at(seconds),
        organization: Some("acme".into()),
        project: Some("acme-default".into()),
        key,
        admitted,
        method: "GET".into(),
        path: "/a".into(),
        status: if admitted { 200 } else { 429 },
        code: if admitted { "" } else { "rate_limited_second" }.into(),
        outcome: admitted.then_some(if n.is_multiple_of(2) { Outcome::Success } else { Outcome::Failure }),
        first_byte_micros: 1,
        total_micros: 2,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        cost: if admitted { Cost { credits: 2, microcents: 30 } } else { Cost::default() },
        cost_source: CostSource::Header,
        tier: Some("3.5".into()),
        domain: None,
        bytes_in: 0,
        bytes_out: 9,
        target: None,
        user_agent: Some("curl".into()),
        job: None,
    }
}

/// An admitted row of request `n` of one key.
pub(crate) fn numbered(n: u64) -> Row<'static> {
    row(n, Some(KeyId(Uuid::from_u128(9))), true, 1)
}

/// A row with every text but the code, and numbers that differ.
pub(crate) fn written() -> Row<'static> {
    Row {
        first_byte_micros: 11,
        total_micros: 12,
        bytes_in: 13,
        bytes_out: 14,
        cost: Cost { credits: 15, microcents: 16 },
        cost_source: CostSource::Status,
        outcome: Some(Outcome::ClientAborted),
        domain: Some("example.com".into()),
        target: Some("127.0.0.1:3000".into()),
        ..row(5, Some(KeyId(Uuid::from_u128(9))), true, 1)
    }
}

fn conflict<T: std::fmt::Debug>(result: Result<T, RecordError>, says: &str) {
    match result {
        Err(RecordError::Conflict(text)) => assert!(text.contains(says), "{text}"),
        other => panic!("not a conflict: {other:?}"),
    }
}

fn stale<T: std::fmt::Debug>(result: Result<T, RecordError>) {
    match result {
        Err(RecordError::Stale(text)) => assert!(text.contains("read it again"), "{text}"),
        other => panic!("not stale: {other:?}"),
    }
}

/// The end of the audit trail.
async fn told(record: &SharedRecord, most: usize) -> Vec<AuditEntry> {
    record.audit(&AuditFilter::default(), &Page::first(most)).await.unwrap()
}

fn secret(text: &str, hint: &str, old_until: Option<Timestamp>) -> NewSecret {
    NewSecret { digest: digest(text), sealed: None, hint: hint.into(), old_until }
}

fn not_found<T: std::fmt::Debug>(result: Result<T, RecordError>, says: &str) {
    match result {
        Err(RecordError::NotFound(text)) => assert!(text.contains(says), "{text}"),
        other => panic!("found: {other:?}"),
    }
}

async fn subjects(record: &SharedRecord, after: i64) -> Vec<Changed> {
    let changes = record.changes_after(after, 1_000).await.unwrap();
    changes.into_iter().map(|change| change.subject).collect()
}
