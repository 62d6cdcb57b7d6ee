//! The one timer of a connection.
//!
//! It is armed for the nearest deadline known, not touched while deadlines move away, and looked at again when
//! it fires early. So a connection that serves a thousand requests a second arms it once a minute.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// See the module. Costs nothing until the first wait.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Whether `at` has passed; if not, the task is woken at the latest then.
    pub fn has_passed(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while let Poll::Ready(()) = sleep.as_mut().poll(cx) {
            // Fired, but perhaps for a deadline that has moved away since.
            if sleep.deadline() >= at || Instant::now() >= at {
                return true;
            }
            sleep.as_mut().reset(at);
        }
        false
    }
}
