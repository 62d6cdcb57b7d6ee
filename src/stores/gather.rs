//! Questions of one kind, asked together: what comes while others are on their way waits, and goes with the next.
//!
//! Whoever meets thousands of keys and organizations at once would ask as many questions, each of which costs the store,
//! and the way to it, several times its answer; and they would keep everybody else from the store's connections.
//!
//! | when | then |
//! |---|---|
//! | one asks, and nobody else | the question goes at once, alone |
//! | more ask than may be on their way | they wait, in their order, and go together |
//! | whoever asked goes away | the question is not asked, or its answer dropped; the others get theirs |
//! | the task that asks ends early | those whose questions it had get `None` |
//!
//! **Bounds:** who waits is a request each, and those are bounded; how long is for who asks to say.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Questions of one kind, and who waits for their answers.
pub struct Gather<Q, A> {
    queue: Arc<Mutex<Queue<Q, A>>>,
    /// Questions that are asked together at most.
    together: usize,
    /// How often, at a time.
    at_a_time: usize,
}

struct Queue<Q, A> {
    waiting: VecDeque<(Q, oneshot::Sender<A>)>,
    /// Tasks that ask.
    asking: usize,
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    /// Nobody waits. At most `together` questions go together, `at_a_time` times at once: the fewer, the more go together.
    pub fn new(together: usize, at_a_time: usize) -> Self {
        let queue = Queue { waiting: VecDeque::new(), asking: 0 };
        Self { queue: Arc::new(Mutex::new(queue)), together, at_a_time }
    }

    /// The answer to `question`, by whichever `ask` of those who wait comes to be called with it: that gives each
    /// question its answer, in its place. `None` where nobody answers. Must run on a runtime.
    pub async fn ask<F>(&self, question: Q, ask: impl Fn(Vec<Q>) -> F + Send + 'static) -> Option<A>
    where
        F: Future<Output = Vec<A>> + Send,
    {
        let (tell, told) = oneshot::channel();
        let is_first = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back((question, tell));
            let is_first = queue.asking < self.at_a_time;
            queue.asking += usize::from(is_first);
            is_first
        };
        if is_first {
            let mut turn = Turn { queue: Arc::clone(&self.queue), is_over: false };
            let together = self.together;
            tokio::spawn(async move {
                while let Some((questions, waiting)) = turn.next(together) {
                    for (tell, answer) in waiting.into_iter().zip(ask(questions).await) {
                        // Who is gone does not want to know.
                        drop(tell.send(answer));
                    }
                }
            });
        }
        told.await.ok()
    }
}

/// One of those who may ask; over when nobody waits.
struct Turn<Q, A> {
    queue: Arc<Mutex<Queue<Q, A>>>,
    is_over: bool,
}

impl<Q, A> Turn<Q, A> {
    fn next(&mut self, together: usize) -> Option<(Vec<Q>, Vec<oneshot::Sender<A>>)> {
        let mut queue = self.queue.lock();
        let mut batch = Vec::new();
        while batch.len() < together
            && let Some(next) = queue.waiting.pop_front()
        {
            if !next.1.is_closed() {
                batch.push(next);
            }
        }
        if batch.is_empty() {
            // Under the lock: whoever comes from now on begins anew.
            queue.asking -= 1;
            self.is_over = true;
            return None;
        }
        Some(batch.into_iter().unzip())
    }
}

impl<Q, A> Drop for Turn<Q, A> {
    fn drop(&mut self) {
        if !self.is_over {
            self.queue.lock().asking -= 1;
        }
    }
}

impl<Q, A> fmt::Debug for Gather<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.queue.lock();
        f.debug_struct("Gather")
            .field("waiting", &queue.waiting.len())
            .field("asking", &queue.asking)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;
    use tokio::task::{JoinSet, yield_now};

    type Numbers = Arc<Gather<u32, u32>>;

    /// Doubles every number when it is let, and says how many went together.
    fn ask(
        of: &Numbers,
        let_on: &Arc<Semaphore>,
        sizes: &Arc<Mutex<Vec<usize>>>,
        number: u32,
    ) -> JoinSet<Option<u32>> {
        let mut asking = JoinSet::new();
        let (of, let_on, sizes) = (Arc::clone(of), Arc::clone(let_on), Arc::clone(sizes));
        asking.spawn(async move {
            of.ask(number, move |numbers: Vec<u32>| {
                let (let_on, sizes) = (Arc::clone(&let_on), Arc::clone(&sizes));
                async move {
                    sizes.lock().push(numbers.len());
                    let_on.acquire().await.unwrap().forget();
                    numbers.iter().map(|number| 2 * number).collect()
                }
            })
            .await
        });
        asking
    }

    async fn settle() {
        for _ in 0..50 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_waits_goes_together_and_each_gets_its_own_answer() {
        let (of, let_on, sizes) =
            (Numbers::new(Gather::new(4, 2)), Arc::new(Semaphore::new(0)), Arc::default());
        let mut asked = Vec::new();
        for number in 0..12 {
            asked.push(ask(&of, &let_on, &sizes, number));
            settle().await;
        }
        assert_eq!(*sizes.lock(), [1, 1], "two are on their way, the others wait");
        // One that no longer waits is not asked for.
        asked[7].abort_all();
        settle().await;
        let_on.add_permits(100);
        for (number, mut asked) in asked.into_iter().enumerate() {
            let answer = asked.join_next().await.unwrap();
            assert_eq!(answer.ok().flatten(), (number != 7).then_some(2 * number as u32));
        }
        assert_eq!(*sizes.lock(), [1, 1, 4, 4, 1]);
        // And from the beginning when nobody is left.
        assert_eq!(ask(&of, &let_on, &sizes, 21).join_next().await.unwrap().unwrap(), Some(42));
    }

    #[tokio::test]
    async fn one_that_ends_early_takes_nobody_elses_turn() {
        let of = Numbers::new(Gather::new(4, 2));
        for _ in 0..4 {
            let answer = of.ask(1, async |_| Vec::new()).await;
            assert_eq!(answer, None, "no answer");
        }
        let answer = of.ask(1, async |numbers| numbers).await;
        assert_eq!(answer, Some(1));
        assert_eq!(of.queue.lock().asking, 0);
    }
}
