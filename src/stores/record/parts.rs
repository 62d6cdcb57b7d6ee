//! What a sum divides into: tiers, target domains, kinds of failure. One list, ordered, in few bytes.
//!
//! **Bound:** [`PARTS_MAX`] of each, and one *rest* for what there is more. Adding keeps the largest; what was put
//! with the rest stays there. So the parts of one sum add up exactly, while a part that was rare for long is told smaller
//! than it was.

use super::packed::{self, Bytes};
use crate::domain::cost::{Cost, Outcome};
use crate::domain::row::RowRef;
use crate::stores::record::reports::PARTS_MAX;

/// A text: as itself, or by the number that the record gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::stores::record) enum Name<'a> {
    /// Its number.
    Number(u32),
    /// Itself.
    Text(&'a str),
}

/// One part. The order is that in which they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::stores::record) enum Part<'a> {
    /// Requests with a tier; `None` is the rest.
    Tier(Option<Name<'a>>),
    /// Requests to a domain; `None` is the rest.
    Domain(Option<Name<'a>>),
    /// Requests without success, by status and code (`None`: an upstream's answer).
    Failure(u16, Option<Name<'a>>),
    /// The rest of those.
    Failures,
}

impl Part<'_> {
    const fn kind(&self) -> u64 {
        match self {
            Self::Tier(_) => 0,
            Self::Domain(_) => 1,
            Self::Failure(..) => 2,
            Self::Failures => 3,
        }
    }

    /// Where it goes if there are too many.
    pub const fn rest(&self) -> Self {
        match self {
            Self::Tier(_) => Self::Tier(None),
            Self::Domain(_) => Self::Domain(None),
            Self::Failure(..) | Self::Failures => Self::Failures,
        }
    }

    fn is_rest(&self) -> bool {
        *self == self.rest()
    }
}

/// What is counted of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::stores::record) struct Count {
    pub requests: u64,
    pub success: u64,
    pub cost: Cost,
}

impl Count {
    /// What one row adds to each of its parts.
    pub fn of(row: &RowRef<'_>) -> Self {
        Self { requests: 1, success: u64::from(row.outcome == Some(Outcome::Success)), cost: row.cost }
    }

    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.success = self.success.saturating_add(other.success);
        self.cost.credits = self.cost.credits.saturating_add(other.cost.credits);
        self.cost.microcents = self.cost.microcents.saturating_add(other.cost.microcents);
    }
}

/// Parts in their order, each once.
pub(in crate::stores::record) type Parts<'a> = Vec<(Part<'a>, Count)>;

/// Puts parts in order and adds equal ones together; then the rarest go to the rest.
pub(in crate::stores::record) fn settle(parts: &mut Parts<'_>) {
    coalesce(parts);
    let mut moved = false;
    let mut from = 0;
    while let Some((first, _)) = parts.get(from) {
        let rest = first.rest();
        let count = parts[from..].iter().take_while(|(part, _)| part.rest() == rest).count();
        moved |= bound(&mut parts[from..from + count]);
        from += count;
    }
    if moved {
        coalesce(parts);
    }
}

/// Puts parts in order and adds equal ones together.
pub(in crate::stores::record) fn coalesce(parts: &mut Parts<'_>) {
    parts.sort_unstable_by_key(|(part, _)| *part);
    parts.dedup_by(|(part, count), (before, sum)| {
        let same = part == before;
        if same {
            sum.add(count);
        }
        same
    });
}

/// Renames the rarest of one kind to the rest; whether there were any.
fn bound(parts: &mut [(Part<'_>, Count)]) -> bool {
    let named = parts.iter().filter(|(part, _)| !part.is_rest()).count();
    if named <= PARTS_MAX {
        return false;
    }
    let mut order: Vec<_> = parts.iter_mut().filter(|(part, _)| !part.is_rest()).collect();
    order.sort_by_key(|(_, count)| std::cmp::Reverse(count.requests));
    for (part, _) in order.into_iter().skip(PARTS_MAX) {
        *part = part.rest();
    }
    true
}

/// Parts as they are stored.
pub(in crate::stores::record) fn encode(parts: &Parts<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.len() * 12);
    for (part, count) in parts {
        packed::put(&mut out, part.kind());
        match part {
            Part::Tier(name) | Part::Domain(name) => put_name(&mut out, *name),
            Part::Failure(status, code) => {
                packed::put(&mut out, u64::from(*status));
                put_name(&mut out, *code);
            }
            Part::Failures => {}
        }
        let Count { requests, success, cost } = count;
        [*requests, *success, cost.credits, cost.microcents]
            .into_iter()
            .for_each(|number| packed::put(&mut out, number));
    }
    out
}

/// 0: no name. 1: a text follows, with its length. Otherwise a number.
fn put_name(out: &mut Vec<u8>, name: Option<Name<'_>>) {
    match name {
        None => packed::put(out, 0),
        Some(Name::Number(number)) => packed::put(out, u64::from(number) + 2),
        Some(Name::Text(text)) => {
            packed::put(out, 1);
            packed::put(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Reads what [`encode`] wrote; `None` for anything else.
pub(in crate::stores::record) fn decode<'a>(bytes: &'a [u8], to: &mut Parts<'a>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    while !bytes.is_empty() {
        let part = match bytes.number()? {
            0 => Part::Tier(name(&mut bytes)?),
            1 => Part::Domain(name(&mut bytes)?),
            2 => Part::Failure(bytes.small()?, name(&mut bytes)?),
            3 => Part::Failures,
            _ => return None,
        };
        let count = Count {
            requests: bytes.number()?,
            success: bytes.number()?,
            cost: Cost { credits: bytes.number()?, microcents: bytes.number()? },
        };
        to.push((part, count));
    }
    Some(())
}

fn name<'a>(bytes: &mut Bytes<'a>) -> Option<Option<Name<'a>>> {
    Some(match bytes.number()? {
        0 => None,
        1 => {
            let length = bytes.small()?;
            Some(Name::Text(bytes.text(length)?))
        }
        number => Some(Name::Number((number - 2).try_into().ok()?)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = Part<'static>> {
        let name = || {
            prop_oneof![
                Just(None),
                (0..200_u32).prop_map(|number| Some(Name::Number(number))),
                Just(Some(Name::Text("a.example"))),
                Just(Some(Name::Text(""))),
            ]
        };
        prop_oneof![
            name().prop_map(Part::Tier),
            name().prop_map(Part::Domain),
            (any::<u16>(), name()).prop_map(|(status, code)| Part::Failure(status, code)),
            Just(Part::Failures),
        ]
    }

    fn count() -> impl Strategy<Value = Count> {
        any::<[u64; 4]>().prop_map(|[requests, success, credits, microcents]| Count {
            requests: requests % 1_000,
            success,
            cost: Cost { credits, microcents },
        })
    }

    proptest! {
        #[test]
        fn parts_are_bounded_add_up_and_are_read_as_they_were_written(
            mut parts in prop::collection::vec((part(), count()), 0..600),
        ) {
            let requests = |parts: &Parts<'_>| {
                let mut sums = [0_u64; 4];
                parts.iter().for_each(|(part, count)| sums[part.kind().min(2) as usize] += count.requests);
                sums
            };
            let before = requests(&parts);
            settle(&mut parts);
            prop_assert_eq!(requests(&parts), before);
            prop_assert!(parts.is_sorted_by(|(one, _), (next, _)| one < next));
            prop_assert!(parts.len() <= 3 * (PARTS_MAX + 1));
            let bytes = encode(&parts);
            let mut read = Parts::new();
            prop_assert_eq!(decode(&bytes, &mut read), Some(()));
            prop_assert_eq!(read, parts);
        }

        #[test]
        fn whatever_the_bytes_reading_ends(bytes: Vec<u8>) {
            let _ = decode(&bytes, &mut Parts::new());
        }
    }

    #[test]
    fn the_rarest_go_to_the_rest() {
        let of = |requests| Count { requests, ..Count::default() };
        let mut parts: Parts<'_> = (0..PARTS_MAX as u32 + 5)
            .map(|number| (Part::Domain(Some(Name::Number(number))), of(u64::from(number) + 1)))
            .collect();
        settle(&mut parts);
        assert_eq!(parts.len(), PARTS_MAX + 1);
        assert_eq!(parts[0], (Part::Domain(None), of(1 + 2 + 3 + 4 + 5)));
        assert_eq!(parts[1], (Part::Domain(Some(Name::Number(5))), of(6)));
    }
}
