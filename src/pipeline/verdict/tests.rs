//! Answers and what they are judged to be: the cases of `cases.txt`.
//!
//! A case is a title behind `===`, settings of the route, and a line per answer:
//! `STATUS ENDING? NAME: VALUE | NAME: VALUE {JSON}? -> OUTCOME CREDITS MICROCENTS SOURCE TIER? job=JOB?`.
//! The route's price is 3 credits of 1,000 microcents unless a case says otherwise.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::config::load::load_text;

fn config(settings: &str) -> Config {
    let price = if settings.contains("price") { "" } else { "price = 3\n" };
    let text = format!("[[routes]]\npath = \"/*\"\nupstream = \"scraper\"\n{price}{settings}");
    load_text(Some(("case", &text)), &HashMap::new(), &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The verdict on the answer, in the words of the case files.
fn judged(config: &Config, answer: &str) -> String {
    let route = &config.routes[0];
    let (head, body) = answer.find('{').map_or((answer, None), |at| (&answer[..at], Some(&answer[at..])));
    let (status, rest) = head.trim().split_once(' ').unwrap_or((head.trim(), ""));
    let (ending, rest) = if let Some(rest) = rest.strip_prefix("aborted") {
        (Ending::ClientAborted, rest)
    } else if let Some(rest) = rest.strip_prefix("broken") {
        (Ending::UpstreamError, rest)
    } else {
        (Ending::Whole, rest)
    };
    let mut headers = HeaderMap::new();
    for field in rest.split(" | ").filter(|field| !field.trim().is_empty()) {
        let (name, value) = field.split_once(':').expect("a header is NAME: VALUE");
        let value = HeaderValue::from_bytes(value.trim_start().as_bytes()).expect("a value");
        headers.append(HeaderName::from_bytes(name.trim().as_bytes()).expect("a name"), value);
    }
    let body = body.map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
    let verdict =
        Heard::of(route, status.parse().expect("a status"), |name| headers.get(name)?.to_str().ok()).judge(
            config,
            route,
            ending,
            body.as_ref(),
        );
    let Cost { credits, microcents } = verdict.cost;
    let tier = verdict.tier.map(|tier| format!(" {tier}")).unwrap_or_default();
    let job = verdict.job.map(|job| format!(" job={job}")).unwrap_or_default();
    format!("{} {credits} {microcents} {}{tier}{job}", verdict.outcome.name(), verdict.source.name())
}

#[test]
fn every_case_is_judged_as_its_file_says() {
    let mut answers = 0;
    for case in include_str!("cases.txt").split("=== ").skip(1) {
        let (title, lines) = case.split_once('\n').expect("a title is a line");
        let (lines, settings): (Vec<_>, Vec<_>) = lines.lines().partition(|line| line.contains(" -> "));
        let config = config(&settings.join("\n"));
        for line in lines {
            let (answer, verdict) = line.split_once(" -> ").expect("an arrow");
            assert_eq!(judged(&config, answer), verdict, "{title}: {answer}");
            answers += 1;
        }
    }
    assert!(answers > 60, "{answers} answers: were all found?");
}

#[test]
fn only_a_route_that_looks_for_json_has_bodies_read() {
    for (settings, reads) in [
        ("", false),
        (r#"cost = ["header:x-cost", "2xx=1"]"#, false),
        (r#"cost = ["header:x-cost", "json:/cost"]"#, true),
        (r#"cost_microcents = ["json:/cost"]"#, true),
        (r#"tier = ["json:/tier"]"#, true),
        (r#"outcome = ["json:/status"]"#, true),
        (r#"remember = "/id""#, true),
    ] {
        assert_eq!(reads_body(&config(settings).routes[0]), reads, "{settings}");
    }
}
