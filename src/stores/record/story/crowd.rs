//! Chapters in which many write at once.

use std::sync::Arc;

use super::*;

pub(crate) async fn sixty_four_at_once_make_one_key_of_a_name(handles: Handles) {
    handles[0].create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let tries: Vec<_> = (0..64)
        .map(|n| {
            let record = Arc::clone(&handles[n % 2]);
            let new = NewKey { digest: digest(&format!("secret {n}")), ..new_key("acme", "one") };
            tokio::spawn(async move { record.create_key(&new, &actor(), at(1)).await })
        })
        .collect();
    let mut made = 0;
    for result in futures_util::future::join_all(tries).await {
        match result.unwrap() {
            Ok(_) => made += 1,
            lost => conflict(lost, "named `one` already"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(handles[1].keys(&KeyFilter::default()).await.unwrap().len(), 1);
}

pub(crate) async fn a_follower_misses_no_change_of_two_writers(handles: Handles) {
    const EACH: usize = 60;
    handles[0].create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let start = handles[0].last_change().await.unwrap();
    let writers: Vec<_> = handles
        .iter()
        .enumerate()
        .map(|(writer, record)| {
            let record = Arc::clone(record);
            tokio::spawn(async move {
                for n in 0..EACH {
                    record
                        .create_key(&new_key("acme", &format!("{writer}-{n}")), &actor(), at(1))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    // Reads as the keyring does: from the last number seen, never back.
    let (mut seen, mut last) = (Vec::new(), start);
    while seen.len() < 2 * EACH {
        let finished = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let news = handles[1].changes_after(last, 7).await.unwrap();
        assert!(!(finished && news.is_empty()), "only {} of {} changes were seen", seen.len(), 2 * EACH);
        for change in news {
            assert!(change.sequence > last);
            last = change.sequence;
            seen.push(change.subject);
        }
    }
    assert_eq!(last, handles[0].last_change().await.unwrap());
    for writer in 0..2 {
        for n in 0..EACH {
            assert!(seen.contains(&Changed::Secret(digest(&format!("{writer}-{n}")))));
        }
    }
}
