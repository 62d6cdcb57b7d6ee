//! The only gateway there is waits for nobody.

use std::time::{Duration, Instant};

use super::support::{Answer, Kept, RedisServer, Upstream};
use super::{burst, start};

/// Half as long as other gateways would be waited for that might speak.
const AT_ONCE: Duration = Duration::from_millis(375);

#[tokio::test]
async fn the_first_request_at_the_only_gateway_of_an_empty_redis_does_not_wait_for_others() {
    let (redis, shared) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::start(|_| Answer::new(200));
    let gateways = start(1, upstream.address, &redis, shared.path(), "[plans.wide]", "wide").await;
    let (_, key) = gateways[0].key("acme", "k", &["--daily", "20"]).await;
    for emptied in ["at the start", "later"] {
        redis.command(&["FLUSHALL"]);
        // It has heard so: a beat comes four times a second.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        assert_eq!(Kept::new().get(gateways[0].data, "/", &key).await.unwrap().status, 200);
        println!("emptied {emptied}: the first answer took {:?}", began.elapsed());
        assert!(began.elapsed() < AT_ONCE, "{emptied}: {:?}", began.elapsed());
    }
    // And nothing is counted anew for that.
    let (_, refused) = burst(&gateways, &key, 4, 6).await;
    assert!(refused.iter().all(|code| code == "quota_daily"), "{refused:?}");
    assert_eq!(upstream.count(), 20);
}
