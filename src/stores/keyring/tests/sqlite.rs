//! The keyring over a real record: the gateway's handle and the command line's, on one file.

use std::sync::atomic::AtomicBool;

use uuid::Uuid;

use super::*;
use crate::clock;
use crate::domain::id::{KeyId, ProjectId};
use crate::domain::key::Scopes;
use crate::domain::limit::{Caps, Quotas};
use crate::stores::record::sqlite::SqliteRecord;
use crate::stores::record::{
    Actor, KeyEdit, KeyRecord as _, NewKey, NewOrganization, NewSecret, OrganizationEdit,
    OrganizationRecord as _,
};

struct Stage {
    command_line: SqliteRecord,
    keyring: Arc<Keyring>,
    follower: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

fn actor() -> Actor {
    Actor { who: "cli".to_owned(), from: String::new() }
}

fn acme_id() -> OrgId {
    OrgId::parse("acme").unwrap()
}

impl Stage {
    async fn new(follow_every: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tollgate.db");
        let gateway = Arc::new(SqliteRecord::open(&path).await.unwrap());
        let command_line = SqliteRecord::open(&path).await.unwrap();
        let acme = NewOrganization {
            id: acme_id(),
            name: "acme".to_owned(),
            plan: "free".to_owned(),
            default_project: ProjectId::parse("default").unwrap(),
        };
        command_line.create_organization(&acme, &actor(), clock::now()).await.unwrap();
        let settings = config::Keys { follow_every, ..settings(1_000) };
        let keyring = Arc::new(Keyring::new(gateway.clone(), &settings));
        let never = std::future::pending();
        let follower = tokio::spawn(follow(keyring.clone(), gateway, settings.follow_every, |_| {}, never));
        until(|| keyring.following().is_up()).await;
        Self { command_line, keyring, follower, _dir: dir }
    }

    async fn create(&self, n: u64) -> KeyId {
        let new = NewKey {
            id: KeyId(Uuid::from_u128(n.into())),
            digest: digest(n),
            sealed: None,
            organization: acme_id(),
            project: None,
            name: format!("key {n}"),
            category: "production".to_owned(),
            prefix: "sk_live_".to_owned(),
            hint: "abcd".to_owned(),
            scopes: Scopes::ALL,
            active: true,
            expires_at: None,
            allowed_ips: Vec::new(),
            quotas: Quotas::default(),
            limit: None,
            created_by: None,
        };
        self.command_line.create_key(&new, &actor(), clock::now()).await.unwrap().id
    }

    async fn revoke(&self, key: KeyId) {
        let edit = KeyEdit { revoke: true, ..KeyEdit::default() };
        self.command_line.edit_key(key, &edit, &actor(), clock::now()).await.unwrap();
    }

    /// What a request that comes now would find.
    async fn found(&self, n: u64) -> Option<Arc<Entry>> {
        match self.keyring.find(&digest(n), clock::now()).await.unwrap() {
            Known::Key(entry) => Some(entry),
            Known::Absent => None,
        }
    }

    /// Waits until every change made so far is in force.
    async fn followed(&self) {
        let last = self.command_line.last_change().await.unwrap();
        until(|| self.keyring.following().sequence() >= last).await;
    }
}

#[tokio::test]
async fn what_the_command_line_changes_is_in_force_within_a_second() {
    let stage = Stage::new(Duration::from_millis(200)).await;
    assert!(stage.found(1).await.is_none());
    let key = stage.create(1).await;
    stage.followed().await;
    assert!(
        stage.found(1).await.is_some_and(|entry| entry.grant.active),
        "a new key works although it was asked for before"
    );

    let quotas = Quotas { daily: Some(7), ..Quotas::default() };
    let edit = KeyEdit { active: Some(false), quotas: Some(quotas), ..KeyEdit::default() };
    stage.command_line.edit_key(key, &edit, &actor(), clock::now()).await.unwrap();
    stage.followed().await;
    let entry = stage.found(1).await.unwrap();
    assert_eq!((entry.grant.active, entry.grant.quotas), (false, quotas));

    let caps = Caps { per_minute: Some(9), ..Caps::default() };
    let to_pro = OrganizationEdit { plan: Some("pro".into()), negotiated: Some(caps), ..Default::default() };
    stage.command_line.edit_organization(&acme_id(), &to_pro, &actor(), clock::now()).await.unwrap();
    stage.followed().await;
    let organization = entry.organization.0.load();
    assert_eq!((organization.plan.as_str(), organization.negotiated), ("pro", caps));

    let grace = clock::now().plus(Duration::from_secs(60));
    let second = NewSecret { digest: digest(2), sealed: None, hint: "wxyz".into(), old_until: Some(grace) };
    stage.command_line.rotate_key(key, &second, &actor(), clock::now()).await.unwrap();
    stage.followed().await;
    assert_eq!(stage.found(1).await.unwrap().grant.secret_until, Some(grace));
    assert_eq!(stage.found(2).await.unwrap().grant.secret_until, None);

    stage.revoke(key).await;
    stage.followed().await;
    for n in [1, 2] {
        assert!(stage.found(n).await.is_none(), "secret {n}");
    }
    let worst = stage.keyring.following().lag_max();
    assert!(worst > Duration::ZERO && worst < Duration::from_secs(1), "{worst:?}");
}

/// Requests that never stop asking meet changes at every point of a lookup; no old state may stay behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_old_state_stays_however_hard_it_is_asked_for() {
    const KEYS: u64 = 4;
    let stage = Stage::new(Duration::from_millis(1)).await;
    let mut keys = Vec::new();
    for n in 0..KEYS {
        keys.push(stage.create(n).await);
    }
    let done = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..KEYS)
        .map(|n| {
            let (keyring, done) = (stage.keyring.clone(), done.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    keyring.find(&digest(n), clock::now()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 0..50 {
        let quotas = Quotas { daily: Some(round), ..Quotas::default() };
        let edit = KeyEdit { quotas: Some(quotas), ..KeyEdit::default() };
        for key in &keys {
            stage.command_line.edit_key(*key, &edit, &actor(), clock::now()).await.unwrap();
        }
        stage.followed().await;
        for n in 0..KEYS {
            assert_eq!(stage.found(n).await.unwrap().grant.quotas, quotas, "key {n} in round {round}");
        }
    }
    for key in keys {
        stage.revoke(key).await;
    }
    stage.followed().await;
    for n in 0..KEYS {
        assert!(stage.found(n).await.is_none(), "key {n}");
    }
    done.store(true, Ordering::Relaxed);
    for task in asking {
        task.await.unwrap();
    }
}
