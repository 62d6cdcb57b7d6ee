//! Routes that no request can reach, as an earlier one takes everything that they would take.

use crate::config::field::Field;
use crate::config::tree::{Node, Value};
use crate::domain::path::Pattern;

/// Notes every route that an earlier one hides. Looks at the raw routes, so that it also runs where another
/// part of a route is wrong; a route whose path or methods cannot be read hides nothing.
pub(super) fn check(routes: &Field<'_>) {
    let (methods, loose) = (routes.each("methods"), routes.each("loose_path"));
    let taken: Vec<Option<Taken<'_>>> = routes
        .each("path")
        .into_iter()
        .zip(methods.iter().zip(&loose))
        .map(|(path, (methods, loose))| Taken::of(path?, methods, loose))
        .collect();
    for (at, later) in taken.iter().enumerate() {
        let Some(later) = later else { continue };
        if let Some(earlier) = taken.iter().take(at).flatten().find(|earlier| earlier.hides(later)) {
            let line =
                earlier.field.node.origin.line.map_or_else(String::new, |line| format!(" of line {line}"));
            later.field.wrong::<()>(
                format!("no request comes here, as {:?}{line} takes them all", earlier.path),
                "put this route before that one, or remove it",
            );
        }
    }
}

/// What a route takes.
struct Taken<'c> {
    field: Field<'c>,
    path: String,
    loose: bool,
    /// Empty is every method.
    methods: Vec<String>,
}

impl<'c> Taken<'c> {
    fn of(path: Field<'c>, methods: &Option<Field<'c>>, loose: &Option<Field<'c>>) -> Option<Self> {
        let Value::Flag(loose) = loose.as_ref()?.node.value else { return None };
        let text = path.peek()?;
        Pattern::parse(&text).ok()?;
        let Value::List(items) = &methods.as_ref()?.node.value else { return None };
        let method = |node: &'c Node| Field { context: path.context, node, key: String::new() }.peek();
        let methods = items.iter().map(method).collect::<Option<_>>()?;
        Some(Self { field: path, path: text, loose, methods })
    }

    fn hides(&self, later: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!later.methods.is_empty()
                && later.methods.iter().all(|method| self.methods.contains(method)));
        methods && covers((&self.path, self.loose), (&later.path, later.loose))
    }
}

/// Whether every path that the pattern `later` matches is one that `earlier` matches. Both are valid patterns, with
/// whether they are loose.
fn covers((earlier, loose): (&str, bool), (later, later_loose): (&str, bool)) -> bool {
    let ((mut own, open), (mut other, other_open)) = (split(earlier), split(later));
    // It takes spellings that the earlier one, reading by the letter, passes over.
    let is_wider = later_loose && !loose;
    if loose {
        for segments in [&mut own, &mut other] {
            segments.pop_if(|last| last.is_empty());
        }
    }
    let lengths =
        if open { other.len() >= own.len() } else { !other_open && !is_wider && other.len() == own.len() };
    let is = |own: &str, other: &str| !is_wider && own == other || loose && own.eq_ignore_ascii_case(other);
    lengths
        && own.iter().zip(&other).all(|(own, other)| {
            // A parameter takes any segment but the empty one.
            is(own, other) || (own.starts_with('{') && !other.is_empty())
        })
}

/// The segments, and whether anything may follow them.
fn split(pattern: &str) -> (Vec<&str>, bool) {
    let open = pattern.ends_with('*');
    let body = pattern.trim_start_matches('/').trim_end_matches('*');
    let body = if open { body.trim_end_matches('/') } else { body };
    let segments = if open && body.is_empty() { Vec::new() } else { body.split('/').collect() };
    (segments, open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_pattern_covers_a_narrower_one() {
        for (earlier, later, expected) in [
            ("/*", "/*", true),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/b", false),
            ("/a", "/*", false),
            ("/a", "/a/*", false),
            ("/a/*", "/a", true),
            ("/a/*", "/a/b/*", true),
            ("/a/*", "/ab", false),
            ("/a/*", "/*", false),
            ("/a/b/*", "/a/*", false),
            ("/{x}", "/a", true),
            ("/{x}", "/{y}", true),
            ("/{x}", "/", false),
            ("/a", "/{x}", false),
            ("/{x}/*", "/a/b", true),
            ("/{x}", "/a/b", false),
        ] {
            assert_eq!(covers((earlier, false), (later, false)), expected, "{earlier} and then {later}");
        }
        for (earlier, later, expected) in [
            (("/a", true), ("/A", false), true),
            (("/a", true), ("/a/", false), true),
            (("/a/", true), ("/a", true), true),
            (("/", true), ("/", false), true),
            (("/a", false), ("/a", true), false),
            (("/{x}", false), ("/a", true), false),
            (("/a/*", false), ("/a/b", true), false),
            (("/*", false), ("/a", true), true),
            (("/{x}/*", false), ("/a/b", true), true),
        ] {
            assert_eq!(covers(earlier, later), expected, "{earlier:?} and then {later:?}");
        }
    }
}
