//! Hash slots: which of a cluster's 16,384 a key lies in.
//!
//! As the Redis Cluster Specification has it, "Key distribution model" and "Hash tags"
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).

use std::sync::LazyLock;

/// Slots of a cluster.
pub(super) const SLOTS: usize = 16_384;

/// CRC-16/XMODEM by byte.
const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The slot of a key without a hash tag, or of a hash tag.
pub(super) fn slot_of_tag(tag: &[u8]) -> usize {
    let step = |crc: u16, byte: &u8| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)];
    usize::from(tag.iter().fold(0, step)) % SLOTS
}

/// The slot of a key: that of what stands between its first `{` and the next `}`, where something does.
pub(super) fn slot_of(key: &str) -> usize {
    let tag = key
        .split_once('{')
        .and_then(|(_, behind)| behind.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    slot_of_tag(tag.unwrap_or(key).as_bytes())
}

/// By slot, the smallest number whose digits lie in it.
static NUMBERS: LazyLock<Box<[u32]>> = LazyLock::new(|| {
    let mut numbers = vec![u32::MAX; SLOTS].into_boxed_slice();
    let mut left = SLOTS;
    for number in 0.. {
        let place = &mut numbers[slot_of_tag(number.to_string().as_bytes())];
        if *place == u32::MAX {
            *place = number;
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    numbers
});

/// A hash tag that lies in one of `slots`: the same for everybody who asks for the same slots.
pub(super) fn tag_within(slots: &[usize]) -> Option<u32> {
    slots.iter().map(|slot| NUMBERS[*slot]).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of_tag(b"123456789"), 0x31C3);
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
        ] {
            assert_eq!(slot_of(key), slot_of_tag(tag.as_bytes()), "{key}");
        }
    }

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS {
            let tag = tag_within(&[slot]).unwrap();
            assert_eq!(slot_of(&format!("a:{{{tag}}}")), slot);
        }
    }
}
