//! Settings with a unit: durations, sizes, addresses, files.

use std::io::Read as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Masked;
use crate::config::field::{Field, Section};
use crate::config::tree::Value;

/// One kibibyte.
pub(super) const KIB: u64 = 1 << 10;
/// One mebibyte.
pub(super) const MIB: u64 = 1 << 20;
/// One gibibyte.
pub(super) const GIB: u64 = 1 << 30;
/// The shortest time that means anything to a timer.
pub(super) const INSTANT: Duration = Duration::from_millis(1);
/// One hour.
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
/// One day of 24 hours.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3_600);
/// What a secret in a file may measure, in bytes.
const SECRET_FILE_BYTES_MAX: u64 = 64 * KIB;

/// What waiting for the other side may take.
pub(super) fn timeout(field: &Field<'_>) -> Option<Duration> {
    duration(field, INSTANT..=DAY)
}

/// A duration such as `"10s"` or `"1h 30m"`, as the humantime crate reads it.
pub(super) fn duration(field: &Field<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
    if matches!(field.node.value, Value::Integer(_) | Value::Other(_)) {
        return field.is_not("a duration", Some("write it in quotes and with a unit, such as \"10s\""));
    }
    let duration = humantime::parse_duration(field.text()?.trim()).ok();
    duration.filter(|duration| range.contains(duration)).or_else(|| {
        let show = humantime::format_duration;
        field.is_not(&format!("a duration from {} to {}", show(*range.start()), show(*range.end())), None)
    })
}

/// A size: a number of bytes, or a text such as `"16MiB"`.
pub(super) fn size(field: &Field<'_>, range: RangeInclusive<u64>) -> Option<u64> {
    let bytes = match &field.node.value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        Value::Text(_) => parse_size(&field.text()?),
        _ => None,
    };
    bytes.filter(|bytes| range.contains(bytes)).or_else(|| {
        let what = format!("a size from {} to {}", show_size(*range.start()), show_size(*range.end()));
        field.is_not(&what, None)
    })
}

/// A size of something held in memory.
pub(super) fn memory_size(field: &Field<'_>, range: RangeInclusive<u64>) -> Option<usize> {
    usize::try_from(size(field, range)?).ok()
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        "TiB" => GIB << 10,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn show_size(bytes: u64) -> String {
    [(GIB << 10, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// An address to listen on.
pub(super) fn listen_address(field: &Field<'_>) -> Option<SocketAddr> {
    field.filled_text()?.trim().parse().ok().or_else(|| {
        field.is_not(
            "an IP address with a port",
            Some("write it as 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 for every interface"),
        )
    })
}

/// A path; a relative one starts at the working directory.
pub(super) fn path(field: &Field<'_>) -> Option<PathBuf> {
    field.filled_text().map(PathBuf::from)
}

/// A secret from the setting `key`, or from the file that `key_file` names; empty is none. The newline that
/// editors leave at a file's end is no part of it.
pub(super) fn secret(section: &Section<'_>, key: &'static str, key_file: &'static str) -> Option<Masked> {
    let plain = section.may(key, Field::text).filter(|text| !text.is_empty());
    let Some(file) = section.field(key_file) else { return plain.map(Masked) };
    if plain.is_some() {
        return file.wrong(format!("`{key}` is set as well"), "keep one of the two");
    }
    match read_secret(&path(&file)?) {
        Ok(text) if text.is_empty() => {
            file.wrong(format!("{} is empty", file.quoted()), "put the secret in it")
        }
        Ok(text) => Some(Masked(text)),
        Err(error) => file.wrong(
            format!("{} cannot be read: {error}", file.quoted()),
            "name a text file that this user may read",
        ),
    }
}

fn read_secret(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > SECRET_FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than any secret"));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("32KiB", Some(32_768)),
            ("16 MiB", Some(16_777_216)),
            ("1GiB", Some(1_073_741_824)),
            ("10MB", Some(10_000_000)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("16mb", None),
            ("16 µB", None),
            ("99999999999999999999", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        for (bytes, text) in [(1, "1B"), (1_024, "1KiB"), (1_536, "1536B"), (16 * MIB, "16MiB"), (0, "0B")] {
            assert_eq!(show_size(bytes), text);
        }
    }
}
