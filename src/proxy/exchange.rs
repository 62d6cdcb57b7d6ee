//! One request from its complete head to the last byte of its answer, and the one row it leaves in the log.
//!
//! **Invariants.** Every request leaves exactly one row: [`Exchange::finish`] and [`Exchange::refuse`] write
//! it, and a dropped exchange (client gone, panic) writes it as aborted. The row is in the spool before the
//! last byte of the answer is handed to the client's connection. A claim is settled exactly once.
//!
//! An exchange is boxed from its beginning: it passes through many hands, and is several hundred bytes.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderValue, Method, Request, Uri};

use crate::clock;
use crate::config::WhenFull;
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::RequestId;
use crate::domain::refusal::Refusal;
use crate::domain::row::{Admission, RowRef, bounded};
use crate::domain::target;
use crate::domain::time::Timestamp;
use crate::logs::Ticket;
use crate::pipeline::permit::{Caller, Hold, Known};
use crate::pipeline::verdict::{Ending, Heard, Verdict};

use super::core::{Core, Live};
use super::upload::Uploaded;
use super::upstream::balance::Target;

/// A request under way.
#[derive(Debug)]
pub struct Exchange {
    core: Rc<Core>,
    /// The configuration this request goes by, whatever is reloaded meanwhile.
    pub live: Arc<Live>,
    /// Its id.
    pub id: RequestId,
    /// When its head was complete.
    pub started: Timestamp,
    /// Method and target; `None` where the head could not be read. Only the path is ever written down: the query
    /// may hold a key.
    head: Option<(Method, Uri)>,
    user_agent: Option<HeaderValue>,
    /// What is known of it.
    pub known: Known,
    claim: Option<Hold>,
    /// That its admission is in the log.
    ticket: Option<Ticket>,
    admitted: bool,
    /// What of the request body has gone upstream.
    pub uploaded: Rc<Uploaded>,
    answer: Answer,
    finished: bool,
}

/// What has come back.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    first_byte: Option<Timestamp>,
    target: Option<Arc<Target>>,
    heard: Heard,
    /// A JSON body in the making, where the route's finders need it and it is short enough.
    inspected: Option<Vec<u8>>,
    bytes: u64,
}

impl Exchange {
    /// A request of which the head is known.
    pub fn new<B>(
        core: &Rc<Core>,
        live: Arc<Live>,
        started: Timestamp,
        request: &Request<B>,
        known: Known,
    ) -> Box<Self> {
        let mut exchange = Self::headless(core, live, started, known);
        exchange.head = Some((request.method().clone(), request.uri().clone()));
        exchange.user_agent = request.headers().get(USER_AGENT).cloned();
        exchange
    }

    /// A request whose head could not be read.
    pub fn headless(core: &Rc<Core>, live: Arc<Live>, started: Timestamp, known: Known) -> Box<Self> {
        Box::new(Self {
            id: core.next_id(started),
            core: Rc::clone(core),
            live,
            started,
            head: None,
            user_agent: None,
            known,
            claim: None,
            ticket: None,
            admitted: false,
            uploaded: Rc::default(),
            answer: Answer::default(),
            finished: false,
        })
    }

    /// Takes over what was claimed for this request, and writes the admission down before a byte of it can
    /// reach an upstream.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] where the spool has no room; nothing stays claimed.
    pub fn admit(&mut self, claim: Option<Hold>) -> Result<(), Refusal> {
        let Some(claim) = claim else { return Ok(()) };
        let caller = self.known.caller.as_ref();
        let admission = Admission {
            id: self.id,
            at: claim.claimed().at,
            key: claim.claimed().key,
            organization: caller.map(|caller| Cow::Borrowed(caller.organization.id.as_str())),
            project: caller.map(|caller| Cow::Borrowed(caller.key.grant.project.as_str())),
            estimate: claim.claimed().estimate,
        };
        let written = self.core.log().map(|mut log| log.admitted(&admission)).transpose();
        if written.is_err() && self.live.config.logs.when_full == WhenFull::Refuse {
            return Err(Refusal::Overloaded);
        }
        self.ticket = written.unwrap_or_default();
        self.claim = Some(claim);
        self.admitted = true;
        self.core.shared.metrics.in_flight.inc();
        Ok(())
    }

    /// The head of the answer has come from `target`.
    pub fn answered(&mut self, target: Arc<Target>, heard: Heard, status: u16, now: Timestamp) {
        self.answer.first_byte = Some(now);
        self.answer.target = Some(target);
        self.answer.heard = heard;
        self.answer.status = status;
    }

    /// Reads along in the body that follows, which is JSON.
    pub fn inspect_body(&mut self) {
        self.answer.inspected = Some(Vec::new());
    }

    /// A piece of the answer's body goes to the client.
    pub fn passed(&mut self, piece: &[u8]) {
        self.answer.bytes += piece.len() as u64;
        let Some(inspected) = &mut self.answer.inspected else { return };
        let most = self.known.route.as_ref().map_or(0, |(_, route)| route.inspect_bytes_max);
        if inspected.len() + piece.len() > most {
            self.answer.inspected = None;
        } else {
            inspected.extend_from_slice(piece);
        }
    }

    /// Bytes went to the client by another way: a tunnel.
    pub const fn passed_bytes(&mut self, bytes: u64) {
        self.answer.bytes += bytes;
    }

    /// The exchange with the upstream has ended: settles the claim and writes the row.
    pub fn finish(&mut self, ending: Ending) {
        if self.finished {
            return;
        }
        let verdict = self.verdict(ending);
        self.close(self.answer.status, "", Some(verdict.outcome), &verdict);
    }

    /// The request is refused, with `bytes` of body: settles whatever was claimed at no cost and writes the row.
    pub fn refuse(&mut self, refusal: Refusal, bytes: usize) {
        if self.finished {
            return;
        }
        let bodiless = self.head.as_ref().is_some_and(|(method, _)| *method == Method::HEAD);
        self.answer.bytes = if bodiless { 0 } else { bytes as u64 };
        self.core.shared.metrics.refusals.with_label_values(&[refusal.code()]).inc();
        if !self.admitted {
            return self.close(refusal.status(), refusal.code(), None, &Verdict::free(Outcome::Failure));
        }
        let ending = match self.uploaded.trouble() {
            Some(_) => Ending::ClientAborted,
            None => Ending::UpstreamError,
        };
        let verdict = self.verdict(ending);
        self.close(refusal.status(), refusal.code(), Some(verdict.outcome), &verdict);
    }

    /// The gateway itself has answered, with `bytes` of body; `refusal` where it turned the caller away.
    pub fn answered_here(&mut self, status: u16, refusal: Option<Refusal>, bytes: u64) {
        self.answer.bytes = bytes;
        if let Some(refusal) = refusal {
            self.core.shared.metrics.refusals.with_label_values(&[refusal.code()]).inc();
        }
        let outcome = match refusal {
            Some(_) => None,
            None if status < 400 => Some(Outcome::Success),
            None => Some(Outcome::Failure),
        };
        let nothing = self.verdict(Ending::Whole);
        self.close(status, refusal.map_or("", Refusal::code), outcome, &nothing);
    }

    fn verdict(&self, ending: Ending) -> Verdict {
        let Some((_, route)) = &self.known.route else { return Verdict::free(Outcome::Failure) };
        let body = self.answer.inspected.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let mut verdict = self.answer.heard.judge(&self.live.config, route, ending, body.as_ref());
        if self.claim.is_none() {
            verdict.cost = Cost::default();
            verdict.source = CostSource::Free;
        }
        verdict
    }

    fn close(&mut self, status: u16, code: &'static str, outcome: Option<Outcome>, verdict: &Verdict) {
        self.finished = true;
        let now = clock::now();
        let admitted_at = self.claim.as_ref().map_or(self.started, |claim| claim.claimed().at);
        if let Some(claim) = self.claim.take() {
            claim.settle(verdict.cost);
        }
        let total = now.since(self.started);
        let metrics = &self.core.shared.metrics;
        if self.admitted {
            metrics.in_flight.dec();
        }
        metrics.request_seconds.observe(total.as_secs_f64());
        let caller = self.known.caller.as_ref();
        let plan = caller.map(|caller| caller.organization.plan.as_str());
        self.core.count(&self.live, self.known.route.as_ref().map(|(at, _)| *at), plan, status);

        let made = caller.zip(verdict.job.as_deref());
        if let Some((caller, job)) = made {
            self.core.shared.gate.jobs.made(job, &caller.key.grant.project);
        }
        let Some(mut log) = self.core.log() else { return };
        let domain = self.target_domain();
        let row = RowRef {
            id: self.id,
            at: admitted_at,
            organization: caller.map(|caller| caller.organization.id.as_str()),
            project: caller.map(|caller| caller.key.grant.project.as_str()),
            key: caller.map(|caller| caller.key.grant.id),
            admitted: self.admitted,
            method: self.head.as_ref().map_or("-", |(method, _)| bounded(method.as_str())),
            path: self.head.as_ref().map_or("", |(_, uri)| bounded(uri.path())),
            status,
            code,
            outcome,
            first_byte_micros: self.answer.first_byte.unwrap_or(now).since(self.started).as_micros() as u64,
            total_micros: total.as_micros() as u64,
            address: self.known.client,
            cost: verdict.cost,
            cost_source: verdict.source,
            tier: verdict.tier.as_deref().map(bounded),
            domain: domain.as_deref(),
            bytes_in: self.uploaded.bytes(),
            bytes_out: self.answer.bytes,
            target: self.answer.target.as_ref().map(|target| target.text()),
            user_agent: self.user_agent.as_ref().and_then(|value| value.to_str().ok()).map(bounded),
            job: made.map(|(_, job)| job),
        };
        // A full spool counts the row as lost; the client's answer does not wait for it.
        let _ = log.finished(self.ticket.take(), &row);
    }

    /// The site that the request is about, by its query or else by its body. Nothing else of a target is kept.
    fn target_domain(&self) -> Option<String> {
        let query = self.head.as_ref().and_then(|(_, uri)| uri.query());
        query.and_then(target::in_query).or_else(|| self.uploaded.domain())
    }

    /// The thread that this request runs on.
    pub const fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Who is calling, where the route asks.
    pub const fn caller(&self) -> Option<&Caller> {
        self.known.caller.as_ref()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(Ending::ClientAborted);
    }
}
