//! What is encoded is decoded, and nothing else is.

use std::borrow::Cow;
use std::sync::LazyLock;

use proptest::prelude::*;
use uuid::Uuid;

use super::{admission, id, row};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::{KeyId, RequestId, SLUG_BYTES_MAX};
use crate::domain::row::{Admission, Row, RowRef, TEXT_BYTES_MAX};
use crate::domain::time::Timestamp;
use crate::logs::codec::{self, Dictionary, Entry, Said, Written};
use crate::logs::frame::{self, Checksum, Step};
use crate::stores::record::Numbers;

const CHECKSUM: Checksum = Checksum::Xxh3(0x1234_5678);

fn text(most: usize) -> impl Strategy<Value = Cow<'static, str>> {
    // Characters of one to four bytes, some texts longer than their bound.
    proptest::collection::vec(any::<char>(), 0..most)
        .prop_map(|chars| Cow::Owned(chars.into_iter().collect()))
}

fn maybe(most: usize) -> impl Strategy<Value = Option<Cow<'static, str>>> {
    proptest::option::of(text(most))
}

fn key() -> impl Strategy<Value = Option<KeyId>> {
    proptest::option::of(any::<u128>().prop_map(|number| KeyId(Uuid::from_u128(number))))
}

prop_compose! {
    fn admissions()(number: u128, at: u64, key in key(), organization in maybe(80), project in maybe(80),
        credits: u64, microcents: u64) -> Admission<'static> {
        Admission { id: id(number), at: Timestamp::from_micros(at), key, organization, project,
            estimate: Cost { credits, microcents } }
    }
}

prop_compose! {
    fn rows()(start in admissions(), admitted: bool, status: u16, times: [u64; 4], ip: std::net::IpAddr,
        method in text(80), path in text(600), code in text(80),
        outcome in proptest::option::of(0_usize..5), source in 0_usize..5,
        rest in [maybe(600), maybe(300), maybe(300), maybe(600), maybe(600)]) -> Row<'static> {
        let [tier, domain, target, user_agent, job] = rest;
        Row {
            id: start.id, at: start.at, organization: start.organization, project: start.project, key: start.key,
            admitted, method, path, status, code, outcome: outcome.map(|at| Outcome::ALL[at]),
            first_byte_micros: times[0], total_micros: times[1], address: ip, cost: start.estimate,
            cost_source: CostSource::ALL[source], tier, domain, bytes_in: times[2], bytes_out: times[3],
            target, user_agent, job,
        }
    }
}

fn cut(text: &str, most: usize) -> Cow<'static, str> {
    Cow::Owned(text[..text.floor_char_boundary(most)].to_owned())
}

fn cut_admission(mut admission: Admission<'static>) -> Admission<'static> {
    admission.organization = admission.organization.map(|text| cut(&text, SLUG_BYTES_MAX));
    admission.project = admission.project.map(|text| cut(&text, SLUG_BYTES_MAX));
    admission
}

fn cut_row(mut row: Row<'static>) -> Row<'static> {
    row.organization = row.organization.map(|text| cut(&text, SLUG_BYTES_MAX));
    row.project = row.project.map(|text| cut(&text, SLUG_BYTES_MAX));
    row.method = cut(&row.method, 64);
    row.code = cut(&row.code, 64);
    row.path = cut(&row.path, TEXT_BYTES_MAX);
    for text in [&mut row.tier, &mut row.domain, &mut row.target, &mut row.user_agent, &mut row.job] {
        *text = text.take().map(|text| cut(&text, TEXT_BYTES_MAX));
    }
    row
}

fn encoded(row: &Row<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    codec::put_row(&mut out, &row.variables(), Said::Out(row.owner()), Said::Out(&row.shape()));
    out
}

/// Reads the row in a payload of a segment in which nothing has a number.
fn read(payload: &[u8]) -> Option<RowRef<'_>> {
    static NOTHING: LazyLock<Dictionary> = LazyLock::new(Dictionary::default);
    read_with(alone(payload), &NOTHING)
}

fn alone(row: &[u8]) -> Written<'_> {
    Written { row, admission: &[] }
}

fn read_with<'a>(written: Written<'a>, dictionary: &'a Dictionary) -> Option<RowRef<'a>> {
    let (variables, _) = written.variables(dictionary)?;
    Some(RowRef::of(written.owner(dictionary)?, written.shape(dictionary)?, variables))
}

/// The payload that gives the shape of a row number `number`.
fn shape_definition(row: &Row<'_>, number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    codec::put_shape(&mut out, number, &row.shape());
    out
}

/// The payload that gives the owner of an admission number `number`.
fn definition(admission: &Admission<'_>, number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    codec::put_owner(&mut out, number, admission.owner());
    out
}

proptest! {
    #[test]
    fn an_admission_is_read_as_it_was_written(admission in admissions()) {
        let mut out = Vec::new();
        codec::put_admission(&mut out, &admission, Said::Out(admission.owner()));
        prop_assert!(out.len() <= codec::ADMISSION_BYTES_MAX);
        prop_assert_eq!(codec::read(&out), Some(Entry::Admitted(admission.id)));
        prop_assert_eq!(codec::admission(&out, &Dictionary::default()), Some(cut_admission(admission)));
    }

    #[test]
    fn what_says_a_number_is_read_as_if_it_said_what_has_it(
        admissions in prop::collection::vec(admissions(), 1..5), row in rows(), at: prop::sample::Index,
    ) {
        let definitions: Vec<_> = admissions.iter().zip(1..).map(|(admission, number)| {
            let payload = definition(admission, number);
            assert!(payload.len() <= codec::OWNER_BYTES_MAX);
            payload
        }).collect();
        let mut owners = Dictionary::default();
        definitions.iter().for_each(|payload| owners.define(payload).unwrap());

        let number = at.index(admissions.len());
        let owner = &admissions[number];
        let number = number as u32 + 1;
        let mut out = Vec::new();
        codec::put_admission(&mut out, owner, Said::Number(number));
        prop_assert_eq!(codec::admission(&out, &owners), Some(cut_admission(owner.clone())));
        prop_assert_eq!(codec::admission(&out, &Dictionary::default()), None);

        let row = Row { key: owner.key, organization: owner.organization.clone(), project: owner.project.clone(), ..row };
        let cut = cut_row(row.clone());
        let mut both = owners.clone();
        prop_assert_eq!(both.define(&shape_definition(&row, 2)), None, "not the first");
        both.define(&shape_definition(&row, 1)).unwrap();
        let (said_owner, said_shape) = (row.owner(), row.shape());
        for (of_owner, of_shape) in [
            (Said::Number(number), Said::Out(&said_shape)),
            (Said::Out(said_owner), Said::Number(1)),
            (Said::Number(number), Said::Number(1)),
        ] {
            out.clear();
            codec::put_row(&mut out, &row.variables(), of_owner, of_shape);
            let said = |is_number, number| if is_number { Some(number) } else { None };
            let numbers = Numbers {
                owner: said(matches!(of_owner, Said::Number(_)), number),
                shape: said(matches!(of_shape, Said::Number(_)), 1),
            };
            prop_assert_eq!(alone(&out).variables(&both).map(|(_, numbers)| numbers), Some(numbers));
            prop_assert_eq!(read_with(alone(&out), &both), Some(cut.as_ref()));
            prop_assert_eq!(read(&out), None);
            prop_assert!(numbers.shape.is_none() || read_with(alone(&out), &owners).is_none());
        }
        prop_assert!(out.len() <= codec::NUMBERED_ROW_BYTES_MAX);
    }

    #[test]
    fn a_row_is_read_as_it_was_written(row in rows()) {
        let out = encoded(&row);
        prop_assert!(out.len() <= codec::ROW_BYTES_MAX);
        prop_assert_eq!(codec::read(&out), Some(Entry::Finished(row.id)));
        prop_assert_eq!(alone(&out).id(), Some(row.id));
        let row = cut_row(row);
        prop_assert_eq!(read(&out), Some(row.as_ref()));
    }

    #[test]
    fn a_row_is_read_with_what_its_admission_said(row in rows(), back: u32, numbered: bool) {
        let start = Admission { id: row.id, at: row.at, key: row.key, organization: row.organization.clone(),
            project: row.project.clone(), estimate: row.cost };
        let mut dictionary = Dictionary::default();
        dictionary.define(&definition(&start, 1)).unwrap();
        let owner = if numbered { Said::Number(1) } else { Said::Out(start.owner()) };
        let (mut admission, mut out) = (Vec::new(), Vec::new());
        codec::put_admission(&mut admission, &start, owner);
        codec::put_ended(&mut out, back, &row.variables(), Said::Out(&row.shape()));
        prop_assert!(out.len() <= codec::ROW_BYTES_MAX);
        prop_assert_eq!(codec::read(&out), Some(Entry::Ended(back.into())));
        let written = Written { row: &out, admission: &admission };
        prop_assert_eq!(written.id(), Some(row.id));
        prop_assert_eq!(written.variables(&dictionary).unwrap().1.owner, numbered.then_some(1));
        let row = cut_row(row);
        prop_assert_eq!(read_with(written, &dictionary), Some(row.as_ref()));
        prop_assert_eq!((read(&out), alone(&out).id()), (None, None));
    }

    #[test]
    fn a_payload_cut_short_or_with_more_behind_it_is_none(row in rows(), at: prop::sample::Index) {
        let mut out = encoded(&row);
        prop_assert_eq!(read(&out[..at.index(out.len())]), None);
        out.push(0);
        prop_assert_eq!(read(&out), None);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u8..26) {
        let _ = frame::step(CHECKSUM, &bytes);
        if let [first, second, ..] = bytes.as_mut_slice() {
            (*first, *second) = (kind, 1);
        }
        let _ = (codec::read(&bytes), read(&bytes), Written { row: &bytes, admission: &bytes }.variables(&Dictionary::default()), codec::admission(&bytes, &Dictionary::default()), Dictionary::default().define(&bytes));
    }

    #[test]
    fn no_changed_byte_of_a_frame_goes_unnoticed(row in rows(), at: prop::sample::Index, change in 1_u8..) {
        let payload = encoded(&row);
        let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&CHECKSUM.of(&payload).to_le_bytes());
        bytes.extend_from_slice(&payload);
        bytes.resize(frame::frame_bytes(payload.len()), 0);
        prop_assert_eq!(frame::step(CHECKSUM, &bytes), Step::Entry(Entry::Finished(row.id), &payload, bytes.len()));
        let at = at.index(frame::HEAD_BYTES + payload.len());
        bytes[at] ^= change;
        prop_assert!(!matches!(frame::step(CHECKSUM, &bytes), Step::Entry(..)), "byte {at}");
    }
}

#[test]
fn the_longest_row_and_admission_are_as_long_as_is_said() {
    let long = |bytes: usize| Cow::<'static, str>::Owned("x".repeat(bytes + 1));
    let admission = Admission {
        // As far from what the id says as can be.
        at: Timestamp::from_micros(u64::MAX / 2),
        organization: Some(long(SLUG_BYTES_MAX)),
        project: Some(long(SLUG_BYTES_MAX)),
        estimate: Cost { credits: u64::MAX, microcents: u64::MAX },
        ..admission(id(u128::MAX))
    };
    let mut out = Vec::new();
    codec::put_admission(&mut out, &admission, Said::Out(admission.owner()));
    assert_eq!(out.len(), codec::ADMISSION_BYTES_MAX);
    assert_eq!(definition(&admission, codec::OWNERS_MAX as u32).len(), codec::OWNER_BYTES_MAX);
    let some = || Some(long(1 << 20));
    let row = Row {
        at: admission.at,
        organization: admission.organization,
        project: admission.project,
        method: long(1 << 20),
        path: long(1 << 20),
        code: long(1 << 20),
        first_byte_micros: u64::MAX,
        total_micros: u64::MAX,
        address: [0xffff_u16; 8].into(),
        cost: admission.estimate,
        bytes_in: u64::MAX,
        bytes_out: u64::MAX,
        tier: some(),
        domain: some(),
        target: some(),
        user_agent: some(),
        job: some(),
        ..row(RequestId(Uuid::max()))
    };
    assert_eq!(encoded(&row).len(), codec::ROW_BYTES_MAX);
    let mut out = Vec::new();
    let most = Said::Number(codec::OWNERS_MAX as u32);
    let shape = Said::Number(codec::SHAPES_MAX as u32);
    codec::put_row(&mut out, &row.variables(), most, shape);
    assert_eq!(out.len(), codec::NUMBERED_ROW_BYTES_MAX);
    out.clear();
    codec::put_ended(&mut out, u32::MAX, &row.variables(), shape);
    assert!(out.len() < codec::NUMBERED_ROW_BYTES_MAX);
}

#[test]
fn every_outcome_and_source_has_its_own_byte() {
    for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, at);
    }
    for (at, source) in CostSource::ALL.into_iter().enumerate() {
        assert_eq!(source as usize, at);
    }
}

#[test]
fn numbers_of_owners_are_given_in_order_and_to_a_bound() {
    let admission = admission(id(1));
    let (first, second) = (definition(&admission, 1), definition(&admission, 2));
    let mut owners = Dictionary::default();
    assert_eq!(owners.define(&second), None, "not the first");
    assert_eq!(owners.define(&first), Some(()));
    assert_eq!(owners.define(&first), None, "given already");
    assert_eq!(owners.define(&second[..second.len() - 1]), None, "cut short");
    assert_eq!(owners.define(&second), Some(()));
    for number in 3..=codec::OWNERS_MAX as u32 {
        assert_eq!(Dictionary::default().define(&definition(&admission, number)), None);
    }
}

#[test]
fn another_version_is_not_guessed_at() {
    let mut out = encoded(&row(id(1)));
    out[0] = 24;
    assert_eq!((codec::read(&out), read(&out)), (None, None));
    // Of the first version, in its second byte.
    assert_eq!((codec::read(&[2, 2]), read(&[2, 2])), (None, None));
}
